"""Forward passes without products: sizes are right, and who looks at values gets them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from between import Net, built, images
from blocks import PROVED, build
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis.groups.inspecting import labelled
from analysis.network import sizes as sizes_module
from analysis.network.inference import aliased, forward
from analysis.network.labels.tracing import labelled_pass
from analysis.network.sizes import SizesOnly, running, sized

PARTS: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...]]] = {
    "convolution": (lambda x: F.conv2d(x, torch.ones(4, 8, 3, 3), stride=2), (2, 8, 7, 7)),
    "in blocks": (lambda x: F.conv2d(x, torch.ones(8, 2, 1, 1), groups=4), (2, 8, 7, 7)),
    "of one image alone": (lambda x: F.conv2d(x, torch.ones(4, 8, 1, 1)), (8, 7, 7)),
    "transposed": (lambda x: F.conv_transpose2d(x, torch.ones(8, 3, 2, 2)), (2, 8, 7, 7)),
    "linear": (lambda x: F.linear(x, torch.ones(5, 8), torch.ones(5)), (2, 3, 8)),
    "products": (lambda x: x @ x.mT, (2, 3, 8)),
    "batch norm": (lambda x: F.batch_norm(x, torch.zeros(8), torch.ones(8)), (2, 8, 7, 7)),
    "pooling": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), (2, 8, 7, 7)),
    "channels last": (
        lambda x: F.conv2d(x.to(memory_format=torch.channels_last), torch.ones(4, 8, 1, 1)),
        (2, 8, 7, 7),
    ),
}


@pytest.fixture(autouse=True)
def short(request, monkeypatch):
    """Small networks are computed, as this takes no longer; here they stand for large ones."""
    if "as_it_is" not in request.node.name:
        monkeypatch.setattr(sizes_module, "_SHORT", 0)


def test_what_is_short_is_computed_as_it_is() -> None:
    x, weight = torch.randn(2, 8), torch.randn(5, 8)
    with torch.no_grad(), running(sizes := SizesOnly()):
        found = F.linear(x, weight)
        long = F.linear(x.new_ones(4096, 8), x.new_ones(512, 8))
        behind = F.linear(long, x.new_ones(1, 512))
    assert torch.equal(found, x @ weight.T)
    assert not sizes.is_empty(found)
    assert sizes.is_empty(long)
    assert sizes.is_empty(behind)


@pytest.mark.parametrize(("function", "shape"), PARTS.values(), ids=PARTS)
def test_what_is_not_computed_has_its_size_and_layout(function, shape) -> None:
    x = torch.randn(shape)
    with torch.no_grad():
        computed = function(x)
        with running(SizesOnly()):
            found = function(x)
    assert (found.shape, found.dtype) == (computed.shape, computed.dtype)
    assert found.stride() == computed.stride()


def test_products_are_not_computed() -> None:
    with torch.no_grad(), running(sizes := SizesOnly()):
        made = F.linear(torch.ones(2, 8), torch.ones(5, 8))
    assert sizes.is_empty(made)
    assert not sizes.needed


def test_an_activation_in_place_is_left_out_of_what_is_not_computed_alone() -> None:
    known = -torch.ones(2, 8)
    with torch.no_grad(), running(sizes := SizesOnly()):
        made = F.linear(known, torch.ones(5, 8))
        before = made.fill_(-1).clone()
        found = F.relu_(made)
        F.relu_(known)
    assert found is made
    assert sizes.is_empty(made)
    assert torch.equal(made, before)
    assert torch.equal(known, torch.zeros(2, 8))


class Looking(Net):
    """Goes another way where the values that a convolution makes say so."""


def _by_branch(_: Net, x: Tensor) -> Tensor:
    return x if x.mean() > 10 else x + 1


def _by_numpy(_: Net, x: Tensor) -> Tensor:
    return x * float(np.asarray(x.detach()).mean())


def _by_list(_: Net, x: Tensor) -> Tensor:
    return x + max(x.flatten().tolist())


def _by_place(_: Net, x: Tensor) -> Tensor:
    best = x.mean((0, 2, 3)).argmax()
    return x * x[:, best : best + 1]


def _by_index(_: Net, x: Tensor) -> Tensor:
    return x[:, x.mean((0, 2, 3)).argsort()]


def _by_mask(_: Net, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * 2)


def _by_table(_: Net, x: Tensor) -> Tensor:
    return x + torch.arange(8.0).view(1, 8, 1, 1) * x.mean()


LOOKING = (_by_branch, _by_numpy, _by_list, _by_place, _by_index, _by_mask, _by_table)


@pytest.mark.parametrize("function", LOOKING)
def test_a_network_that_looks_at_values_is_given_them(function) -> None:
    model, x = built(lambda: Looking(function)), images()
    asked: list[bool] = []

    def work(sizes: SizesOnly | None) -> Tensor:
        asked.append(sizes is not None)
        with running(sizes):
            return forward(model, x)

    with torch.no_grad():
        found, computed = sized(work), model(x)
    assert asked == [True, False]
    assert torch.equal(found, computed)


def test_a_network_that_goes_on_after_it_looked_is_run_again() -> None:
    def trying(_: Net, x: Tensor) -> Tensor:
        try:
            return x * x.max().item()
        except Exception:
            return x

    model, x = built(lambda: Net(trying)), images()

    def work(sizes: SizesOnly | None) -> Tensor:
        with running(sizes):
            return forward(model, x)

    with torch.no_grad():
        assert torch.equal(sized(work), model(x))


def test_what_a_network_keeps_is_computed() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make = nn.Linear(3, 4)
            self.register_buffer("last", torch.zeros(2, 4))

        def forward(self, x: Tensor) -> Tensor:
            self.last.copy_(self.make(x))
            return self.last

    model, x = built(Keeping), torch.randn(2, 3)

    def work(sizes: SizesOnly | None) -> None:
        with running(sizes):
            model(x)

    with torch.no_grad():
        sized(work)
        assert torch.equal(model.last, model.make(x))


@pytest.mark.parametrize("made", [torch.tensor, torch.as_tensor], ids=["tensor", "as_tensor"])
def test_a_table_where_something_lay_that_was_not_computed_is_computed(made) -> None:
    # Memory that is free again is given out soon: to about every sixth of these tables.
    with torch.no_grad():
        for rows in [2, 8, 32, 128] * 50:
            with running(sizes := SizesOnly()):
                F.linear(torch.ones(rows, 8), torch.ones(8, 8))
                table = made([1.0] * (8 * rows))
                table.mul_(2)
            assert not sizes.needed
            assert table.eq(2).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.conv2d(x, torch.ones(4, 7, 3, 3)),
        lambda x: F.conv2d(x, torch.ones(4, 8, 9, 9)),
        lambda x: x.flatten(1) @ torch.ones(5, 3),
        lambda x: torch.bmm(x.flatten(2), torch.ones(3, 36, 2)),
        lambda x: F.linear(x, torch.ones(5, 6)).bitwise_not_(),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_same_words(function) -> None:
    x = torch.randn(2, 8, 6, 6)
    with pytest.raises(RuntimeError) as plain:
        function(x)
    with torch.no_grad(), running(SizesOnly()), pytest.raises(RuntimeError) as found:
        function(x)
    assert str(found.value) == str(plain.value)


@pytest.mark.parametrize("name", sorted(PROVED))
def test_channels_are_followed_as_where_everything_is_computed(name: str) -> None:
    model = build(name)
    x = torch.randn(2, *model.size)
    computed = labelled_pass(aliased(model, requires_grad=False), x)
    found = labelled(model, x).trace

    def told(trace):
        calls = [(step.place, step.shapes, step.constants, step.sources) for step in trace.calls]
        edges = [(each.step, each.one.tolist(), each.other.tolist()) for each in trace.edges]
        holds = [(each.step, each.why, each.labels.tolist()) for each in trace.holds]
        return calls, edges, holds, [*map(str, trace.choices)]

    assert told(found) == told(computed)
