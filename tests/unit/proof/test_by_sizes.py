"""Two networks that sizes alone show to be one, and what sizes must not let pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from blocks import build
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis import prune
from analysis.network.cutting import cut_axes
from analysis.network.inference import copy_of
from analysis.network.labels.tracing import labelled_pass
from analysis.proof import structure
from analysis.proof.by_sizes import one_by_sizes

LEFT = (0, 3)
"""The channels of four that stay."""


class Net(nn.Module):
    """A number or two, or an operator, that a pruner may have changed, between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.read = nn.Conv2d(4, 5, 1, stride=4)
        self.slope, self.within = 0.1, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.norm(self.make(x) + self.other(x)))
        return self.read(self.within(F.leaky_relu(y, self.slope)))


class Called(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


AXES = [
    *((f"{layer}.{name}", 0) for layer in ("make", "other") for name in ("weight", "bias")),
    *((f"norm.{name}", 0) for name in ("weight", "bias", "running_mean", "running_var")),
    *(("depthwise.weight", 0), ("depthwise.bias", 0), ("read.weight", 1)),
]


def are_one(change: Callable[[Any], None], *, before: Any = None, apart: str = "") -> bool:
    """Whether sizes show that the network without two channels is one with the dense one.

    Args:
        change: what is done to the pruned network.
        before: what is done to both.
        apart: a layer that keeps other channels, as many.
    """
    dense, x = Net().eval(), torch.randn(2, 3, 8, 8)
    if before is not None:
        before(dense)
    trace = labelled_pass(dense, x)
    pruned, removed = copy_of(dense), np.zeros(trace.count, bool)
    kept = {axis: [1, 2] if apart and axis[0].startswith(apart) else [*LEFT] for axis in AXES}
    for axis, left in kept.items():
        removed[np.delete(trace.labels(*axis), left)] = True
    cut_axes(pruned, {axis: torch.tensor(left) for axis, left in kept.items()})
    change(pruned)
    return one_by_sizes(pruned, x, trace, removed) is not None


def test_a_cut_that_all_layers_follow_is_one() -> None:
    assert are_one(lambda pruned: None)


CHANGES: dict[str, Callable[[Any], None]] = {
    "another slope": lambda net: setattr(net, "slope", 0.2),
    "another stride, which is the sizes that are left": lambda net: setattr(
        net.read, "stride", (2, 2)
    ),
    "another padding": lambda net: setattr(net.depthwise, "padding", (0, 0)),
    "another term in a norm": lambda net: setattr(net.norm, "eps", 1e-3),
    "statistics of the batch": lambda net: vars(net)["_modules"].update(
        norm=nn.BatchNorm2d(len(LEFT), track_running_stats=False)
    ),
    "channels in another order": lambda net: setattr(net, "within", Called(lambda y: y.flip(1))),
    "positions in another order": lambda net: setattr(net, "within", Called(lambda y: y.flip(3))),
    "one more operator": lambda net: setattr(net, "within", Called(torch.relu)),
    "one operator less": lambda net: setattr(net, "norm", nn.Identity()),
    "one layer twice": lambda net: setattr(net, "other", net.make),
    "layers in each other's place": lambda net: vars(net)["_modules"].update(
        make=net.other, other=net.make, within=nn.ReLU()
    ),
    "more of its output": lambda net: net.register_forward_hook(lambda m, args, y: (y, y)),
    "a forward that raises": lambda net: setattr(net, "within", Called(lambda y: y.view(1, 4, 2))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_sizes_let_no_other_network_pass(name: str) -> None:
    assert not are_one(CHANGES[name])


@pytest.mark.parametrize("layer", ["other", "norm", "depthwise", "read"])
def test_as_many_channels_that_are_others_are_not_one(layer: str) -> None:
    assert not are_one(lambda pruned: None, apart=layer)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y.flip(1),
        lambda y: y.softmax(1),
        lambda y: y - y.mean(1, keepdim=True),
        lambda y: y + torch.ones(1, y.shape[1], 1, 1),
        lambda y: y.cumsum(1),
    ],
    ids=["flip", "softmax", "mean", "a tensor made in forward", "running sum"],
)
def test_labels_decide_where_channels_move_or_are_combined(function: Any) -> None:
    def within(net: Any) -> None:
        net.within = Called(function)

    assert not are_one(lambda pruned: None, before=within)


def lined_up(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[bool]]:
    """What lining up says of a pruned block, and whether sizes showed it."""
    shown: list[bool] = []

    def noted(*given: Any) -> Any:
        found = one_by_sizes(*given)
        shown.append(found is not None)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(structure, "one_by_sizes", noted)
        torch.manual_seed(0)
        model = build(name).eval()
        return prune(model, torch.randn(2, *model.size), 0.5).verification, shown


BY_SIZES = (
    "conv1d, dilated", "transposed", "transposed, depthwise", "frozen batch norm", "prelu",
    "squeeze and excitation", "scale parameter", "shared layer", "skip over an hourglass",
    "flattened with channels last", "functional batch norm", "cast to single precision",
)  # fmt: skip
"""Blocks in which no operator moves channels or is taken over them."""


@pytest.mark.parametrize("name", BY_SIZES)
def test_labels_say_what_sizes_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole verification, multiply-accumulates too."""
    by_sizes, shown = lined_up(name, monkeypatch)
    assert all(shown)
    with monkeypatch.context() as patched:
        patched.setattr(structure, "one_by_sizes", lambda *given: None)
        torch.manual_seed(0)
        model = build(name).eval()
        assert prune(model, torch.randn(2, *model.size), 0.5).verification == by_sizes
