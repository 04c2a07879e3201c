"""The smallest ratio that meets targets, beside every ratio pruned and counted."""

import copy
import io
from functools import cache

import numpy as np
import pytest
import torch
from nets import Chain, Concat, Flattened, Grouped, Residual, inputs_for, make
from torch import nn

from analysis import (
    GroupPruner,
    TargetPruner,
    cost_account,
    count_macs,
    prune,
    ratio_for,
    verify,
    verify_steps,
)
from analysis.checks import CATALOGUE, CheckFailedError
from analysis.costs.reaching import Candidates
from analysis.errors import InputError
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import Config, CurvePoint, Target, targets_of


def size_of(model: nn.Module) -> int:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return len(file.getvalue())


def left_of(model: nn.Module, inputs, ratio: float, scope: str) -> dict[str, int]:
    """Of a copy that is really pruned."""
    pruned = prune(model, inputs, ratio, scope=scope)
    return {"macs": pruned.macs, "params": pruned.params, "bytes": size_of(pruned.model)}


@cache
def left_of_chain(ratio: float, scope: str) -> dict[str, int]:
    """The same of a chain, pruned once for all targets."""
    model = make(Chain)
    return left_of(model, inputs_for(model), ratio, scope)


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize(
    "targets",
    [{"macs": 0.5}, {"params": 120}, {"bytes": 0.93}, {"macs": 0.6, "params": 0.4, "bytes": 0.95}],
    ids=",".join,
)
def test_the_ratio_is_the_smallest_of_all_that_meets_the_targets(targets, scope: str) -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    account = cost_account(model, inputs, "classifier", scope=scope, cut="groups")
    dense = left_of_chain(0.0, scope)
    expected = next(
        ratio
        for ratio in account._ranking.first_ratios()
        for left in [left_of_chain(ratio, scope)]
        if all(
            left[target.quantity] <= target.most(dense[target.quantity])
            for target in targets_of(targets)
        )
    )
    reach = ratio_for(
        model, inputs, targets, ignored_layers="classifier", scope=scope, cut="groups"
    )
    assert reach.ratio == expected > 0
    found = prune(model, inputs, targets=targets, scope=scope)
    assert found.outcome.run.config.ratio == pytest.approx(expected)
    CATALOGUE["meets_target"].run(found.outcome)


def candidates(macs, params, targets: str, saved=None) -> Candidates:
    left = {"macs": np.array(macs), "params": np.array(params)}
    dense = CurvePoint(0.0, macs[0], params[0])
    return Candidates(targets_of(targets), np.arange(len(macs)) / 10, left, dense, saved)


def test_targets_that_no_ratio_meets_together_differ_from_one_that_none_meets() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    least = ratio_for(model, inputs, {"macs": 0.01, "params": 0.9}, ignored_layers=["head"])
    assert least.reason.startswith("no ratio leaves 1.0% of the MACs: the least is ")
    assert least.held.startswith("`first` holds ")
    # At 0.2 the MACs are few and the parameters many; at 0.1 it is the other way around.
    found = candidates([1000, 900, 100, 950], [1000, 100, 900, 950], "macs=0.5,params=0.5")
    assert found.first is None
    assert not found.least().misses(found.targets[:1], found.dense)


def test_the_bytes_of_an_answer_are_measured_and_not_only_derived_from_the_parameters() -> None:
    # Bytes fall with the parameters, but for one ratio, whose file happens to be larger.
    saved = {0.0: 1000, 0.1: 800, 0.2: 620, 0.3: 480, 0.4: 505, 0.5: 300}
    found = candidates([9] * 6, [900, 700, 500, 400, 350, 200], "bytes=500", saved.__getitem__)
    assert found.first in (3, 5)
    assert found.at(found.first).bytes <= 500
    with pytest.raises(InputError, match="nothing measures the bytes"):
        candidates([9], [9], "bytes=0.5")


def test_a_target_that_no_ratio_meets_is_a_pruning_as_far_as_it_goes_and_a_failing_check() -> None:
    model = make(Chain)
    found = prune(model, inputs_for(model), targets={"macs": 0.01})
    assert found.verification.verdict.passes
    with pytest.raises(CheckFailedError, match=r"at most 1\.0% .* no ratio leaves .* holds"):
        CATALOGUE["meets_target"].run(found.outcome)
    assert "no ratio leaves 1.0% of the MACs" in found.verification.reason


def test_the_check_counts_what_is_left_and_holds_where_nothing_was_to_be_met() -> None:
    model = make(Chain)
    dense = analyse(model, inputs_for(model))

    def found(*targets: Target):
        return prune_and_prove(dense, Config(0.5, targets=targets), "classifier")

    CATALOGUE["meets_target"].run(found(Target("macs", 0.6), Target("bytes", 1)))
    with pytest.raises(CheckFailedError, match=r"of the MACs are to be left, and \d+\.\d+% are"):
        CATALOGUE["meets_target"].run(found(Target("macs", 0.2)))
    CATALOGUE["meets_target"].run(found())


def shuffled(model: nn.Module) -> None:
    """Training that makes other channels the weakest."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand_like(parameter) + 0.5)


@pytest.mark.parametrize("kind", [Chain, Residual, Concat])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_steps_land_on_the_target_though_weights_are_trained_between(kind, scope: str) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    before = count_macs(model, inputs)
    pruner = TargetPruner(model, inputs, {"macs": 0.5}, scope=scope, iterative_steps=3)
    left, starts = [], [copy.deepcopy(model)]
    for step in verify_steps(model, inputs, pruner):
        assert step.verdict.passes, step.reason
        assert step.macs.before == before.macs
        assert (step.macs.after, step.params.after) == counted(model, inputs)
        left.append(step.macs.after)
        part = before.macs * (1 - len(left) * 0.5 / 3)
        assert step.macs.after <= part if len(left) == 3 else step.macs.after >= part
        shuffled(model)
        starts.append(copy.deepcopy(model))
    # Of what the last step started from, a smaller ratio leaves too much.
    less = left_of(starts[2], inputs, max(pruner.reach.ratio - 1e-9, 0.0), scope)
    assert less["macs"] > 0.5 * before.macs


def counted(model: nn.Module, inputs) -> tuple[int, int]:
    table = count_macs(model, inputs)
    return table.macs, table.params


@pytest.mark.parametrize("kind", [Chain, Residual, Concat, Grouped, Flattened])
def test_a_verification_has_what_fvcore_counts_before_and_after(kind) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    before = counted(model, inputs)
    found = verify(model, inputs, GroupPruner(model, inputs, 0.5))
    after = counted(model, inputs)
    assert (found.macs.before, found.params.before) == before
    assert (found.macs.after, found.params.after) == after != before


def test_ratios_in_equal_shares_end_elsewhere_once_weights_are_trained() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    found = prune(
        model, inputs, targets={"macs": 0.5}, scope="global", iterative_steps=3, between=shuffled
    )
    assert found.macs <= 0.5 * count_macs(model, inputs).macs
    assert found.outcome.trained


def test_a_pruner_function_gets_its_targets_in_place_of_a_ratio() -> None:
    told = []

    def factory(model, inputs, targets):
        told.append(targets)
        return TargetPruner(model, inputs, targets, iterative_steps=2), shuffled

    model = make(Chain)
    config = Config(0.0, targets=(Target("macs", 0.5),), sought=True)
    dense = analyse(model, inputs_for(model))
    found = prune_and_prove(dense, config, "classifier", pruner_factory=factory)
    assert told == [{"macs": 0.5}]
    CATALOGUE["meets_target"].run(found)
    assert 0 < found.run.config.ratio < 1
    assert found.run.verification.macs == found.run.macs


def test_a_ratio_and_targets_are_not_taken_together() -> None:
    model = make(Chain)
    with pytest.raises(InputError, match=r"ratio 0\.5 and targets; expected one of them"):
        prune(model, inputs_for(model), 0.5, targets={"macs": 0.5})
