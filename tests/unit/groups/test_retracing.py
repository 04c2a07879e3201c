"""When sizes alone show that a cut network is the dense one without the removed channels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from blocks import PROVED, build
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis.groups import departing, retracing
from analysis.groups.retracing import sizes_tell
from analysis.groups.trying import learn
from analysis.network.cutting import cut_axes
from analysis.network.inference import copy_of
from analysis.network.labels.tracing import labelled_pass

Function = Callable[["Joined", Tensor], Tensor]


class Joined(nn.Module):
    """Two convolutions that make 8 channels each, coupled, and a function of what they make."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.one(x) + self.other(x))
        return self.head(self.function(self, y).mean((2, 3)))


def retraced(function: Function, left: int) -> bool:
    """Whether sizes tell that the network follows when so many of its 8 channels are left."""
    model, x = Joined(function).eval(), torch.randn(2, 3, 4, 4)
    trace = labelled_pass(model, x)
    assert sizes_tell(trace)
    cut = copy_of(model)
    axes = [("one.weight", 0), ("one.bias", 0), ("other.weight", 0), ("other.bias", 0)]
    axes += [(f"norm.{name}", 0) for name in ("weight", "bias", "running_mean", "running_var")]
    axes += [("depthwise.weight", 0), ("depthwise.bias", 0), ("head.weight", 1)]
    cut_axes(cut, dict.fromkeys(axes, torch.arange(left)))
    removed = np.zeros(trace.count, bool)
    for axis in axes:
        removed[trace.labels(*axis)[left:]] = True
    try:
        return retracing.retraced(lambda: cut, x, trace, removed) is not None
    except Exception:
        return False


def wide(x: Tensor) -> bool:
    return x.shape[1] > 4


FOLLOWS: dict[str, Function] = {
    "nothing": lambda m, y: y,
    "rectified": lambda m, y: F.relu6(y) + y,
    "normalised": lambda m, y: F.batch_norm(y, m.norm.running_mean, m.norm.running_var),
    "in another layout": lambda m, y: y.permute(0, 2, 3, 1).relu_().permute(0, 3, 1, 2),
    "positions in a row": lambda m, y: y.flatten(2).unsqueeze(3),
    "sizes that are asked for": lambda m, y: y.view(y.shape[0], y.shape[1], 4, 4),
    "a filter for each channel": lambda m, y: m.depthwise(y),
}

DEPARTS: dict[str, Function] = {
    "another operator": lambda m, y: y.relu() if wide(y) else y.sigmoid(),
    "one more operator": lambda m, y: y if wide(y) else y.relu(),
    "one operator less": lambda m, y: y.relu() if wide(y) else y,
    "another operand": lambda m, y: [y.relu(), y.tanh()][wide(y)] + y,
    "the same operands in another order": lambda m, y: torch.sub(
        *[y.relu(), y.tanh()][:: 1 if wide(y) else -1]
    ),
    "another dimension": lambda m, y: y.softmax(3 if wide(y) else 2),
    "another number": lambda m, y: y * (2.0 if wide(y) else 3.0),
    "another constant": lambda m, y: y * (TWO if wide(y) else THREE),
    "another layer": lambda m, y: F.batch_norm(
        y, m.norm.running_mean, m.norm.running_var, [m.norm.bias, m.norm.weight][wide(y)]
    ),
    "a written-out size": lambda m, y: y.reshape(2, 8, 4, 4),
    "a written-out size that fits": lambda m, y: (
        y + y.flatten(1).reshape(2, 8, -1).mean((1, 2)).view(2, 1, 1, 1)
    ),
}  # fmt: skip

TWO, THREE = torch.tensor(2.0), torch.tensor(3.0)


@pytest.mark.parametrize("name", FOLLOWS)
def test_sizes_show_that_an_order_is_kept(name: str) -> None:
    assert retraced(FOLLOWS[name], left=3)


@pytest.mark.parametrize("name", DEPARTS)
def test_sizes_are_not_enough_where_code_depends_on_a_width(name: str) -> None:
    assert not retraced(DEPARTS[name], left=3)


def test_an_error_that_forward_catches_is_not_forgotten() -> None:
    def careless(m: Joined, y: Tensor) -> Tensor:
        try:
            return y.relu() if wide(y) else y.sigmoid()
        except Exception:
            return y.relu()

    assert not retraced(careless, left=3)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, y: y.flip(1),
        lambda m, y: torch.cat(y.chunk(2, 1)[::-1], 1),
        lambda m, y: y.view(2, 4, 2, 4, 4).transpose(1, 2).reshape(2, 8, 4, 4),
        lambda m, y: y + torch.ones(1, y.shape[1], 1, 1),
    ],
    ids=["flip", "halves", "shuffle", "a tensor made in forward"],
)
def test_sizes_are_not_enough_where_channels_move_or_meet_a_size(function: Function) -> None:
    assert not sizes_tell(labelled_pass(Joined(function).eval(), torch.randn(2, 3, 4, 4)))


@pytest.mark.parametrize("name", PROVED)
def test_labels_say_what_sizes_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name).eval()
    x = torch.randn(2, *model.size)
    trace = labelled_pass(model, x)
    by_sizes: Any = learn(model, x, trace)
    monkeypatch.setattr(departing, "sizes_tell", lambda trace: False)
    by_labels = learn(model, x, trace)
    assert (by_sizes.tries, by_sizes.failure) == (by_labels.tries, by_labels.failure)
    np.testing.assert_array_equal(by_sizes.classes.of, by_labels.classes.of)
    np.testing.assert_array_equal(by_sizes.classes.held, by_labels.classes.held)
