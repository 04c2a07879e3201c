"""The checks on requested channels: each fault is planted, detected, and allowed by its option."""

from dataclasses import replace

import pytest
import torch_pruning as tp
from nets import Chain, Concat, Residual, inputs_for, make

from analysis import cost_account, prune
from analysis.checks import CATALOGUE, CheckFailedError, evaluate
from analysis.gate.expected_failures import EXPECTED_FAILURES, ExpectedFailure, marked
from analysis.pipeline import Outcome, analyse, prune_and_prove
from analysis.records import Config, GroupAccount, Reason, Run, Thresholds


def outcome(kind, config: Config, **thresholds) -> Outcome:
    model = make(kind)
    found = prune_and_prove(analyse(model, inputs_for(model)), config, "classifier")
    return replace(found, thresholds=Thresholds(**thresholds))


def message(check: str, found: Outcome) -> str:
    with pytest.raises(CheckFailedError) as caught:
        CATALOGUE[check].run(found)
    return str(caught.value)


# 4 - int(4 * 0.1) = 4 and 5 - int(5 * 0.1) = 5 channels are asked, all of them: both are dropped.
ALL = Config(0.9, "local")
# 2 of 4 and 3 of 5 go.
HALF = Config(0.5, "local")


def test_a_sound_pruning_passes_every_check() -> None:
    assert all(result.passed for result in evaluate(outcome(Chain, HALF)))


def test_a_cut_by_the_groups_may_round_to_the_nearest_multiple_on_either_side() -> None:
    """3 of the 5 channels of `second` are asked; of the multiples of 4 that it can leave 4 is
    nearest to 2.
    """
    model = make(Chain)
    found = prune(model, inputs_for(model), 0.5, round_to=4).outcome
    lost = {group.root: (group.requested, group.removed) for group in account(found)}
    assert lost["second"] == (3, 1)
    CATALOGUE["ratio_met"].run(found)
    told = message("ratio_met", replace(found, thresholds=Thresholds(ratio_tolerance=1)))
    assert "`second` asked 3 of 5, removed 1 (rounded-away)" in told


def account(found: Outcome) -> tuple[GroupAccount, ...]:
    return found.run.verification.groups


def stepwise(model, inputs, ratio):
    """Two steps, of which the second asks for all channels and is dropped."""
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=ratio,
        iterative_steps=2,
        ignored_layers=[model.head],
        num_heads={},
        out_channel_groups={},
        in_channel_groups={},
    )


def in_steps(**thresholds) -> Outcome:
    model = make(Chain)
    dense = analyse(model, inputs_for(model))
    found = prune_and_prove(dense, ALL, "classifier", pruner_factory=stepwise)
    return replace(found, thresholds=Thresholds(**thresholds))


def test_a_ratio_that_is_missed_names_the_groups_with_asked_and_done() -> None:
    # Half way int(4 * 0.55) = 2 and int(5 * 0.55) = 2 stay, and so they do in the end.
    output = message("ratio_met", in_steps())
    assert "9 channels were requested and 5 removed" in output
    assert "`first` asked 4 of 4, removed 2 (would-empty)" in output
    assert "`second` asked 5 of 5, removed 3 (would-empty)" in output


def test_a_ratio_may_be_missed_by_as_many_channels_as_is_allowed() -> None:
    CATALOGUE["ratio_met"].run(in_steps(ratio_tolerance=2))
    assert "`second`" in message("ratio_met", in_steps(ratio_tolerance=1))


def test_a_group_that_drops_out_is_one_checks_business() -> None:
    CATALOGUE["ratio_met"].run(outcome(Chain, ALL))


def test_rounding_may_take_less_than_a_whole_multiple_more() -> None:
    # Asked for two of eight, six are left, and rounding to four takes two more.
    rounded = Config(0.25, "local", round_to=4)
    CATALOGUE["ratio_met"].run(outcome(Residual, rounded))
    assert "`block.depthwise` asked 2 of 8, removed 4" in message(
        "ratio_met", outcome(Residual, rounded, ratio_tolerance=1)
    )


def test_groups_that_drop_out_are_named_and_as_many_as_is_allowed_may() -> None:
    output = message("no_group_dropped", outcome(Chain, ALL))
    assert "2 of 3 groups" in output
    assert "`first` asked 4 of 4 (would-empty)" in output
    message("no_group_dropped", outcome(Chain, ALL, max_dropped=1))
    CATALOGUE["no_group_dropped"].run(outcome(Chain, ALL, max_dropped=2))


def test_a_layer_with_too_few_channels_left_has_collapsed() -> None:
    # 4 - int(4 * 0.4) = 3 go, one stays.
    narrow = Config(0.6, "local")
    assert "`first` keeps 1 of 4" in message("nothing_collapsed", outcome(Chain, narrow))
    CATALOGUE["nothing_collapsed"].run(outcome(Chain, narrow, min_channels=1))


def test_a_layer_that_lost_most_of_its_channels_has_collapsed() -> None:
    CATALOGUE["nothing_collapsed"].run(outcome(Chain, HALF))
    assert "`second` keeps 2 of 5" in message(
        "nothing_collapsed", outcome(Chain, HALF, max_lost=0.5)
    )
    assert "`first`" not in message("nothing_collapsed", outcome(Chain, HALF, max_lost=0.5))


def test_a_cap_is_held_to_what_was_cut() -> None:
    """torch-pruning tests the cap before its one cut, and so goes beyond it."""
    capped = replace(HALF, max_pruning_ratio=0.4)
    output = message("cap_held", outcome(Chain, capped))
    assert "`first` lost 2 of 4" in output
    assert "`second` lost 3 of 5" in output
    CATALOGUE["cap_held"].run(outcome(Chain, replace(HALF, max_pruning_ratio=0.6)))


def test_a_cap_that_is_met_to_the_channel_is_held() -> None:
    """0.29 times 100 is a little less than 29 in binary."""
    found = outcome(Chain, replace(HALF, max_pruning_ratio=0.29))
    group = GroupAccount("wide", 100, 29, 29, Reason.PRUNED)
    verification = replace(found.run.verification, groups=(group,))
    found = replace(found, run=replace(found.run, verification=verification))
    assert 0.29 * 100 < 29
    CATALOGUE["cap_held"].run(found)


def test_channels_that_are_no_multiple_are_named() -> None:
    # Of six, three are asked; three floor to 0, the cut is dropped, and six is no multiple of 4.
    output = message("channels_divisible", outcome(Concat, Config(0.5, "local", round_to=4)))
    assert "`right` keeps 6 of 6 (rounded-away)" in output
    assert "`left`" not in output
    assert "`head`" not in output  # its two outputs are held, and nobody asked for a multiple
    CATALOGUE["channels_divisible"].run(outcome(Concat, Config(0.5, "local", round_to=2)))


def test_what_is_not_known_to_be_asked_is_not_held_against_a_pruning() -> None:
    found = outcome(Chain, HALF)
    unknown = tuple(replace(g, requested=None) for g in found.run.verification.groups)
    verification = replace(found.run.verification, groups=unknown)
    found = replace(found, run=replace(found.run, verification=verification))
    for check in ("ratio_met", "no_group_dropped"):
        CATALOGUE[check].run(found)


@pytest.mark.parametrize("kind", [Chain, Residual, Concat])
@pytest.mark.parametrize("config", [Config(0.5), ALL, Config(0.5, "local", round_to=4)])
def test_a_sweep_marks_the_groups_that_a_pruning_drops(kind, config: Config) -> None:
    model = make(kind)
    groups = outcome(kind, config).run.verification.groups
    account = cost_account(
        model,
        inputs_for(model),
        [model.head],
        scope=config.scope,
        round_to=config.round_to,
        names=[group.root for group in groups],
    )
    curve = account.curve([0.1, config.ratio])
    # A global scope has the same name in the account of a pruning and of a prediction.
    assert curve.dropped[1] == tuple(group for group in groups if group.is_dropped)


def run_of(config: Config) -> Run:
    found = outcome(Chain, config)
    return replace(found.run, checks=evaluate(found))


def known(check: str, **other) -> ExpectedFailure:
    values = {"policy": "classifier", "scope": "local", "ratio": 0.9, "reason": "as it is"} | other
    return ExpectedFailure(model="chain", check=check, **values)


def test_a_known_failure_is_no_news_and_any_other_is() -> None:
    listed = [known(check) for check in ("no_group_dropped", "something_removed")]
    run = marked("chain", run_of(ALL), listed)
    assert not run.passed  # `equivalent_to_masked` fails of a network that is unchanged
    assert marked("chain", run_of(ALL), [*listed, known("equivalent_to_masked")]).passed
    assert not marked("another", run_of(ALL), [*listed, known("equivalent_to_masked")]).passed


def test_a_known_failure_that_passes_fails() -> None:
    run = marked("chain", run_of(HALF), [known("ratio_met", ratio=0.5)])
    (check,) = [check for check in run.checks if check.name == "ratio_met"]
    assert not check.passed
    assert "passes, though expected to fail (as it is)" in check.message
    assert not run.passed


def test_a_known_failure_of_another_torch_pruning_says_nothing() -> None:
    run = run_of(HALF)
    assert marked("chain", run, [known("ratio_met", ratio=0.5, pruner="0.9.")]) == run


def test_every_known_failure_names_a_check_and_a_reason() -> None:
    assert all(entry.check in CATALOGUE and entry.reason for entry in EXPECTED_FAILURES)
    assert len(
        {(e.model, e.policy, e.scope, e.ratio, e.check, e.pruner) for e in EXPECTED_FAILURES}
    ) == len(EXPECTED_FAILURES)
