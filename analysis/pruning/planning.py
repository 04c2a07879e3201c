"""The plan of one pruning, and requested against removed channels."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from analysis.pruning.channel_classes import classes_of
from analysis.pruning.ranked import Counts, scores_of
from analysis.pruning.rules import Ranking, Scope, kept_of
from analysis.records import (
    Config,
    DependencyGroup,
    GroupAccount,
    PlannedGroup,
    Reason,
    Removal,
    merge_cuts,
)

__all__ = ["account", "plan", "removed_channels", "threshold_gap"]


def plan(
    groups: tuple[DependencyGroup, ...],
    importances: Mapping[str, Tensor],
    config: Config,
    scopes: Sequence[Scope] | None = None,
    spent: Mapping[str, Reason] | None = None,
) -> tuple[PlannedGroup, ...]:
    """The channels that one ratio requests and removes of each group; see `Ranking`.

    Args:
        groups: the dependency groups, excluded ones marked ``ignored``.
        importances: by root, shape (width,); see `analysis.pruning.importances.group_importances`.
        config: ratio, scope and ``round_to``.
        scopes: see `Ranking`.
        spent: see `Ranking`.
    """
    classes = {group.root: classes_of(group) for group in groups}
    ranking = Ranking(groups, classes, importances, config, scopes, spent)
    found = ranking.outlooks([config.ratio])
    planned = []
    for group in groups:
        outlook, scope = found[group.root], ranking.scope_of.get(group.root)
        ratio = config.ratio if scope is None or scope.ratio is None else scope.ratio
        # An importance may score fewer channels than there are; the first of them then, as
        # torch-pruning takes them.
        size = len(importances.get(group.root, ())) // group.channel_groups
        planned.append(
            PlannedGroup(
                root=group.root,
                width=group.width,
                requested=_channels(group, size, outlook.lowest(outlook.asked[0])),
                expected=_channels(group, size, outlook.lowest(outlook.going[0])),
                reason=outlook.reason(0),
                scope=scope.name if scope else "",
                ratio=ratio if scope else 0.0,
            )
        )
    return tuple(planned)


def _channels(group: DependencyGroup, size: int, positions: Counts) -> tuple[int, ...]:
    """The channels of these positions, in each block of so many that is cut alike."""
    blocks = np.arange(group.channel_groups) * size
    return tuple(np.sort((blocks[:, None] + positions[None]).flatten()).tolist())


def threshold_gap(
    groups: tuple[DependencyGroup, ...], importances: Mapping[str, Tensor], config: Config
) -> float:
    """Relative gap between the last removed score and the first kept one, globally ranked.

    Only a rounding error above this gap can change which channels are removed.
    """
    scores = [scores_of(group, importances) for group in groups]
    pool = torch.cat(scores).sort().values
    count = len(pool) - int(kept_of(len(pool), np.array(config.ratio)))
    return float((pool[count] - pool[count - 1]) / pool[count])


def account(
    groups: tuple[DependencyGroup, ...],
    removals: Collection[Removal],
    planned: tuple[PlannedGroup, ...] | None,
) -> tuple[GroupAccount, ...]:
    """Requested and removed channels, one entry for each group.

    Args:
        groups: the dependency groups, excluded ones marked ``ignored``.
        removals: the cuts of the pruner.
        planned: the request; None if it is not known (the user's own pruner).

    If the groups could not be read, there is one entry for each cut instead.
    """
    if not groups:
        return tuple(
            GroupAccount(entry.root, _width(entry), None, len(entry.removed), Reason.PRUNED)
            for entry in removals
        )
    removed = {root: len(gone) for root, gone in removed_channels(removals).items()}
    plans = {entry.root: entry for entry in planned or ()}
    # A pruner of which it is known what it asks does not plan for the groups it excludes.
    nothing = {
        group.root: PlannedGroup(group.root, group.width, (), (), Reason.KEPT)
        for group in groups
        if planned is not None and (group.ignored or group.frozen)
    }
    plans = nothing | plans
    return tuple(
        _accounted(group, removed.get(group.root, 0), plans.get(group.root)) for group in groups
    )


def removed_channels(removals: Collection[Removal]) -> dict[str, tuple[int, ...]]:
    """The removed channels of each group, by root."""
    if any(not removal.by_group for removal in removals):
        # A pruner may have taken another layer of the group as its root.
        cuts = (cut for cut in merge_cuts(removals) if cut.axis == "out")
        return {cut.layer: cut.removed for cut in cuts}
    by_root: dict[str, list[int]] = {}
    for removal in removals:
        by_root.setdefault(removal.root, []).extend(removal.removed)
    return {root: tuple(sorted(channels)) for root, channels in by_root.items()}


def _accounted(group: DependencyGroup, removed: int, planned: PlannedGroup | None) -> GroupAccount:
    reason = _reason(group, removed, planned)
    return GroupAccount(
        root=group.root,
        width=group.width,
        requested=None if planned is None else len(planned.requested),
        removed=removed,
        reason=reason,
        scope=planned.scope if planned else "",
        ratio=planned.ratio if planned else 0.0,
        why=(planned.why if planned else "") or _why(group, reason),
    )


def _why(group: DependencyGroup, reason: Reason) -> str:
    """What a reason does not say itself."""
    if reason is Reason.UNTRACED:
        return group.untraced or "torch-pruning does not cut what ranks lowest of it"
    single = [member.layer for member in group.members if member.width == 1]
    if reason is Reason.SINGLE_CHANNEL and single and group.width > 1:
        return f"torch-pruning couples its channels with the one of `{single[0]}`"
    return ""


def _width(removal: Removal) -> int:
    return next(cut.width for cut in removal.cuts if cut.layer == removal.root)


def _reason(group: DependencyGroup, removed: int, planned: PlannedGroup | None) -> Reason:
    if removed >= (len(planned.requested) if planned else 1) and removed:
        return Reason.PRUNED
    if group.ignored:
        return Reason.IGNORED
    if group.frozen:
        return Reason.FROZEN
    if not group.prunable:
        return Reason.SINGLE_CHANNEL
    if planned is not None and planned.reason is Reason.WOULD_EMPTY:
        return Reason.WOULD_EMPTY
    if group.untraced:
        return Reason.UNTRACED
    if planned is None:
        return Reason.KEPT
    return Reason.UNTRACED if planned.reason is Reason.PRUNED else planned.reason
