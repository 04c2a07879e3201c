"""The polynomial and what is read from it, against formulas by hand and networks really pruned."""

import copy
from functools import cache
from itertools import pairwise, permutations, product

import numpy as np
import pytest
import torch
import torchvision
from blocks import build
from drawn import part
from kinds import KINDS, REAL, Network, network_of
from nets import Chain, Concat, Grouped, Residual, inputs_for, make
from torch import Tensor, nn

from analysis import (
    cost_account,
    count_macs,
    inspect_groups,
    ratio_curve,
    ratio_for_macs,
    ratio_for_params,
)
from analysis.errors import AnalysisError, InputError
from analysis.groups.policies import ignored_layers
from analysis.pruning import surgery
from analysis.records import Config, CurvePoint, RatioCurve, Reach, Reason, Scaling, Target, Unknown

SCOPES = ("global", "local")


def pruned(model: nn.Module, inputs: Tensor, config: Config, ignored: tuple[str, ...]) -> nn.Module:
    copied = copy.deepcopy(model)
    surgery.build_pruner(copied, inputs, config, ignored).step()
    return copied


def counted(model: nn.Module, inputs: Tensor) -> tuple[dict[str, tuple[int, int]], int, int]:
    table = count_macs(model, inputs)
    layers = {row.layer: (row.macs, row.params) for row in table.layers}
    return layers, table.macs, sum(parameter.numel() for parameter in model.parameters())


def chain(first: int, second: int) -> tuple[int, int]:
    """MACs and parameters of Chain with these widths, on 2 images of 6x6."""
    macs = first * 27 * 72 + 2 * first * 72 + first * second * 72 + second * 2 * 2
    params = first * 27 + 2 * first + (first + 1) * second + (second + 1) * 2
    return macs, params


def test_a_chain_costs_the_formula_of_its_widths() -> None:
    model = make(Chain)
    account = cost_account(model, inputs_for(model), ["head"])
    places = [account.model.roots.index(root) for root in ("first", "second")]
    for first in range(1, 5):
        for second in range(1, 6):
            removed = np.zeros((3, 1))
            removed[places, 0] = 4 - first, 5 - second
            left = int(account.model.macs.at(removed)[0]), int(account.model.params.at(removed)[0])
            assert left == chain(first, second)


def test_a_layer_that_reads_the_group_it_makes_costs_a_square() -> None:
    model = build("shared layer")
    account = cost_account(model, torch.randn(1, 3, 6, 6), ["head"])
    form = account.scaling("params")
    # `twice` makes and reads 8 channels, `second` reads 8 and makes 6; both of each may go.
    assert form.square == 8 * 8 + 8 * 6


def test_the_terms_of_the_scaling_are_those_of_the_formula() -> None:
    model = make(Chain)
    form = cost_account(model, inputs_for(model), ["head"]).scaling()
    assert form.square == 4 * 5 * 72
    assert form.line == 4 * 27 * 72 + 2 * 4 * 72 + 5 * 2 * 2
    assert form.constant == 0
    for ratio in (0.0, 0.25, 0.5):
        assert form.at(ratio) == chain(4 * (1 - ratio), 5 * (1 - ratio))[0]


@pytest.mark.parametrize("kind", [Chain, Residual, Concat, Grouped])
def test_a_groups_share_is_its_mean_over_all_orders(kind) -> None:
    """Shapley's definition, by brute force."""
    model = make(kind)
    account = cost_account(model, inputs_for(model), ["head"])
    ((_, removed, _),) = account._expected([0.6])
    gone = removed[:, 0]
    players = [place for place, count in enumerate(gone) if count]
    mean = dict.fromkeys(players, 0.0)
    orders = list(permutations(players))
    for order in orders:
        state = np.zeros((len(gone), 1))
        for player in order:
            before = account.model.macs.at(state)[0]
            state[player] = gone[player]
            mean[player] += (before - account.model.macs.at(state)[0]) / len(orders)
    shares = account.model.macs.shares(gone)
    assert {player: shares[player] for player in players} == pytest.approx(mean)


def test_the_shares_sum_to_what_is_saved() -> None:
    model = make(Residual)
    account = cost_account(model, inputs_for(model), ["head"])
    savings = account.savings(0.5)
    assert sum(group.macs for group in savings.groups) == pytest.approx(
        account.dense.macs - savings.point.macs
    )
    assert sum(group.params for group in savings.groups) == pytest.approx(
        account.dense.params - savings.point.params
    )


def test_the_first_channel_takes_what_a_network_without_it_lacks() -> None:
    model = make(Chain)
    rows = {g.root: g for g in cost_account(model, inputs_for(model), ["head"]).savings(0.5).groups}
    macs, params = chain(4, 5)
    assert rows["first"].macs_of_one == macs - chain(3, 5)[0]
    assert rows["second"].params_of_one == params - chain(4, 4)[1]


def by_pruning(
    model: nn.Module, inputs: Tensor, config: Config
) -> tuple[dict[str, tuple[int, int]], int, int] | None:
    """What is counted on a pruned copy; None where it cannot be pruned, or does not run then."""
    try:
        return counted(pruned(model, inputs, config, ("head",)), inputs)
    except (AnalysisError, RuntimeError, IndexError):
        return None


UNKNOWN = (
    "attention", "halves", "transformer layer", "a frozen branch", "response norm",
    "a channel gate",
)  # fmt: skip
"""What torch-pruning cuts rightly, though only itself could tell."""


def is_read_rightly(network: Network) -> bool:
    """Whether torch-pruning makes the right cut of every group."""
    return all(each.audit == "same" for each in network.audited)


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize(
    ("name", "scope", "round_to"),
    [(name, *how) for name in KINDS for how in part(product(SCOPES, [None, 3]), name)],
)
def test_every_layer_is_predicted_as_it_is_pruned_or_nothing_is(name, scope, round_to) -> None:
    """A network that cannot be pruned, or does not run once it is, has no number.

    Where torch-pruning would cut a group wrongly, a number is that of the right cut, or there is
    none.
    """
    network = network_of(name)
    model, inputs, right = network.model, network.inputs, is_read_rightly(network)
    account = cost_account(model, inputs, ["head"], scope=scope, round_to=round_to)
    for ratio in part((0.1, 0.3, 0.5, 0.7, 0.95), (name, scope, round_to)):
        found = by_pruning(model, inputs, Config(ratio, scope, round_to=round_to))
        try:
            points = account.curve([ratio]).complete().points
        except InputError:
            assert found is None or not right or any(word in name for word in UNKNOWN)
            continue
        if right:
            assert found is not None
            layers, macs, params = found
            assert points == (CurvePoint(ratio, macs, params),)
            assert account.by_layer(ratio) == layers


@pytest.mark.parametrize("name", ["halves", "a slice with numbers"])
@pytest.mark.parametrize("seed", [0, 5, 6, 11, 12, 20])
def test_a_target_is_met_by_a_ratio_that_runs(name, seed) -> None:
    """With most of these weights the smallest ratios cut uneven halves."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = REAL[name]().eval()
        inputs = torch.randn(2, *model.size)
    dense = count_macs(model, inputs).macs
    for scope in SCOPES:
        reach = ratio_for_macs(model, inputs, 0.8, ignored_layers=["head"], scope=scope)
        for point in filter(None, (reach.point, reach.least)):
            found = by_pruning(model, inputs, Config(point.ratio, scope))
            assert found is not None
            assert found[1] == point.macs
        assert reach.point is None or reach.point.macs <= 0.8 * dense


@pytest.mark.parametrize("ratio", [1.0, 1.5, -0.5, float("nan")])
def test_an_account_knows_no_ratio_outside_of_its_range(ratio) -> None:
    model = make(Chain)
    account = cost_account(model, inputs_for(model), ["head"])
    for ask in (account.by_layer, account.savings, lambda ratio: account.curve([ratio]).complete()):
        with pytest.raises(InputError, match=r"expected a number in \[0, 1\)"):
            ask(ratio)


NETWORKS = (
    ("mobilenet_v3_small", "skip-channels", "global", None),
    ("resnext50_32x4d", "classifier", "local", 4),
    ("efficientnet_b0", "classifier", "global", 8),
    ("squeezenet1_1", "none", "global", None),
    ("googlenet", "classifier", "local", None),
    ("regnet_y_400mf", "residual-blocks", "local", None),
)


@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
@pytest.mark.parametrize(("name", "policy", "scope", "round_to"), part(NETWORKS))
def test_real_networks_are_predicted_to_the_last_mac(name, policy, scope, round_to) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.get_model(name).eval()
    inputs = torch.randn(1, 3, 64, 64)
    ignored = ignored_layers(policy, model, inspect_groups(model, inputs))
    account = cost_account(model, inputs, ignored, scope=scope, round_to=round_to)
    for ratio in (0.37, 0.83):
        config = Config(ratio, scope, round_to=round_to)
        layers, macs, params = counted(pruned(model, inputs, config, ignored), inputs)
        assert account.curve([ratio]).complete().points == (CurvePoint(ratio, macs, params),)
        assert account.by_layer(ratio) == layers


# Numbers of channels that are ranked together: those of each group, of each half of a grouped
# convolution, and of all groups but the head.
POOLS = {
    Chain: (4, 5, 9),
    Residual: (4, 8, 12),
    Concat: (4, 6, 14),
    Grouped: (4, 8, 12, 16),
}


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("target", [0.9, 0.5, 0.2])
def test_no_smaller_ratio_meets_the_target(kind, scope, target) -> None:
    """Every ratio that asks for another number of channels is tried, by really pruning."""
    model = make(kind)
    inputs = inputs_for(model)
    dense = count_macs(model, inputs).macs
    reach = ratio_for_macs(model, inputs, target, ignored_layers=["head"], scope=scope)

    left = macs_left(kind, scope)
    smaller = [ratio for ratio in left if reach.ratio is None or ratio < reach.ratio - 1e-9]
    assert all(left[ratio] > target * dense for ratio in smaller)
    assert reach.least.macs <= min(left.values())
    if reach.ratio is None:
        assert "no ratio leaves" in reach.reason
    else:
        there = pruned(model, inputs, Config(reach.ratio, scope), ("head",))
        assert count_macs(there, inputs).macs == reach.point.macs <= target * dense


@cache
def macs_left(kind, scope: str) -> dict[float, int]:
    """What is left at every ratio that asks for another number of channels, by really pruning."""
    model = make(kind)
    inputs = inputs_for(model)
    # Of n channels one more is asked once the ratio is beyond k / n.
    tried = sorted({0.0} | {k / n + 1e-6 for n in POOLS[kind] for k in range(n)})
    return {
        ratio: count_macs(pruned(model, inputs, Config(ratio, scope), ("head",)), inputs).macs
        for ratio in tried
    }


def test_the_ratio_for_parameters_looks_at_parameters() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    reach = ratio_for_params(model, inputs, 0.5, ignored_layers=["head"])
    left = pruned(model, inputs, Config(reach.ratio), ("head",))
    params = sum(parameter.numel() for parameter in left.parameters())
    assert params == reach.point.params <= 0.5 * chain(4, 5)[1]


def test_what_holds_up_the_least_is_named() -> None:
    model = make(Residual)
    reach = ratio_for_macs(model, inputs_for(model), 0.01, ignored_layers=["head", "stem"])
    assert reach.ratio is None
    # The stem's four channels stay, those of the block's expansion may go but for one.
    first = reach.holders[0]
    assert (first.layer, first.left) == ("stem", 2 * 36 * 3 * 4 * 9)
    assert first.why == "ignored: 4 of 4 channels of `stem` stay"


def test_a_curve_says_where_it_turns_and_who_turns_it() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    ratios = [step / 20 for step in range(20)]
    curve = ratio_curve(model, inputs, ratios, ignored_layers=["head"])
    rises = [
        (low.ratio, high.ratio) for low, high in pairwise(curve.points) if high.macs > low.macs
    ]
    assert rises
    assert [(turn.before.ratio, turn.after.ratio) for turn in curve.turns] == rises
    for turn in curve.turns:
        for root, more, reason in turn.groups:
            widths = [
                pruned(model, inputs, Config(point.ratio), ("head",)).get_submodule(root)
                for point in (turn.before, turn.after)
            ]
            assert widths[1].out_channels - widths[0].out_channels == more
            assert reason is Reason.WOULD_EMPTY


def test_the_pruners_cap_changes_nothing_in_one_step() -> None:
    """torch-pruning tests ``max_pruning_ratio`` before a cut, so the curve needs no word of it."""
    model = make(Residual)
    inputs = inputs_for(model)
    capped = pruned(model, inputs, Config(0.7, max_pruning_ratio=0.4), ("head",))
    curve = ratio_curve(model, inputs, [0.7], ignored_layers=["head"])
    assert curve.macs == (count_macs(capped, inputs).macs,)


def test_the_order_of_the_ratios_is_kept() -> None:
    model = make(Chain)
    curve = ratio_curve(model, inputs_for(model), (0.5, 0.0), ignored_layers=["head"])
    assert curve.ratios == (0.5, 0.0)
    assert curve.macs[1] == curve.dense_macs == chain(4, 5)[0]


def test_a_thousand_ratios_are_looked_at_in_parts() -> None:
    model = make(Residual)
    account = cost_account(model, inputs_for(model), ["head"])
    ratios = [step / 1000 for step in range(1000)]
    points = account.curve(ratios).points
    assert points[700] == account.curve([0.7]).points[0]
    assert len(points) == 1000


class Mixer(nn.Module):
    """A linear layer over tokens: what it does for each channel is repeated for all of them."""

    size = (6, 5)

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.tokens = nn.Linear(6, 7)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(self.embed(x).transpose(1, 2)).transpose(1, 2)
        return self.head(x.mean(1))


def test_a_layer_whose_positions_are_channels_follows_them() -> None:
    """torch-pruning does not see that: where its cut raises, the audit says so."""
    model = make(Mixer)
    inputs = inputs_for(model)
    for ratio in (0.0, 0.5):
        try:
            left = count_macs(pruned(model, inputs, Config(ratio), ("head",)), inputs)
        except (AnalysisError, RuntimeError, IndexError):
            assert not is_read_rightly(Network(model, inputs))
        else:
            curve = ratio_curve(model, inputs, [ratio], ignored_layers=["head"])
            assert curve.macs == (left.macs,)


@pytest.mark.parametrize("target", [0.0, -1, 1.5, float("nan")])
def test_a_target_outside_of_its_range_is_refused(target) -> None:
    model = make(Chain)
    with pytest.raises(InputError, match=r"expected the share that may stay, in \(0, 1\]"):
        ratio_for_macs(model, inputs_for(model), target)


def test_a_ratio_outside_of_its_range_is_refused() -> None:
    model = make(Chain)
    with pytest.raises(InputError, match=r"pruning ratio 1.0; expected"):
        ratio_curve(model, inputs_for(model), [0.5, 1.0])


def test_a_size_fixed_in_the_code_is_reported_with_its_place() -> None:
    inputs = torch.randn(1, 3, 6, 6)
    assert ratio_curve(build("buffer for each channel"), inputs, [0.0]).points[0].macs
    with pytest.raises(InputError, match=r"group `first` .* does not cut the buffer `scale`"):
        ratio_curve(build("buffer for each channel"), torch.randn(1, 3, 6, 6), [0.5])


def test_the_model_is_not_changed() -> None:
    model = make(Residual).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    state = torch.get_rng_state()
    ratio_curve(model, inputs_for(model), [0.5], ignored_layers=["head"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


class Shuffled(nn.Module):
    """DepGraph takes the channels behind the shuffle for others, so its cuts have no known cost."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 12, 1)
        self.third = nn.Conv2d(12, 6, 1)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).flip(1))
        return self.head(self.third(x.relu()).mean((2, 3)))


def test_a_target_is_not_said_to_be_out_of_reach_where_ratios_are_not_known() -> None:
    torch.manual_seed(0)
    model = Shuffled().eval()
    found = ratio_for_macs(model, inputs_for(model), 0.2, ignored_layers=["head"])
    assert found.ratio is None
    assert found.reason.startswith("no ratio is known to leave 20.0% of the MACs")
    assert "arrive at `second` in another order" in found.reason
    (unknown,) = found.unknown
    # Of 26 channels the first goes at the first ratio above 0.
    assert 0 < unknown.first < 1 / 26
    assert unknown.until == 1


def test_an_answer_behind_ratios_that_are_not_known_says_so() -> None:
    point, dense = CurvePoint(0.5, 40, 4), CurvePoint(0.0, 100, 10)
    holes = (Unknown(0.1, 0.2, "of `a` it is not known"), Unknown(0.7, 1.0, "of `b` either"))
    found = Reach((Target("macs", 0.5),), dense, point, point, (), Scaling(1, 0, 0), holes)
    assert found.gap == "what ratios from 0.1 to 0.2 leave is not known: of `a` it is not known"
    assert found.reason == ""


def test_a_sweep_goes_on_behind_a_ratio_that_has_no_cost() -> None:
    torch.manual_seed(0)
    model = Shuffled().eval()
    account = cost_account(model, inputs_for(model), ["head"], scope="local")
    curve = account.curve([0.0, 0.5])
    assert curve.ratios == (0.0,)
    ((ratio, why),) = curve.unknown
    assert ratio == 0.5
    assert "arrive at `second` in another order" in why
    with pytest.raises(InputError, match=r"ratio 0\.5 has no cost: .* another order"):
        curve.complete()


def test_more_parameters_at_a_larger_ratio_are_reported_also_with_fewer_macs() -> None:
    def point(ratio: float, macs: int, params: int) -> CurvePoint:
        return CurvePoint(ratio, macs, params)

    points = point(0.5, 60, 20), point(0.1, 90, 50), point(0.3, 80, 10)
    assert RatioCurve(100, 60, points).more_params == {0.5: 0.3}
    assert not RatioCurve(100, 60, points[1:]).more_params
