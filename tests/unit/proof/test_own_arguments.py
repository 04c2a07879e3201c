"""Arguments that the dense network's own code makes of widths and of values, in any way."""

import math
from collections.abc import Callable

import pytest
import torch
from between import Net, answer, images, pruned
from torch import Tensor, nn
from torch.nn import functional

from analysis import prune
from analysis.records import Verdict

Function = Callable[[Net, Tensor], Tensor]

NUMBERS: dict[str, tuple[Function, str]] = {
    "a share of one": (
        lambda m, x: x * (x.shape[1] / (x.shape[1] + 1)), "scales by 0.8 where 0.888889 was"
    ),
    "a correction for small samples": (
        lambda m, x: x / (x.shape[1] - 1.5), "scales by 2.5 where 6.5 was"
    ),
    "a logarithm and more": (
        lambda m, x: x * (1 + math.log2(x.shape[1])), "scales by 3 where 4 was"
    ),
    "a bound": (
        lambda m, x: x.clamp(max=x.shape[1] / 10 - 0.3), "calls `clamp` with 0.1 where 0.5 was"
    ),
    "a share added": (lambda m, x: x + 3 / (x.shape[1] + 2), "calls `add` with 0.5 where 0.3 was"),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_the_code_makes_of_a_width_is_no_accusation(name: str) -> None:
    function, output = NUMBERS[name]
    model, found = pruned(lambda: Net(function))
    assert (found.verdict, found.structure) == (Verdict.RENORMALIZED, "proved")
    assert f"the model {output}" in found.reason
    # The pruned network is what its own code makes of a network of these widths.
    assert model.make.out_channels == 4
    cured = prune(Net(function).eval(), images(), 0.5, ignore=["head"])
    assert cured.verification.verdict is Verdict.RENORMALIZED
    assert cured.kept["make"]["out"] == cured.kept["read"]["in"]


@pytest.mark.parametrize("name", NUMBERS)
def test_another_number_is_not_one_of_the_width(name: str) -> None:
    function, _ = NUMBERS[name]

    def other(m: Net, x: Tensor) -> Tensor:
        return function(m, x) * m.factor

    assert answer(lambda: Net(other, factor=1.0)).verdict is Verdict.RENORMALIZED
    found = answer(lambda: Net(other, factor=1.0), lambda m: setattr(m, "factor", 1.3))
    assert found.verdict is Verdict.WRONG
    assert "is given 1.3 where 1 was" in found.reason


UNREACHED: dict[str, tuple[Function, str]] = {
    "a bound": (lambda m, x: x.clamp(max=100.0 * x.shape[1]), "calls `clamp` with 400 where 800"),
    "a comparison": (lambda m, x: x * (x < 100 * x.shape[1]), "calls `lt` with 400 where 800"),
    "a tensor that is filled": (
        lambda m, x: torch.minimum(x * 1e-3, torch.full((1,), float(x.shape[1])).to(x)),
        "calls `full` with 4 where 8",
    ),
}


@pytest.mark.parametrize("name", UNREACHED)
def test_a_number_of_a_width_that_no_value_reaches_is_reported(name: str) -> None:
    # The masked dense network has the dense width's, so other inputs tell the two apart.
    function, output = UNREACHED[name]
    _, found = pruned(lambda: Net(function))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")
    assert f"the model {output} was; the random inputs do not show it" in found.reason


def test_what_both_networks_share_is_no_number_of_a_width() -> None:
    shared = {"most": 90.0}
    found = answer(
        lambda: Net(lambda m, x: x.clamp(max=shared["most"])), lambda _: shared.update(most=80.0)
    )
    assert found.verdict is Verdict.WRONG
    assert "is given 80 where 90 was" in found.reason


def test_the_greatest_of_half_of_the_channels_are_taken_of_those_that_stay() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x * x.topk(x.shape[1] // 2, 1)[0].mean(1, keepdim=True)

    found = answer(lambda: Net(function))
    assert found.verdict is Verdict.MIXED
    assert "topk" in found.reason


def test_other_groups_of_a_norm_are_wrong_whoever_counts_them() -> None:
    # Four channels in two groups are others than those that were together in four groups.
    def function(m: Net, x: Tensor) -> Tensor:
        return functional.group_norm(x, x.shape[1] // 2)

    found = answer(lambda: Net(function))
    assert found.verdict is Verdict.WRONG
    assert "takes 2 groups where 4 were" in found.reason


VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "by numpy": lambda x: x * torch.from_numpy(x.detach()[:, -1:].numpy()).to(x),
    "as a number": lambda x: x / x.detach()[0, -1].abs().max().item(),
    "as a list": lambda x: x * torch.tensor(x.detach()[0, -1, 0].tolist()).to(x),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_taken_out_of_tensors_are_reported_and_not_wrong(name: str) -> None:
    # They are others in the pruned network, as `middle` reads half of its channels there.
    def make() -> Net:
        net = Net(lambda m, x: VALUES[name](m.middle(x)), middle=nn.Conv2d(8, 8, 1))
        with torch.no_grad():
            net.middle.weight[:4] *= 0.1  # the last channel, of which they are taken, stays
        return net

    found = answer(make)
    assert found.verdict is Verdict.EXACT
    assert "shown on random inputs alone" in found.reason
    assert "taken out of tensors" in found.reason or "by its position" in found.reason


def test_values_that_are_taken_out_of_a_channel_that_goes_are_mixed() -> None:
    def make() -> Net:
        net = Net(lambda m, x: x / (1 + x.detach().abs().amax((0, 2, 3)).max().item()))
        with torch.no_grad():
            net.make.bias[0] = 50.0  # the greatest of all, in a channel of small weights
            net.make.weight[:4] *= 0.1
        return net

    found = answer(make)
    assert found.verdict is Verdict.MIXED, found


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x * x.detach()[0, 0, 0, 0].item(),
        lambda m, x: x * float(x.detach().numpy()[0, 0, 0, 0]),
        lambda m, x: x * torch.from_numpy(x.detach().numpy()[:, :1]).to(x),
    ],
)
def test_values_that_are_taken_out_of_another_channel_are_wrong(function: Function) -> None:
    def make() -> Net:
        net = Net(function)
        with torch.no_grad():
            net.make.weight[:4] *= 0.1  # the first channel goes, and the next takes its place
        return net

    assert answer(make).verdict is Verdict.WRONG


def test_a_generator_in_a_forward_pass_draws_the_same_in_both() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(m.seed)
        return x + torch.rand(x.shape[2:], generator=generator).to(x)

    assert answer(lambda: Net(function, seed=1)).verdict is Verdict.EXACT
    found = answer(lambda: Net(function, seed=1), lambda m: setattr(m, "seed", 2))
    assert found.verdict is Verdict.WRONG


def test_removed_channels_are_not_marked_by_nan_where_values_are_positions() -> None:
    # A deformable convolution reads memory at them, and NaN ends the process.
    marked: list[bool] = []

    def function(m: Net, x: Tensor) -> Tensor:
        grid = x[:, :2].permute(0, 2, 3, 1)
        marked.append(bool(grid.isnan().any()))
        return functional.grid_sample(x, grid, align_corners=False)

    def make() -> Net:
        net = Net(function)
        with torch.no_grad():
            net.make.weight[:4] *= 0.1  # the channels that are positions go
        return net

    assert answer(make).verdict is Verdict.WRONG
    assert marked
    assert not any(marked)
