"""Claim 4: what L1 ranks by, and that the threshold decides."""

import pytest
import torch
import torch_pruning as tp
from case import SAFE, SUBJECTS, runs

from analysis.groups import policies
from analysis.groups.policies import mark_ignored
from analysis.network.inference import copy_of
from analysis.pruning import planning
from analysis.pruning.importances import filter_norms, group_importances, spearman
from analysis.records import Config
from analysis.study import RATIOS
from analysis.study_parts import CURVE_RATIOS


@pytest.fixture(params=SUBJECTS)
def dense(request, dense_of):
    return dense_of(request.param)


def held_by(policy, dense):
    """DepGraph's groups, those that a policy holds marked."""
    ignored = policies.ignored_layers(policy, dense.model, dense.groups)
    return mark_ignored(dense.dependency_groups, ignored)


def test_the_recomputed_importance_is_torch_prunings(dense) -> None:
    ours = group_importances(dense.model, dense.dependency_groups)
    graph = tp.DependencyGraph().build_dependency(copy_of(dense.model), (dense.inputs,))
    theirs = {
        graph._module2name[group[0].dep.target.module]: tp.importance.MagnitudeImportance(p=1)(
            group
        )
        for group in graph.get_all_groups()
    }
    assert theirs.keys() == ours.keys()
    for root, scores in theirs.items():
        torch.testing.assert_close(ours[root].float(), scores, rtol=1e-5, atol=0)


def test_depthwise_filters_do_not_count(dense) -> None:
    changed = copy_of(dense.model)
    with torch.no_grad():
        changed.features[2].conv[1][0].weight.mul_(100)
    groups = dense.dependency_groups
    before, after = (group_importances(model, groups) for model in (dense.model, changed))
    graph = tp.DependencyGraph().build_dependency(changed, (dense.inputs,))
    module = changed.features[2].conv[1][0]
    group = graph.get_pruning_group(
        module, tp.prune_depthwise_conv_out_channels, list(range(module.out_channels))
    )
    assert torch.equal(before["features.2.conv.1.0"], after["features.2.conv.1.0"])
    theirs = tp.importance.MagnitudeImportance(p=1)(group)
    torch.testing.assert_close(after["features.2.conv.1.0"].float(), theirs, rtol=1e-5, atol=0)


def test_the_plain_filter_norm_is_the_sum_of_absolute_weights(dense) -> None:
    norms = filter_norms(dense.model, dense.dependency_groups)
    last = dense.model.features[18][0].weight
    expected = torch.stack([filter_.abs().double().sum() for filter_ in last])
    torch.testing.assert_close(norms["features.18.0"], expected)
    # A joined group adds up the filters of every block that makes its channels.
    first, second = dense.model.features[2].conv[2].weight, dense.model.features[3].conv[2].weight
    expected = sum(weight.abs().double().sum((1, 2, 3)) for weight in (first, second))
    torch.testing.assert_close(norms["features.3.conv.2"], expected)


def test_the_two_rankings_agree_without_being_the_same(dense) -> None:
    ours, plain = (
        group_importances(dense.model, dense.dependency_groups),
        filter_norms(dense.model, dense.dependency_groups),
    )
    agreement = {root: spearman(ours[root], plain[root]) for root in ours if root in plain}
    assert all(value > 0 for value in agreement.values())
    # The classifier is one layer: nothing to average, so both are one ranking.
    assert agreement.pop("classifier.1") == pytest.approx(1.0)
    assert all(value < 1 for value in agreement.values())


@pytest.mark.parametrize(("name", "config"), runs(policies=SAFE))
def test_exactly_the_channels_below_the_threshold_go(name, config, outcome_of) -> None:
    """By a second route: one sort over the pool, in plain Python."""
    outcome = outcome_of(name, config)
    held = mark_ignored(outcome.dense.dependency_groups, outcome.ignored)
    scores = {
        root: values.tolist()
        for root, values in group_importances(outcome.dense.model, held).items()
    }
    free = [group.root for group in held if not group.ignored]
    pools = [free] if config.scope == "global" else [[root] for root in free]
    removed = {removal.root: set(removal.removed) for removal in outcome.removals}
    for pool in pools:
        ranked = sorted(
            (score, root, channel) for root in pool for channel, score in enumerate(scores[root])
        )
        kept = int(len(ranked) * (1 - config.ratio))
        low = ranked[: len(ranked) - kept]
        for root in pool:
            below = {channel for _, owner, channel in low if owner == root}
            emptied = len(below) == len(scores[root])
            assert removed.get(root, set()) == (set() if emptied else below)


@pytest.mark.parametrize("policy", policies.POLICIES)
@pytest.mark.parametrize("ratio", RATIOS)
def test_no_published_threshold_is_a_near_tie(dense, policy: str, ratio: float) -> None:
    """So that float32 rounding on another processor removes the same channels."""
    importances = group_importances(dense.model, dense.dependency_groups)
    held = held_by(policy, dense)
    assert planning.threshold_gap(held, importances, Config(ratio)) > 5e-7


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_no_group_of_a_published_curve_drops_out_by_a_near_tie(dense, policy: str) -> None:
    """A group drops out where its highest score falls to the threshold or below."""
    importances = group_importances(dense.model, dense.dependency_groups)
    held = held_by(policy, dense)
    free = [importances[group.root] for group in held if group.prunable]
    pool = torch.cat(free).sort().values
    for ratio in CURVE_RATIOS[1:]:
        lowest = pool[: len(pool) - int(len(pool) * (1 - ratio))]
        threshold, above = lowest[-1], pool[len(lowest)]
        if any(scores.max() in (threshold, above) for scores in free):
            assert (above - threshold) / above > 5e-7
