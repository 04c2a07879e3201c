"""Targets of latency: ratios are tried and measured, and a check says what was measured."""

from dataclasses import replace

import pytest
import torch
from nets import Chain, inputs_for, make
from torch import nn

from analysis import GroupPruner, TargetPruner, prune, ratio_for
from analysis.checks import evaluate
from analysis.errors import InputError
from analysis.latencies.reaching import fast_enough
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import (
    Config,
    Latency,
    Network,
    NetworkLatency,
    Request,
    Spread,
    Target,
    Timing,
    targets_of,
)
from analysis.runs import run_of


class Wide(nn.Sequential):
    """Its time is that of its products, which pruning shortens."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 256))


INPUTS = torch.randn(64, 256)


def request(**asked) -> Request:
    network = Network("wide", factory=lambda: Wide().eval(), inputs=lambda: INPUTS)
    return Request(network, **{"cut": "groups", "scope": "local", "ratios": (), **asked})


def run(asked: Request):
    return run_of(asked, asked.configs[0], ())


def exactly(ratio: float) -> Spread:
    return Spread(ratio, ratio, ratio, 0.95)


def test_the_smallest_ratio_that_is_fast_enough_is_found() -> None:
    tried: list[float] = []

    def spread(ratio: float) -> Spread:
        tried.append(ratio)
        return exactly(1 - ratio)

    ratio, why_not = fast_enough(0.6, 0.0, spread)
    assert not why_not
    assert 0.4 <= ratio <= 0.4 + 0.95 / 2**6
    assert len(tried) <= 8


def test_what_is_aimed_at_leaves_room_for_another_measurement() -> None:
    ratio, _ = fast_enough(0.6, 0.0, lambda ratio: Spread(1 - ratio, 0.98 - ratio, 1.02 - ratio, 1))
    assert 1.06 - ratio <= 0.6


def test_a_larger_ratio_that_leaves_more_is_not_where_the_search_begins() -> None:
    """Where layers would be emptied, nothing goes."""
    ratio, why_not = fast_enough(0.6, 0.0, lambda ratio: exactly(1 - ratio if ratio < 0.85 else 1))
    assert not why_not
    assert 0.4 <= ratio < 0.42


def test_no_ratio_below_that_of_the_other_targets_is_taken() -> None:
    assert fast_enough(0.6, 0.5, lambda ratio: exactly(1 - ratio)) == (0.5, "")


def test_where_none_is_fast_enough_the_least_is_said() -> None:
    ratio, why_not = fast_enough(0.3, 0.0, lambda ratio: Spread(0.7, 0.6, 0.8 - ratio / 10, 0.95))
    assert ratio == 0.95
    assert why_not == (
        "no ratio that was tried is known to leave 30.0% of the latency: the least is 70.0% "
        "(60.0% to 70.5%), at ratio 0.95"
    )


def test_a_small_limit_is_said_as_it_was_given() -> None:
    _, why_not = fast_enough(0.0001, 0.0, lambda _: exactly(0.5))
    assert "is known to leave 0.01% of the latency" in why_not


def test_a_ratio_at_which_nothing_can_be_pruned_is_not_taken() -> None:
    assert fast_enough(0.6, 0.0, lambda _: None) == (
        0.0,
        "the network cannot be pruned at any ratio that was tried",
    )


def test_a_network_is_pruned_until_it_is_fast_enough() -> None:
    found = run(request(targets={"latency": 0.7}))
    assert found.config.sought
    assert 0 < found.config.ratio <= 0.95
    (check,) = found.checks
    assert check.name == "meets_target"
    # On a machine that is slowed down meanwhile the last measurement may say otherwise.
    assert check.passed is (found.latency.ratio.high <= 0.7)


def test_a_pruner_of_the_users_own_is_given_ratios_and_not_the_target() -> None:
    given: list[float] = []

    def own(model, inputs, ratio):
        given.append(ratio)
        return GroupPruner(model, inputs, ratio)

    found = run(request(targets={"latency": 0.7}, pruner=own, cut="torch-pruning"))
    assert given[0] == 0.95
    assert found.config.ratio == given[-1]
    assert found.latency.ratio.median < 1


def test_torch_prunings_cut_is_sought_in_the_same_way() -> None:
    found = run(request(targets={"latency": 0.7}, cut="torch-pruning"))
    assert found.config.sought
    assert 0 < found.config.ratio <= 0.95
    assert found.verification.verdict.passes


def test_all_of_several_targets_hold() -> None:
    found = run(request(targets={"latency": 0.9, "params": 0.1}))
    assert found.params.share <= 0.1
    # Far faster than asked: the ratio is that of the parameters alone.
    assert found.config.ratio == run(request(targets={"params": 0.1})).config.ratio
    assert found.checks[0].passed, found.checks[0].message


def test_what_cannot_be_reached_fails_and_says_what_was_measured() -> None:
    found = run(request(targets={"latency": 0.001}, max_pruning_ratio=0.5))
    (check,) = found.checks
    assert not check.passed
    assert "at most 0.1% of the latency is to be left, and " in check.message
    assert " was measured; no ratio that was tried is known to leave 0.1%" in check.message
    assert not found.may_be_kept


def test_a_ratio_that_was_given_is_measured_and_checked() -> None:
    found = run(request(ratios=(0.95,), targets={"latency": 0.8}))
    assert found.config.ratio == 0.95
    assert found.checks[0].passed, found.checks[0].message


def test_what_is_proved_and_fast_enough_is_kept_and_nothing_else() -> None:
    kept: list = []
    asked = request(targets={"latency": 0.8}, ratios=(0.95,))
    assert run_of(asked, asked.configs[0], (), kept.append).may_be_kept
    slow = request(targets={"latency": 0.01}, ratios=(0.5,))
    assert not run_of(slow, slow.configs[0], (), kept.append).may_be_kept
    (pruned,) = kept
    assert pruned.model[0].out_features < 0.06 * 2048


def test_prune_takes_the_target_and_keeps_what_was_measured() -> None:
    pruned = prune(Wide(), INPUTS, targets={"latency": 0.7})
    assert pruned.verification.verdict.passes
    assert pruned.model[0].out_features < 2048
    assert pruned.latency.ratio.median < 1
    assert prune(Wide(), INPUTS, 0.5).latency is None


@pytest.mark.parametrize(
    ("low", "high", "is_at_most"), [(0.4, 0.6, True), (0.5, 0.7, None), (0.61, 0.7, False)]
)
def test_an_interval_that_straddles_a_target_is_neither(low, high, is_at_most) -> None:
    assert Spread(0.5, low, high, 0.95).is_at_most(0.6) is is_at_most


def outcome(latency: Latency | None):
    """Of a network at a target that its run has missed, met or neither."""
    model = make(Chain)
    dense = analyse(model, inputs_for(model))
    asked = Config(0.5, cut="groups", scope="local", targets=(Target("latency", 0.6),))
    found = prune_and_prove(dense, asked, "classifier")
    return replace(found, run=replace(found.run, latency=latency))


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (Spread(0.6, 0.5, 0.7, 0.95), "whether it is is unknown: 60.0% (50.0% to 70.0%)"),
        (Spread(0.596, 0.593, 0.60003, 0.95), "unknown: 59.6% (59.3% to 60.003%) was measured"),
        (Spread(0.8, 0.7, 0.9, 0.95), "and 80.0% (70.0% to 90.0%) was measured"),
        (None, "was not measured: no compiler"),
    ],
)
def test_the_check_passes_only_what_is_known_to_be_fast_enough(ratio, said) -> None:
    network = NetworkLatency("eager", 1.0, 0.6, ratio, "" if ratio else "no compiler")
    (check,) = evaluate(outcome(Latency(Timing(), (network,))), ["meets_target"])
    assert not check.passed
    assert said in check.message


@pytest.mark.parametrize("ask", [ratio_for, TargetPruner])
def test_what_predicts_refuses_latency(ask) -> None:
    model = make(Chain)
    with pytest.raises(InputError, match="latency is measured of a pruned network, and not predic"):
        ask(model, inputs_for(model), {"latency": 0.6})


def test_training_between_attempts_is_refused() -> None:
    with pytest.raises(InputError, match="sought by pruning several times"):
        prune(Wide(), INPUTS, targets={"latency": 0.6}, between=lambda _: None)


@pytest.mark.parametrize("given", ["latency=1000", "latency=1e-3,latency=0.5", "latncy=0.5"])
def test_a_time_is_no_target(given) -> None:
    with pytest.raises(InputError, match=r"never checked alone|of one quantity|did you mean"):
        targets_of(given)


def test_a_share_of_latency_is_a_target() -> None:
    (target,) = targets_of("latency=0.6")
    assert (str(target), target.words) == ("latency=0.6", "60.0% of the latency")
