"""Claim 3: at every ratio, scope and policy the pruned network is the masked dense network."""

from functools import cache
from pathlib import Path

import pytest
import torch
from blocks import PROVED
from case import CONFIGS, SAFE, SUBJECTS, checked_runs, runs
from drawn import part

from analysis import checks, pipeline
from analysis.gate.expected_failures import EXPECTED_FAILURES
from analysis.network.inference import copy_of, forward, output_tensors
from analysis.proof import distinct_values
from analysis.proof.faults import FAULTS, FAULTS_OF_WEIGHTS, Site, calls_of, is_named, sites
from analysis.proof.masked_dense import MaskedDense
from analysis.proof.proving import prove_against
from analysis.pruning import surgery
from analysis.records import OWN_PRUNER, Config, Verdict, merge_cuts

VERSIONS = Path(__file__).parents[2] / "reports" / "versions"


@pytest.mark.parametrize(("name", "config", "check"), checked_runs(policies=SAFE))
def test_a_policy_that_keeps_the_outputs_is_safe(name, config, check, outcome_of) -> None:
    checks.CATALOGUE[check].run(outcome_of(name, config))


@pytest.mark.parametrize(("name", "config"), runs())
def test_every_number_is_the_accepted_one(name, config, outcome_of, baseline) -> None:
    baseline.check(name, outcome_of(name, config).run)


@pytest.mark.parametrize(
    "entry", EXPECTED_FAILURES, ids=lambda e: f"{e.model}-{e.policy}-{e.check}-{e.pruner}"
)
def test_every_known_failure_is_of_a_run_that_is_asked_to_pass(entry) -> None:
    config = Config(entry.ratio, entry.scope, policy=entry.policy)
    assert entry.check in checks.CATALOGUE
    if entry.model in PROVED:  # of one version of torch-pruning; see tests/versions
        assert config == Config(0.5, "local", policy=OWN_PRUNER)
        assert entry.check == "equivalent_to_masked"
        tried = (path.name for path in VERSIONS.iterdir())
        assert any(name.startswith(f"torch-pruning-{entry.pruner}") for name in tried)
        return
    assert entry.model in SUBJECTS
    assert config in CONFIGS
    assert config.policy in SAFE


@pytest.mark.parametrize(("name", "config"), runs(policies=SAFE))
def test_the_error_is_at_rounding_level(name, config, outcome_of) -> None:
    verification = outcome_of(name, config).run.verification
    assert verification.verdict is Verdict.EXACT
    assert verification.max_rel_error < 1e-12


@pytest.mark.parametrize(("name", "config"), runs(policies=["none"]))
def test_without_exclusion_only_the_outputs_are_lost(name, config, outcome_of) -> None:
    outcome = outcome_of(name, config)
    lost = sum(
        len(removal.removed) for removal in outcome.removals if removal.root == "classifier.1"
    )
    verification = outcome.run.verification
    if lost:
        assert verification.verdict is Verdict.BROKEN
        assert f"{lost} outputs of `classifier.1` were cut" in verification.reason
        assert "the outputs that are left equal the masked dense network's" in verification.reason
    else:
        assert verification.verdict is Verdict.EXACT


@pytest.mark.parametrize(("name", "config"), runs(policies=["residual-blocks"]))
def test_a_network_with_zeroed_readers_computes_the_same(name, config, outcome_of) -> None:
    """The oracle's own answer by a second route: weights set to zero instead of hooks."""
    outcome = outcome_of(name, config)
    zeroed = copy_of(outcome.dense.model).double()
    modules = dict(zeroed.named_modules())
    with torch.no_grad():
        for cut in merge_cuts(outcome.removals):
            if cut.axis == "in":
                modules[cut.layer].weight[:, list(cut.removed)] = 0
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(outcome.dense.inputs.shape, generator=generator, dtype=torch.float64)
        expected, found = zeroed(x), copy_of(outcome.pruned).double()(x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@cache
def _pruned_by_half(dense):
    """A network masked, and pruned under `residual-blocks`."""
    original = copy_of(dense.model)
    distinct_values.make_distinct(original, dense.inputs)
    pruned = copy_of(original)
    ignored = pipeline.policies.ignored_layers("residual-blocks", original, dense.groups)
    pruner = surgery.build_pruner(pruned, dense.inputs, Config(0.5), ignored)
    removals = [removal for removal, _ in surgery.step(pruner)]
    masked = MaskedDense(original, removals, dense.inputs)
    assert prove_against(masked, pruned).verdict is Verdict.EXACT
    return masked, pruned


ABSENT = {
    "a group norm of one group",
    "a plain tensor of a module scaled",
    "a table that is not saved shifted by one",
    "an output dropped",
    "an output given twice",
    "one branch of a concatenation shifted",
    "two outputs swapped",
}
"""Faults that MobileNetV2 has no place for."""


@cache
def _takers(dense, fault: str) -> list[str]:
    """The modules of the network pruned by half that a fault can be planted in."""
    _, pruned = _pruned_by_half(dense)
    trial = reversed(_sites(dense, copy_of(pruned)))  # what is replaced has no more parts
    return [site.name for site in trial if FAULTS[fault](site)][::-1]


def _sites(dense, network) -> list[Site]:
    """The places for a fault in a copy of the network pruned by half."""
    masked, _ = _pruned_by_half(dense)
    groups, calls = dense.dependency_groups, _calls(dense)
    return list(sites(masked.dense, network, masked.cuts, groups, calls))


@cache
def _calls(dense):
    return calls_of(_pruned_by_half(dense)[1], dense.inputs)


PLACES = [
    *(("mobilenet_v2", "middle", fault) for fault in part(FAULTS)),
    # The same modules, which take a tenth of the time on smaller images.
    *(
        ("mobilenet_v2_cifar", place, fault)
        for fault in FAULTS
        for place in part(["first", "middle", "last"], fault)
    ),
]


@pytest.mark.parametrize(("name", "place", "fault"), PLACES)
def test_a_planted_fault_passes_forward_and_shape_and_fails_the_proof(
    dense_of, name: str, place: str, fault: str
) -> None:
    dense = dense_of(name)
    masked, pruned = _pruned_by_half(dense)
    takers = _takers(dense, fault)
    if not takers:
        assert fault in ABSENT
        return
    module = {"first": takers[0], "middle": takers[len(takers) // 2], "last": takers[-1]}[place]
    broken = copy_of(pruned)
    site = next(site for site in _sites(dense, broken) if site.name == module)
    assert FAULTS[fault](site)

    (output,) = output_tensors(forward(broken, dense.inputs))
    assert output.shape == (1, dense.model.classifier[1].out_features)
    answer = prove_against(masked, broken)
    assert answer.verdict is Verdict.WRONG
    if fault in FAULTS_OF_WEIGHTS:
        assert answer.first_divergence == module
    assert is_named(module, answer)
