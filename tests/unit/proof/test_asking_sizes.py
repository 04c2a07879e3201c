"""Code that asks no tensor for its size goes the same way at every size, and other code may not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from between import Net, altering, answer, built, images, pruner_of
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from analysis import verify
from analysis.network.inference import aliased
from analysis.network.labels.tracing import labelled_pass, plain_pass
from analysis.network.sizes import sized
from analysis.proof.other_sizes import Noted, OtherSize
from analysis.records import Verdict

LARGE = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))


class Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()


class RectifiedWhereWide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu() if x.shape[-1] > 3 else x.clone()


class Scripted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1) if x.size(2) > 64 else x * 1.0


scripted: Any = torch.jit.script(Scripted())


@torch.jit.script
def as_script(x: Tensor) -> Tensor:
    return x.flip(1) if x.size(2) > 64 else x * 1.0


def fitting(m: Net, x: Tensor) -> Tensor:
    try:
        return x.view(-1, 8, 9, 9)
    except RuntimeError:
        return x.relu()


def unseen(m: Net, x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        return x.relu() if x.shape[-1] > 3 else x.clone()


ASKING: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "shape": lambda m, x: x if x.shape[-1] > 3 else x.relu(),
    "size": lambda m, x: x * x.size(0),
    "shape of a weight": lambda m, x: x * m.make.weight.shape[2],
    "len": lambda m, x: x * len(x),
    "numel": lambda m, x: x * x.numel(),
    "torch.numel": lambda m, x: x * torch.numel(x),
    "nbytes": lambda m, x: x * x.nbytes,
    "stride": lambda m, x: x * x.stride(1),
    "is_contiguous": lambda m, x: x if x.is_contiguous() else x.relu(),
    "a size as an operator": lambda m, x: x * torch.ops.aten.sym_size.int(x, 2),
    "an array": lambda m, x: x * np.asarray(x.detach()).shape[0],
    "memory": lambda m, x: x * x.untyped_storage().nbytes(),
    "words": lambda m, x: x if "0." in repr(x) else x.relu(),
    "a number": lambda m, x: x * x.mean().item(),
    "a truth": lambda m, x: x if x.sum() > 0 else x.relu(),
    "parts": lambda m, x: torch.cat([part.relu() for part in x.split(2, 2)], 2),
    "each of a batch": lambda m, x: torch.stack([each.relu() for each in x]),
    "an error": fitting,
    "a scripted function": lambda m, x: as_script(x),
    "a scripted module": lambda m, x: scripted(x),
    "a function of the user's": lambda m, x: RectifiedWhereWide.apply(x),
    "what is checkpointed": lambda m, x: checkpoint(
        lambda y: y.relu() if y.shape[-1] > 3 else y, x, use_reentrant=False
    ),
    "what is mapped": lambda m, x: torch.vmap(lambda y: y.relu() if len(y) > 3 else y)(x),
    "where functions are not seen": unseen,
}

NOT_ASKING: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "an activation": lambda m, x: x.relu(),
    "in place": lambda m, x: x.relu_(),
    "arithmetic": lambda m, x: (x + 1) * 2 - x,
    "dimensions": lambda m, x: x if x.dim() == 4 and x.ndim == 4 else x.relu(),
    "a type": lambda m, x: x if x.dtype is torch.float32 and x.is_floating_point() else x.relu(),
    "a window": lambda m, x: F.max_pool2d(x, 3, 1, 1),
    "all positions": lambda m, x: x * F.adaptive_avg_pool2d(x, 1).sigmoid(),
    "twice the size": lambda m, x: F.interpolate(x, scale_factor=2.0),
    "a tensor like it": lambda m, x: x + torch.zeros_like(x) + x.new_ones(1),
    "an operator": lambda m, x: torch.ops.aten.relu.default(x),
    "a function of the user's": lambda m, x: Rectified.apply(x),
    "what is checkpointed": lambda m, x: checkpoint(torch.relu, x, use_reentrant=False),
    "a part": lambda m, x: x[..., 1:-1, 1:-1],
    "a norm": lambda m, x: F.batch_norm(x, torch.zeros(8), torch.ones(8)),
}


@pytest.mark.parametrize(
    ("function", "asks"),
    [
        *(pytest.param(function, True, id=name) for name, function in ASKING.items()),
        *(pytest.param(function, False, id=f"not: {n}") for n, function in NOT_ASKING.items()),
    ],
)
def test_a_pass_knows_whether_code_may_learn_a_size(
    function: Callable[[Net, Tensor], Tensor], asks: bool
) -> None:
    net = built(lambda: Net(function))
    for follow in (plain_pass, labelled_pass):
        trace = sized(
            lambda sizes, follow=follow: follow(
                aliased(net, requires_grad=False), images(), sizes=sizes
            )
        )
        assert trace.asks_sizes is asks


SMALL: dict[str, Callable[[Tensor], bool]] = {
    "by size": lambda x: x.shape[-1] <= 64,
    "by batch": lambda x: len(x) > 1,
    "by the number of elements": lambda x: x.numel() < 8 * 96 * 96 // 2,
    "by an array": lambda x: x.numpy().shape[-1] <= 64,
}


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("is_hidden", [False, True])
def test_another_way_of_the_pruned_network_alone_is_wrong(case: str, is_hidden: bool) -> None:
    """The dense network asks for no size, and the pruned one goes its way at that of the inputs."""

    def net() -> nn.Module:
        def function(m: Any, x: Tensor) -> Tensor:
            return (x.flip(1) if m.turns and SMALL[case](x) else x).relu()

        made: Any = Net(function, turns=False)
        if is_hidden:  # no number shows an order, as the rectifier lets nothing pass
            made.make.bias.data.sub_(1e3)
        return made

    found = answer(net, lambda model: setattr(model, "turns", True), LARGE)
    assert found.verdict is Verdict.WRONG, found.reason


def test_a_pruned_network_that_asks_for_no_size_is_not_followed_at_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def shows(self: OtherSize, pruned: nn.Module) -> bool:
        asked.append(True)
        return False

    monkeypatch.setattr(OtherSize, "shows_nothing_new_of", shows)
    plain = answer(lambda: Net(lambda m, x: x.relu()), inputs=LARGE)
    assert (plain.verdict, plain.structure, asked) == (Verdict.EXACT, "proved", [])
    # Where the example inputs are the smallest, no numbers are compared at the other size.
    answer(lambda: Net(lambda m, x: x.relu()))
    assert asked == [True]


@pytest.mark.parametrize("asks", [False, True])
def test_a_network_is_noted_at_another_size_however_that_was_shown(asks: bool) -> None:
    net = built(lambda: Net(lambda m, x: x * 1.0 if not asks or len(x) else x.relu()))
    noted = Noted.of(net, LARGE)
    assert noted.recording.trace.asks_sizes is asks
    assert noted.other is not None
    assert noted.other.recording is None
    assert tuple(noted.fewer(LARGE).shape) == (2, 3, 32, 32)  # type: ignore[union-attr]


def test_an_image_size_that_a_network_does_not_take_is_left_out() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4 * 96 * 96, 2)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.make(x).flatten(1))

    net = built(Flat)
    noted = Noted.of(net, LARGE)
    assert not noted.recording.trace.asks_sizes
    # Another batch fits, and another image does not.
    assert noted.other is not None
    assert tuple(noted.other.inputs.shape) == (2, 3, 96, 96)  # type: ignore[union-attr]
    model = built(Flat)
    assert verify(model, LARGE, pruner_of(model, LARGE, altering(lambda _: None))).verdict.passes
