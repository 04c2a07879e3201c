"""Claim 7: the policies that keep the outputs are all safe; they differ in what they can save."""

import pytest
import torch
import torchvision
from case import SAFE, SKIPS, SUBJECTS

from analysis.groups import policies
from analysis.records import Config, Verdict


@pytest.mark.parametrize("name", SUBJECTS)
def test_residual_blocks_holds_every_convolution_in_a_block_with_a_skip(name, dense_of) -> None:
    dense = dense_of(name)
    expected = {
        f"{block}.{inner}"
        for block in SKIPS
        for inner, module in dict(dense.model.named_modules())[block].named_modules()
        if isinstance(module, torch.nn.Conv2d)
    } | {"classifier.1"}
    assert set(policies.ignored_layers("residual-blocks", dense.model, dense.groups)) == expected


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_the_less_is_excluded_the_more_macs_go_and_all_are_exact(
    name, scope, ratio, outcome_of
) -> None:
    runs = [outcome_of(name, Config(ratio, scope, policy=policy)).run for policy in SAFE]
    assert {run.verification.verdict for run in runs} == {Verdict.EXACT}
    left = [run.macs.after for run in runs]
    assert left == sorted(left, reverse=True)
    prunable = [run.channels.prunable for run in runs]
    assert prunable == sorted(prunable)


@pytest.mark.parametrize("policy", SAFE)
def test_the_same_policies_serve_another_classifier(policy: str) -> None:
    from analysis import pipeline

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.mnasnet0_5(weights=None).eval()
    dense = pipeline.analyse(model, torch.randn(1, 3, 64, 64))
    outcome = pipeline.prune_and_prove(dense, Config(0.5, policy=policy), policy)
    assert outcome.run.verification.verdict is Verdict.EXACT


def test_a_network_whose_blocks_all_have_a_skip_is_unchanged_without_them() -> None:
    from analysis import pipeline

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None).eval()
    dense = pipeline.analyse(model, torch.randn(1, 3, 64, 64))
    verdicts = {
        policy: pipeline.prune_and_prove(dense, Config(0.5, policy=policy), policy).run.verification
        for policy in ("residual-blocks", "skip-channels")
    }
    assert verdicts["residual-blocks"].verdict is Verdict.UNCHANGED
    assert verdicts["skip-channels"].verdict is Verdict.EXACT
