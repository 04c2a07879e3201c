"""Widths as a request: what is left of groups, by any of their layers."""

import copy
from functools import partial

import pytest
import torch
from drawn import part
from nets import Chain, Concat, Residual, inputs_for
from torch import Tensor, nn

from analysis import (
    GroupPruner,
    cost_of,
    count_macs,
    parametrize_with_checks,
    prune,
    ratio_curve,
    verify,
)
from analysis.errors import InputError
from analysis.records import CONVENTIONS, Verdict


class Attention(nn.Module):
    """Tokens of 12 features that attend in 3 heads, added to what they were."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(5, 12), nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.up, self.down = nn.Linear(12, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.down(self.up(x).relu())


TOKENS = torch.randn(1, 4, 5)


class Flattened(nn.Module):
    """Channels that are read at four places each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.adaptive_avg_pool2d(self.conv(x), 2).flatten(1))


ASKED = [
    (Chain, {"first": 3, "second": 2}),
    (Chain, {"first": 2, "second": 5}),
    (Residual, {"stem": 3, "block.expand": 5}),
    (Residual, {"block.project": 2}),
    (Flattened, {"conv": 5}),
    (Attention, {"embed": 6, "up": 3}),
]


def given(kind: type[nn.Module]) -> Tensor:
    return TOKENS if kind is Attention else torch.randn(2, 3, 6, 6)


@pytest.mark.parametrize(("kind", "widths"), ASKED)
def test_the_layers_that_are_named_are_left_with_so_many_channels(kind, widths) -> None:
    dense, inputs = kind().eval(), given(kind)
    pruned = prune(dense, inputs, widths=widths)
    assert pruned.verification.verdict in (Verdict.EXACT, Verdict.RENORMALIZED)
    for layer, width in widths.items():
        assert len(pruned.model.get_submodule(layer).weight) == width
    # Nothing else goes: every cut axis is that of a group that is named.
    asked = {group.root for group in pruned.verification.groups if group.requested}
    before = [len(dense.get_submodule(layer).weight) for layer in widths]
    assert len(asked) == sum(n > m for n, m in zip(before, widths.values(), strict=True))


@pytest.mark.parametrize(
    ("kind", "widths", "convention"),
    [
        (kind, widths, convention)
        for kind, widths in ASKED
        for convention in part(
            ["fvcore", "thop", "torch-pruning", "pytorchcv", "paddle"], (kind.__name__, widths)
        )
    ],
)
def test_the_cost_of_widths_is_that_of_the_pruned_network(kind, widths, convention) -> None:
    dense, inputs = kind().eval(), given(kind)
    point = cost_of(dense, inputs, widths, convention=convention)
    pruned = prune(dense, inputs, widths=widths).model
    counted = count_macs(pruned, inputs, convention=convention)
    assert (point.macs, point.params) == (counted.macs, counted.params)
    whole = count_macs(dense, inputs, convention=convention)
    assert cost_of(dense, inputs, {}, convention=convention).macs == whole.macs > counted.macs


def test_a_curve_by_any_convention_is_what_pruned_networks_count() -> None:
    dense, inputs = Residual().eval(), torch.randn(1, 3, 6, 6)
    pruned = prune(dense, inputs, 0.5, ignore="none").model
    for convention in CONVENTIONS:
        curve = ratio_curve(
            dense, inputs, [0.5], scope="local", cut="groups", convention=convention
        )
        counted = count_macs(pruned, inputs, convention=convention)
        assert curve.convention == convention
        assert (curve.macs, curve.params) == ((counted.macs,), (counted.params,)), convention


def test_every_convention_of_a_layer_worked_out_by_hand() -> None:
    inputs = torch.zeros(1, 3, 6, 6)
    by_hand = {
        # first 3 x 4 x 9, second 4 x 5, on 36 places; head 5 x 2; norm on 4 x 36.
        "conv-linear": 36 * 108 + 36 * 20 + 10,
        "fvcore": 36 * 108 + 36 * 20 + 10 + 2 * 144,
        "flops": 2 * (36 * 108 + 36 * 20 + 10),
        "norm-channels": 36 * 108 + 36 * 20 + 10 + 4,
        # second has a bias; first, as if it had one.
        "convolution-outputs": 36 * 108 + 36 * 20 + 10 + 36 * 4 + 36 * 5,
        "thop": 36 * 108 + 36 * 20 + 10 + 4 * 144,
        "thop-0.0.31": 36 * 108 + 36 * 20 + 10 + 2 * 144 + 36 * 5,
        "pytorchcv": 2 * (36 * 108 + 36 * 20 + 10) - 12 + 4 * 144,
        "mmrazor": 36 * 108 + 36 * 20 + 2 * 144,
        "linear-with-bias": 36 * 108 + 36 * 20 + 10 + 2,
    }
    for convention, macs in by_hand.items():
        table = count_macs(Chain(), inputs, convention=convention)
        assert table.macs == macs == sum(row.macs for row in table.layers), convention
        assert table.unit == ("FLOPs" if convention in ("flops", "pytorchcv") else "MACs")


def test_parameters_follow_the_convention_too() -> None:
    # 108 + 20 + 10 weights, 5 + 2 biases, 4 + 4 of the norm, whose statistics are 4 + 4.
    inputs = torch.zeros(1, 3, 6, 6)
    found = {
        name: count_macs(Chain(), inputs, convention=name).params
        for name in ("fvcore", "tensorflow", "tensorflow-slim", "paddle", "weights")
    }
    assert found == {
        "fvcore": 153, "tensorflow": 145, "tensorflow-slim": 157, "paddle": 161, "weights": 138,
    }  # fmt: skip


def refused(dense: nn.Module, inputs: Tensor, widths: object) -> str:
    """The message of every function on these widths."""
    said = set()
    for ask in (
        partial(cost_of, dense, inputs),
        lambda widths: prune(dense, inputs, widths=widths),
        lambda widths: GroupPruner(copy.deepcopy(dense), inputs, widths=widths),
        lambda widths: verify(copy.deepcopy(dense), inputs, widths=widths),
    ):
        with pytest.raises(InputError) as error:
            ask(widths)
        said.add(str(error.value))
    (found,) = said
    assert "\n" not in found
    return found


@pytest.mark.parametrize(
    ("kind", "widths", "output"),
    [
        (Chain, {"frist": 2}, "is called 'frist'; did you mean 'first'?"),
        (Chain, {"zzz": 2}, "is called 'zzz'; the command groups lists them"),
        (Chain, {"first": 5}, "`first` has 4 channels, and 5 are to be left of it"),
        (Chain, {"first": 0}, "'first' is to have 0 channels; expected a whole number of at"),
        (Chain, {"first": 2.5}, "'first' is to have 2.5 channels; expected a whole number"),
        (Chain, [3], "widths are a list; expected a dict of channel counts by layer"),
        (Chain, {"head": 1}, "`head` keeps all of its 2 channels: the model's output"),
        (Chain, {"first": 3, "norm": 2}, "`first` (3) and `norm` (2) are of one group, `first`"),
        (Residual, {"stem": 3, "block.project": 2}, "are of one group, `stem`"),
        (Attention, {"embed": 7}, "`embed` cannot have 7 channels; the nearest that it can are 6 "
                                  "and 9"),
        (Attention, {"attention": 20}, "cannot have 20 channels; the nearest that it can are 18 "
                                       "and 27"),
        (Attention, {"embed": 2}, "cannot have 2 channels; the nearest that it can are 3"),
    ],
)  # fmt: skip
def test_widths_that_cannot_be_had_are_refused_in_one_line(kind, widths, output) -> None:
    assert output in refused(kind().eval(), given(kind), widths)


def test_a_layer_that_reads_several_groups_is_asked_for_by_one_of_them() -> None:
    dense = Concat().eval()
    dense.join = nn.Sequential(nn.BatchNorm2d(10), dense.join)
    output = "`join.0` has channels of several groups; ask for one of `left`, `right`"
    assert output in refused(dense, inputs_for(dense), {"join.0": 2})


class Mirrored(nn.Module):
    """Five channels and their mirror image, added: they go by two, but for the one between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head((x + x.flip(1)).relu())


@pytest.mark.parametrize(("width", "kept"), [(4, {(0, 1, 3, 4)}), (2, {(0, 4), (1, 3)})])
def test_sets_of_different_sizes_are_chosen_to_leave_the_width(width: int, kept) -> None:
    dense, inputs = Mirrored().eval(), torch.randn(1, 3, 6, 6)
    with torch.no_grad():
        dense.conv.weight[2] *= 100  # the channel between ranks last, and has to go all the same
    pruned = prune(dense, inputs, widths={"conv": width})
    assert pruned.kept["conv"]["out"] in kept
    assert pruned.verification.verdict is Verdict.EXACT
    point = cost_of(dense, inputs, {"conv": width})
    assert (point.macs, point.params) == (pruned.macs, pruned.params)


class Beside(nn.Module):
    """Eight channels, to which two are added twice and four once."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.twice, self.once = (nn.Conv2d(3, n, 1) for n in (8, 2, 4))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        twice = self.twice(x)
        return self.head((self.whole(x) + torch.cat([twice, twice, self.once(x)], 1)).relu())


def test_a_width_that_would_empty_another_layer_is_refused() -> None:
    dense, inputs = Beside().eval(), torch.randn(1, 3, 6, 6)
    # One of `twice` stays, which is two channels of `whole`, and one of `once`.
    assert prune(dense, inputs, widths={"whole": 3}).model.once.out_channels == 1
    with pytest.raises(InputError, match="`whole` cannot have 2 channels, which would leave a"):
        prune(dense, inputs, widths={"whole": 2})
    with pytest.raises(InputError, match="the least that it can have is 3"):
        cost_of(dense, inputs, {"whole": 2})


def test_a_width_and_a_ratio_are_asked_beside_each_other() -> None:
    dense, inputs = Chain().eval(), torch.randn(1, 3, 6, 6)
    pruned = prune(dense, inputs, 0.5, widths={"second": 4}).model
    assert (pruned.first.out_channels, pruned.second.out_channels) == (2, 4)


def test_widths_are_left_in_one_step_by_the_lowest_ranks() -> None:
    dense, inputs = Chain().eval(), torch.randn(1, 3, 6, 6)
    kept = prune(dense, inputs, widths={"first": 3}).kept["first"]["out"]
    by_ratio = prune(dense, inputs, 0.25, ratios_by_layer={"second": 0.0}).kept["first"]["out"]
    assert kept == by_ratio
    assert len(kept) == 3
    with pytest.raises(InputError, match="iterative_steps 2; widths are left in one step"):
        GroupPruner(dense, inputs, widths={"first": 3}, iterative_steps=2)


def test_verify_takes_a_pruner_or_widths() -> None:
    dense, inputs = Residual().eval(), torch.randn(1, 3, 6, 6)
    assert verify(dense, inputs, widths={"block.expand": 4}).verdict is Verdict.EXACT
    assert dense.block.expand.out_channels == 4
    with pytest.raises(InputError, match="verify takes a pruner or widths, one of them"):
        verify(dense, inputs)


def test_the_decorator_makes_one_run_of_widths() -> None:
    mark = parametrize_with_checks(Residual, input_size=Residual.size, widths={"block.expand": 5})
    runs = {parameter.values[0].ratio for parameter in mark.args[1]}
    assert runs == {0.0}
    run = mark.args[1][0].values[0].run
    assert run.verification.verdict is Verdict.EXACT
    assert run.config.cut == "groups"
    assert run.costs.by_layer()["block.depthwise"].params == 5 * 9
