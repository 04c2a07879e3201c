"""Claim 5: 80 % of the channels is not 80 % of the MACs or of the parameters."""

import io

import pytest
import torch
from case import SAFE, SUBJECTS, runs
from torch.utils.flop_counter import FlopCounterMode

from analysis import ratio_curve
from analysis.records import Config


@pytest.mark.parametrize(("name", "config"), runs(policies=SAFE))
def test_parameters_and_bytes_are_those_of_the_pruned_network(name, config, outcome_of) -> None:
    outcome = outcome_of(name, config)
    run = outcome.run
    assert run.params.before == sum(p.numel() for p in outcome.dense.model.parameters())
    assert run.params.after == sum(p.numel() for p in outcome.pruned.parameters())
    buffer = io.BytesIO()
    torch.save(outcome.pruned.state_dict(), buffer)
    assert run.bytes_.after == len(buffer.getvalue())


@pytest.mark.parametrize(("name", "config"), runs(policies=SAFE))
def test_convolution_and_linear_macs_agree_with_torchs_own_counter(
    name, config, outcome_of
) -> None:
    """torch counts two flops a MAC, and neither batch norm nor pooling."""
    outcome = outcome_of(name, config)
    with FlopCounterMode(display=False) as counter:
        outcome.pruned(outcome.dense.inputs)
    ours = sum(
        macs
        for row in outcome.run.costs.layers
        for operator, macs in row.operators
        if operator in ("conv", "linear", "addmm")
    )
    assert ours == counter.get_total_flops() // 2


@pytest.mark.parametrize(("name", "config"), runs(policies=SAFE))
def test_channels_removed_are_those_the_layers_lost(name, config, outcome_of) -> None:
    outcome = outcome_of(name, config)
    before, after = (dict(model.named_modules()) for model in (outcome.dense.model, outcome.pruned))
    lost = sum(
        before[group.root].weight.shape[0] - after[group.root].weight.shape[0]
        for group in outcome.dense.dependency_groups
    )
    assert outcome.run.channels.removed == lost


@pytest.mark.parametrize(("name", "config"), runs(policies=SAFE))
def test_what_was_asked_is_the_ratio_of_the_prunable_channels(name, config, outcome_of) -> None:
    outcome = outcome_of(name, config)
    channels = outcome.run.channels
    # Each ranking keeps int(n (1 - ratio)) channels, so it may ask for up to one more.
    rankings = 1 if config.scope == "global" else len(outcome.removals)
    surplus = channels.requested - config.ratio * channels.prunable
    assert -1e-6 <= surplus <= rankings


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("scope", ["global", "local"])
def test_80_percent_of_the_channels_is_far_less_of_the_macs(name, scope, outcome_of) -> None:
    run = outcome_of(name, Config(0.8, scope, policy="residual-blocks")).run
    assert 1 - run.macs.share < 0.5
    assert 1 - run.params.share < 0.8


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_curve_passes_through_the_case_studys_points(name, dense_of, outcome_of) -> None:
    dense = dense_of(name)
    outcomes = [
        outcome_of(name, Config(ratio, policy="skip-channels")) for ratio in (0.3, 0.5, 0.8)
    ]
    curve = ratio_curve(
        dense.model, dense.inputs, (0.0, 0.3, 0.5, 0.8), ignored_layers=outcomes[0].ignored
    )
    assert curve.ratios == (0.0, 0.3, 0.5, 0.8)
    assert curve.macs == (dense.costs.macs, *(outcome.run.macs.after for outcome in outcomes))
    assert curve.params == (dense.costs.params, *(outcome.run.params.after for outcome in outcomes))


def test_asking_for_more_can_keep_more(dense_of) -> None:
    """torch-pruning drops a cut that would empty a layer, so the curve is non-monotonic upward."""
    dense = dense_of("mobilenet_v2_cifar")
    curve = ratio_curve(dense.model, dense.inputs, (0.7, 0.95), ignored_layers=["classifier.1"])
    assert curve.params[1] > curve.params[0]
