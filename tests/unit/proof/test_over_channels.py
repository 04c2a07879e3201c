"""What is taken over channels is reported where no drawn input shows what went."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
import torch
from between import Net, answer, built, images, pruned, pruner_of
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis import verify
from analysis.records import Verdict

Function = Callable[[Net, Tensor], Tensor]


def silent(function: Function, level: float) -> Callable[[], nn.Module]:
    """The channels that go, those with the smallest weights, lie so far from the others."""

    def make() -> Net:
        net = Net(function)
        with torch.no_grad():
            net.make.weight[:4] *= 0.1
            net.make.bias.zero_()
            net.make.bias[:4] = level
        return net

    return make


def pooled(x: Tensor) -> Tensor:
    """The largest channel, by a window over all of them."""
    return F.max_pool3d(x.unsqueeze(1), (x.shape[1], 1, 1)).squeeze(1)


LARGEST: dict[str, Function] = {
    "amax": lambda m, x: x - x.amax(1, keepdim=True),
    "max": lambda m, x: x * x.max(1, keepdim=True)[0],
    "aminmax": lambda m, x: x - x.aminmax(dim=1, keepdim=True)[1],
    "logsumexp": lambda m, x: x - x.logsumexp(1, keepdim=True),
    "softmax": lambda m, x: x.softmax(1),
    "cummax": lambda m, x: x.cummax(1)[0],
    "topk": lambda m, x: x + x.topk(2, 1)[0].mean(1, keepdim=True),
    "sort": lambda m, x: x + x.sort(1, descending=True)[0][:, :1],
    "a pool": lambda m, x: x + pooled(x),
    "an adaptive pool": lambda m, x: (
        x + F.adaptive_max_pool1d(x.flatten(2).mT, 1).mT.unflatten(2, (6, 6))
    ),
    "a sum of what is positive": lambda m, x: x + x.relu().sum(1, keepdim=True),
    "a mean below a bound": lambda m, x: x * (x.mean(1, keepdim=True) < 1000),
    "written into another tensor": lambda m, x: (
        x * torch.ones_like(x[:, :1]).copy_(x.amax(1, keepdim=True))
    ),
}
SMALLEST: dict[str, Function] = {
    "amin": lambda m, x: x - x.amin(1, keepdim=True),
    "min": lambda m, x: x - x.min(1, keepdim=True)[0],
    "kthvalue": lambda m, x: x + x.kthvalue(1, 1, keepdim=True)[0],
}


@pytest.mark.parametrize(
    ("function", "level"),
    [
        *(pytest.param(each, -50.0, id=name) for name, each in LARGEST.items()),
        *(pytest.param(each, 50.0, id=name) for name, each in SMALLEST.items()),
    ],
)
def test_a_channel_that_no_drawn_input_brings_up_may_come_up_on_others(function, level) -> None:
    make = silent(function, level)
    dense, found = make(), pruned(make, lambda model: None)
    model, verification = found
    assert verification.verdict is Verdict.MIXED, verification
    assert "mixes across channels" in verification.reason
    assert dense.make.bias.shape[0] - model.make.bias.shape[0] == 4


@pytest.mark.parametrize("name", [*LARGEST, *SMALLEST])
def test_the_verdict_is_the_same_where_drawn_inputs_show_it(name: str) -> None:
    found = answer(lambda: Net((LARGEST | SMALLEST)[name]))
    assert found.verdict is Verdict.MIXED, found


def test_another_order_beside_the_largest_channel_is_still_wrong() -> None:
    found = answer(silent(lambda m, x: x.relu().flip(1) - x.amax(1, keepdim=True), -50.0))
    assert found.verdict is Verdict.WRONG


def test_a_window_over_some_channels_takes_other_neighbours_once_they_are_cut() -> None:
    def neighbours(m: Net, x: Tensor) -> Tensor:
        return x + F.max_pool3d(x.unsqueeze(1), (2, 1, 1)).squeeze(1).repeat(1, 2, 1, 1)

    assert answer(lambda: Net(neighbours)).verdict is Verdict.WRONG


def test_a_product_reads_no_channel_that_went() -> None:
    def product(m: Net, x: Tensor) -> Tensor:
        return x + (x.flatten(2).mT @ x.relu().flatten(2)).mean(-1).view(-1, 1, 6, 6)

    found = answer(silent(product, -50.0))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")


@pytest.mark.parametrize("statistic", ["amax", "sum", "logsumexp"])
def test_what_only_chooses_a_path_leaves_the_proof_to_that_path(statistic: str) -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x if float(getattr(x.detach(), statistic)((0, 1, 2, 3))) < 1e6 else x.relu()

    found = answer(lambda: Net(function))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")


NUMBERS: dict[str, Function] = {
    "factor": lambda m, x: x * x.detach().max().item(),
    "part of a factor": lambda m, x: x / (1 + abs(float(x.detach().amax(1).mean())) / 2),
    "shift": lambda m, x: x + x.detach().max().item(),
    "bound": lambda m, x: x.clamp(max=2 * x.detach().max().item()),
    "constant": lambda m, x: x + torch.full((1,), float(x.detach().max())),
    "within bounds": lambda m, x: x * min(x.detach().max().item(), 0.1),
    "rounded": lambda m, x: x.roll(int(x.detach().max().item()), 3),
    "truth": lambda m, x: x * bool(x.detach().max() > -10.0),
    "truth of any": lambda m, x: x * (x > -10.0).any().item(),
    "truth of all": lambda m, x: x + float((x < 10.0).all()),
    "one of two numbers": lambda m, x: x * (2 if x.detach().max().item() > 0.0 else 3),
    "dimensions that stay": lambda m, x: (
        x + x.mean(3, keepdim=bool(x.detach().max() > -10.0)).view(*x.shape[:3], 1)
    ),
    "dimension": lambda m, x: x.flip(2 + int((x > 1e5).any())),
    "count": lambda m, x: x.roll(int((x > 1e5).sum()), 3),
    "part that is counted": lambda m, x: (
        x + x[:, :, : max(1, int((x > 1e5).sum()))].mean(2, keepdim=True)
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_taken_over_channels_and_given_to_operators_mixes_them(name: str) -> None:
    # What went is the largest of no drawn input, so that both networks take the same number.
    found = answer(silent(NUMBERS[name], -50.0))
    assert found.verdict is Verdict.MIXED, found


def guarded(x: Tensor) -> Tensor:
    """A branch of which the other way raises is no use of the number that decides it."""
    if not bool((x.abs() < 1e6).all()) or x.isnan().any():
        raise ValueError("the inputs are too large")
    return x


PATHS: dict[str, Function] = {
    "branch": lambda m, x: x * 2 if x.detach().max().item() > 1e6 else x,
    "bound that is not reached": lambda m, x: x * max(x.detach().max().item(), 1e6),
    "rounded": lambda m, x: x + round(x.detach().max().item() / 1e6),
    "of weights": lambda m, x: x * m.make.weight.detach().max().item(),
    "of the input's size": lambda m, x: x * float(x.shape[0]),
    "branch on any": lambda m, x: x * 2 if (x > 1e6).any() else x,
    "guard": lambda m, x: guarded(x),
    "one of several layers": lambda m, x: (torch.relu, torch.sigmoid)[int((x > 1e6).sum())](x),
    "repetitions": lambda m, x: reduce(lambda y, _: y.sin(), range(int((x > 1e6).sum())), x),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_number_that_reaches_no_operator_leaves_the_proof_to_that_path(name: str) -> None:
    found = answer(silent(PATHS[name], -50.0))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved"), found


def test_a_truth_that_leaves_the_model_is_taken_over_the_channels_that_stay() -> None:
    class Telling(Net):
        def forward(self, x: Tensor) -> Any:
            made = self.make(x)
            return super().forward(x), (made > 1e6).any()

    def make() -> nn.Module:
        return Telling(lambda m, x: x)

    model = built(make)
    found = verify(model, images(), pruner_of(model, images(), output_transform=lambda out: out[0]))
    assert found.verdict is Verdict.MIXED, found


def test_a_mean_that_is_taken_out_as_a_number_is_no_statistic_of_a_norm() -> None:
    found = answer(lambda: Net(lambda m, x: x * x.detach().mean().item()))
    assert found.verdict is Verdict.MIXED, found


UNPOOLED: dict[str, tuple[Callable[[Tensor], Tensor], Verdict]] = {
    "channels": (lambda x: x, Verdict.EXACT),
    "a softmax": (lambda x: x.softmax(1), Verdict.MIXED),
    "channels less their mean": (lambda x: x - x.mean(1, keepdim=True), Verdict.MIXED),
}


@pytest.mark.parametrize("name", UNPOOLED)
def test_positions_inside_of_a_channel_go_with_it(name: str) -> None:
    before, verdict = UNPOOLED[name]

    def function(m: Net, x: Tensor) -> Tensor:
        return F.max_unpool2d(*F.max_pool2d(before(x), 2, return_indices=True), 2)

    found = answer(lambda: Net(function))
    assert (found.verdict, found.structure) == (verdict, "proved"), found


def test_positions_of_another_channel_are_wrong() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        values, places = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(values, places.flip(1), 2)

    assert answer(lambda: Net(function)).verdict is Verdict.WRONG
