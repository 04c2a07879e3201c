"""The request to each group, by hand and against torch-pruning."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from blocks import Attention
from drawn import part
from nets import Chain, Concat, Flattened, Grouped, Residual, inputs_for, make

from analysis.checks import evaluate
from analysis.errors import InputError
from analysis.groups.depgraph import dependency_groups
from analysis.pipeline import analyse, prune_and_prove
from analysis.pruning.planning import account, plan, threshold_gap
from analysis.records import Config, Cut, DependencyGroup, DependencyMember, Reason, Removal


def group(
    root: str, width: int, *, ignored: bool = False, readers: int | None = None
) -> DependencyGroup:
    """A group of one layer and one reader whose input axis may be shared with other groups."""
    out = DependencyMember(root, "Conv2d", "out", width, "root", "", (), tuple(range(width)))
    shared = readers or width
    into = DependencyMember(
        "reader" if readers else f"{root}.next", "Conv2d", "in", shared, "sequence", "", (root,),
        (*range(width), *[-1] * (shared - width)),
    )  # fmt: skip
    return DependencyGroup(root, width, (out, into), (), False, ignored)


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_local_ranking_takes_the_lowest_of_each_group() -> None:
    found = plan(
        (group("a", 4), group("b", 3)),
        {"a": scores(4, 1, 3, 2), "b": scores(30, 10, 20)},
        Config(0.5, "local"),
    )
    # 4 - int(4 * 0.5) = 2 and 3 - int(3 * 0.5) = 2 go.
    assert [entry.requested for entry in found] == [(1, 3), (1, 2)]
    assert [entry.expected for entry in found] == [(1, 3), (1, 2)]
    assert {entry.reason for entry in found} == {Reason.PRUNED}


def test_global_ranking_takes_the_lowest_of_all_groups() -> None:
    found = plan(
        (group("a", 4), group("b", 3)),
        {"a": scores(4, 1, 3, 2), "b": scores(30, 2.5, 20)},
        Config(0.5),
    )
    # 7 - int(7 * 0.5) = 4 of seven: 1, 2, 2.5 and 3.
    assert [entry.requested for entry in found] == [(1, 2, 3), (1,)]


def test_ties_with_the_threshold_go_too() -> None:
    found = plan((group("a", 4),), {"a": scores(1, 2, 2, 3)}, Config(0.5))
    assert found[0].requested == (0, 1, 2)


def test_a_cut_that_would_empty_a_group_is_dropped_and_said() -> None:
    found = plan(
        (group("a", 2), group("b", 4)),
        {"a": scores(1, 1), "b": scores(5, 6, 7, 8)},
        Config(0.5),
    )
    assert found[0].requested == (0, 1)
    assert found[0].expected == ()
    assert found[0].reason is Reason.WOULD_EMPTY
    assert found[1].requested == (0,)


def test_a_shared_reader_that_would_be_emptied_keeps_the_group_met_last() -> None:
    left, right = group("left", 3, readers=4), group("right", 3, readers=4)
    left, right = replace(left, turn=1), replace(right, turn=0)
    found = plan((left, right), {"left": scores(1, 2, 9), "right": scores(1, 2, 9)}, Config(0.6))
    # From the output back: `right` takes two of the reader's four, `left` would empty it.
    assert [entry.reason for entry in found] == [Reason.WOULD_EMPTY, Reason.PRUNED]


def test_rounding_keeps_a_multiple_or_drops_the_cut() -> None:
    config = Config(0.5, "local", round_to=4)
    kept, dropped = plan(
        (group("a", 10), group("b", 6)),
        {"a": torch.arange(10.0), "b": torch.arange(6.0)},
        config,
    )
    # 10 - 5 = 5 left, floored to 4: six go. 6 - 3 = 3 left, floored to 0: nothing goes.
    assert (len(kept.requested), len(kept.expected), kept.reason) == (5, 6, Reason.PRUNED)
    assert (len(dropped.requested), dropped.expected) == (3, ())
    assert dropped.reason is Reason.ROUNDED_AWAY


def test_ignored_and_single_channel_groups_are_not_ranked() -> None:
    found = plan(
        (group("a", 4, ignored=True), group("b", 1), group("c", 2)),
        {"a": scores(0, 0, 0, 0), "b": scores(0), "c": scores(1, 2)},
        Config(0.5),
    )
    assert [entry.reason for entry in found] == [
        Reason.IGNORED, Reason.SINGLE_CHANNEL, Reason.PRUNED,
    ]  # fmt: skip
    assert found[2].requested == (0,)


def test_a_group_above_the_threshold_is_kept() -> None:
    found = plan(
        (group("a", 2), group("b", 2)), {"a": scores(1, 2), "b": scores(8, 9)}, Config(0.5)
    )
    assert found[1].reason is Reason.KEPT


def test_blocks_that_are_cut_alike_are_ranked_by_their_mean() -> None:
    model = make(Grouped)
    groups = dependency_groups(model, inputs_for(model))
    importances = {entry.root: torch.ones(entry.width).double() for entry in groups}
    first = next(entry for entry in groups if "first" in entry.layers)
    # Positions 0..3 of two blocks: means 4, 2, 3, 1.
    importances[first.root] = scores(1, 2, 5, 1, 7, 2, 1, 1)
    found = plan(groups, importances, Config(0.5, "local"))
    planned = next(entry for entry in found if entry.root == first.root)
    assert planned.expected == (1, 3, 5, 7)


@pytest.mark.parametrize(
    ("kind", "scope", "ratio", "round_to"),
    [
        (kind, *how)
        for kind in (Chain, Residual, Concat, Grouped, Flattened)
        for how in part(
            product(["global", "local"], [0.3, 0.5, 0.8, 0.95], [None, 2, 3]), kind.__name__
        )
    ],
)
def test_torch_pruning_removes_what_the_plan_expects(kind, scope, ratio, round_to) -> None:
    model = make(kind)
    dense = analyse(model, inputs_for(model))
    config = Config(ratio, scope, round_to=round_to)
    outcome = prune_and_prove(dense, config, "classifier")
    removed = {removal.root: tuple(removal.removed) for removal in outcome.removals}
    assert outcome.planned is not None
    expected = {entry.root: entry.expected for entry in outcome.planned if entry.expected}
    assert removed == expected


def test_the_gap_is_that_of_the_two_scores_around_the_threshold() -> None:
    gap = threshold_gap((group("a", 4),), {"a": scores(1, 2, 4, 8)}, Config(0.5))
    assert gap == pytest.approx((4 - 2) / 4)


def test_frozen_and_untraced_groups_are_distinguished() -> None:
    groups = (group("a", 4), replace(group("b", 4), frozen=True), group("c", 4))
    planned = plan(groups, {g.root: scores(1, 2, 3, 4) for g in groups}, Config(0.5, "local"))
    done = [Removal("a", (0, 1), (Cut("a", "out", 4, (0, 1)),))]
    found = account(groups, done, planned)
    assert [(entry.requested, entry.removed, entry.reason) for entry in found] == [
        (2, 2, Reason.PRUNED),
        (0, 0, Reason.FROZEN),
        (2, 0, Reason.UNTRACED),
    ]


def test_a_frozen_first_layer_is_left_out_of_the_ranking() -> None:
    model = make(Chain)
    model.first.requires_grad_(False)
    model.norm.requires_grad_(False)
    outcome = prune_and_prove(analyse(model, inputs_for(model)), Config(0.5), "classifier")
    accounts = {entry.root: entry for entry in outcome.run.verification.groups}
    assert (accounts["first"].requested, accounts["first"].reason) == (0, Reason.FROZEN)
    # 5 - int(5 * 0.5) = 3 of the five channels that can be ranked.
    assert (accounts["second"].requested, accounts["second"].removed) == (3, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 1.0}, {"scope": "some"}, {"importance": "l3"}, {"round_to": 0},
     {"max_pruning_ratio": 0.0}],
)  # fmt: skip
def test_what_no_pruner_can_be_asked_is_refused(wrong) -> None:
    with pytest.raises(InputError, match="expected"):
        Config(**{"ratio": 0.5, **wrong})


def test_what_a_fused_projection_loses_is_not_asked_of_the_plan() -> None:
    """DepGraph keeps one of the three channels that each channel of attention's output follows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Attention(fused=True, scale="fixed").eval()
    dense = analyse(model, torch.randn(2, *model.size))
    outcome = prune_and_prove(dense, Config(0.5, "local"), "classifier")
    (made,) = [group for group in outcome.run.verification.groups if group.root == "qkv"]
    assert made.removed in (0, 12)
    assert made.reason is (Reason.PRUNED if made.removed else Reason.WOULD_EMPTY)
    assert outcome.run.verification.verdict.passes
    # Half of the channels were asked: if none of them go, that is no secret.
    failed = {check.name for check in evaluate(outcome) if not check.passed}
    assert failed == (set() if made.removed else {"no_group_dropped"})
