"""Claim 6: where the MACs are, which were cut and which are locked."""

import pytest
import torch
from case import SUBJECTS, runs

from analysis.records import Config
from analysis.reporting.stages import stages


def macs_by_hook(model, x) -> dict[str, int]:
    """MACs of every convolution, linear layer, batch norm from its shapes: a second route."""
    found: dict[str, int] = {}

    def note(name):
        def hook(module, args, output) -> None:
            if isinstance(module, torch.nn.BatchNorm2d):
                found[name] = 2 * output.numel()
            else:
                per_output = module.weight[0].numel()
                found[name] = output.numel() * per_output

        return hook

    kinds = torch.nn.Conv2d | torch.nn.Linear | torch.nn.BatchNorm2d
    handles = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_layer_of_the_dense_network_has_the_macs_of_its_shapes(name, dense_of) -> None:
    dense = dense_of(name)
    ours = {row.layer: row.macs for row in dense.costs.layers if row.layer}
    assert ours == macs_by_hook(dense.model, dense.inputs)


@pytest.mark.parametrize(("name", "config"), runs(policies=["residual-blocks"]))
def test_every_layer_of_a_pruned_network_has_the_macs_of_its_shapes(
    name, config, outcome_of
) -> None:
    outcome = outcome_of(name, config)
    ours = {row.layer: row.macs for row in outcome.run.costs.layers if row.layer}
    assert ours == macs_by_hook(outcome.pruned, outcome.dense.inputs)


@pytest.mark.parametrize(("name", "config"), runs(policies=["residual-blocks"]))
def test_rows_and_blocks_sum_to_the_total(name, config, outcome_of) -> None:
    run = outcome_of(name, config).run
    assert sum(row.macs for row in run.costs.layers) == run.costs.macs == run.macs.after
    assert sum(stage.macs for stage in stages(run.costs)) == run.macs.after
    assert sum(row.params for row in run.costs.layers) == run.params.after


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_fvcore_did_not_count_is_listed(name, dense_of) -> None:
    """Ten additions and one rectifier for each expansion and depthwise layer, stem and last one."""
    uncounted = dict(dense_of(name).costs.uncounted)
    assert uncounted["aten::add"] == 10
    assert uncounted["aten::hardtanh"] == 1 + 1 + 16 * 2 + 1


@pytest.mark.parametrize("name", SUBJECTS)
def test_locked_layers_keep_their_macs_unless_their_input_narrows(name, outcome_of) -> None:
    outcome = outcome_of(name, Config(0.8, policy="residual-blocks"))
    before, after = outcome.dense.costs.by_layer(), outcome.run.costs.by_layer()
    narrowed = {
        cut.layer for removal in outcome.removals for cut in removal.cuts if cut.axis == "in"
    }
    locked = [layer for layer in outcome.ignored if layer not in narrowed]
    assert len(locked) >= 10
    for layer in locked:
        assert after[layer] == before[layer]


@pytest.mark.parametrize("name", SUBJECTS)
def test_early_blocks_hold_macs_and_late_blocks_hold_parameters(name, dense_of) -> None:
    costs = dense_of(name).costs
    found = stages(costs)
    half = len(found) // 2
    early_macs = sum(stage.macs for stage in found[:half]) / costs.macs
    early_params = sum(stage.params for stage in found[:half]) / costs.params
    assert early_macs > 0.4
    assert early_params < 0.1
