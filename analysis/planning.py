"""What a ratio asks of each group, what torch-pruning's rules leave of it, and what was done."""

from collections import Counter
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from analysis.records import (
    Config,
    Group,
    GroupAccount,
    PlannedGroup,
    Reason,
    Removal,
)

__all__ = ["account", "plan", "removed_positions", "threshold_gap"]


def plan(
    groups: tuple[Group, ...], importances: Mapping[str, Tensor], config: Config
) -> tuple[PlannedGroup, ...]:
    """Rank channels, take those at or below the threshold, apply the pruner's own rules.

    The rules are torch-pruning's for a single step: a scope of n channels loses
    n - int(n (1 - ratio)) of them; ties with the threshold go too; ``round_to`` floors what is
    left; a cut that would empty any axis it touches is dropped whole. (``max_pruning_ratio`` is
    tested by torch-pruning against what earlier steps removed, so it binds nothing here.)

    Args:
        groups: the dependency groups, held ones marked ``ignored``.
        importances: by root, shape (width,); see `analysis.ranking.group_importances`.
        config: ratio, scope and ``round_to``.
    """
    scores = {group.root: _scores(group, importances) for group in groups if _ranked(group)}
    asked = _below_threshold({root: score for root, score in scores.items() if len(score)}, config)
    left = Counter(
        {(member.layer, member.axis): member.width for group in groups for member in group.members}
    )
    # The pruner visits the groups from the output back; axes shared by several groups empty up.
    planned = {
        group.root: _planned(
            group, asked.get(group.root, ()), scores.get(group.root), config.round_to, left
        )
        for group in reversed(groups)
    }
    return tuple(planned[group.root] for group in groups)


def threshold_gap(
    groups: tuple[Group, ...], importances: Mapping[str, Tensor], config: Config
) -> float:
    """Relative gap between the last score that goes and the first that stays, globally ranked.

    Rounding of the scores can change what goes only where it is greater than this.
    """
    scores = [_scores(group, importances) for group in groups if _ranked(group)]
    pool = torch.cat(scores).sort().values
    count = _share(len(pool), config.ratio)
    return float((pool[count] - pool[count - 1]) / pool[count])


def _ranked(group: Group) -> bool:
    return not (group.ignored or group.frozen) and all(member.width > 1 for member in group.members)


def _scores(group: Group, importances: Mapping[str, Tensor]) -> Tensor:
    """One score for each set of channels that must go together across channel groups."""
    scores = importances.get(group.root, torch.empty(0, dtype=torch.float64))
    return scores.view(group.channel_groups, -1).mean(0) if len(scores) else scores


def _below_threshold(scores: Mapping[str, Tensor], config: Config) -> dict[str, tuple[int, ...]]:
    """Positions in each score vector that rank below the scope's threshold."""
    if config.scope == "local":
        return {
            root: tuple(score.argsort()[: _share(len(score), config.ratio)].tolist())
            for root, score in scores.items()
        }
    if not scores:
        return {}
    pool = torch.cat(list(scores.values()))
    count = _share(len(pool), config.ratio)
    threshold = pool.sort().values[count - 1] if count else -torch.inf
    return {
        root: tuple((score <= threshold).nonzero().flatten().tolist())
        for root, score in scores.items()
    }


def _share(count: int, ratio: float) -> int:
    return count - int(count * (1 - ratio))


def _planned(
    group: Group,
    asked: tuple[int, ...],
    scores: Tensor | None,
    round_to: int | None,
    left: Counter[tuple[str, str]],
) -> PlannedGroup:
    def result(going: tuple[int, ...], reason: Reason) -> PlannedGroup:
        requested = _all_channel_groups(asked, group)
        return PlannedGroup(group.root, group.width, requested, going, reason)

    if group.ignored:
        return result((), Reason.IGNORED)
    if group.frozen:
        return result((), Reason.FROZEN)
    if scores is None:
        return result((), Reason.SINGLE_CHANNEL)
    if not asked:
        return result((), Reason.KEPT)
    if not _is_followed(group):
        return result((), Reason.UNTRACED)
    taken = asked if round_to is None else _rounded(asked, scores, group.width, round_to)
    going = _all_channel_groups(taken, group)
    loss = _loss(group, going)
    if any(left[axis] <= count for axis, count in loss.items()):
        emptied_by_rounding = len(taken) > len(asked)
        return result((), Reason.ROUNDED_AWAY if emptied_by_rounding else Reason.WOULD_EMPTY)
    left.subtract(loss)
    return result(going, Reason.PRUNED)


def _is_followed(group: Group) -> bool:
    """Whether every root channel is one that some layer reads.

    Where q, k and v are made by one layer, DepGraph couples three channels of it with each that is
    read, and keeps the number of one: what a cut takes with it cannot be known before it is made.
    """
    read = {root for member in group.members if member.axis == "in" for root in member.roots}
    return group.is_output or not read or read >= set(range(group.width))


def _rounded(asked: tuple[int, ...], scores: Tensor, width: int, round_to: int) -> tuple[int, ...]:
    stays = width - len(asked)
    return tuple(scores.argsort()[: width - (stays - stays % round_to)].tolist())


def _all_channel_groups(positions: tuple[int, ...], group: Group) -> tuple[int, ...]:
    """The same positions in each block of channels that must be cut alike."""
    size = group.width // group.channel_groups
    return tuple(
        sorted(
            block * size + position
            for block in range(group.channel_groups)
            for position in positions
        )
    )


def _loss(group: Group, roots: Collection[int]) -> Counter[tuple[str, str]]:
    return Counter(
        {
            (member.layer, member.axis): len(removed_positions(member.roots, roots))
            for member in group.members
        }
    )


def removed_positions(roots: tuple[int, ...], gone: Collection[int]) -> tuple[int, ...]:
    """Positions on an axis whose root channel is gone."""
    gone = set(gone)
    return tuple(index for index, root in enumerate(roots) if root in gone)


def account(
    groups: tuple[Group, ...],
    removals: Collection[Removal],
    planned: tuple[PlannedGroup, ...] | None,
) -> tuple[GroupAccount, ...]:
    """Asked against done, one entry a group.

    Args:
        groups: the dependency groups, held ones marked ``ignored``.
        removals: what the pruner did.
        planned: what was asked; None where that is not defined (a pruner of the user's own).

    Where the groups could not be read there is one entry for each cut instead.
    """
    if not groups:
        return tuple(
            GroupAccount(entry.root, _width(entry), None, len(entry.removed), Reason.PRUNED)
            for entry in removals
        )
    # A pruner may have taken another layer of the group as its root.
    removed = Counter(
        {
            group.root: sum(
                len(cut.removed)
                for removal in removals
                for cut in removal.cuts
                if (cut.layer, cut.axis) == (group.root, "out")
            )
            for group in groups
        }
    )
    plans = {entry.root: entry for entry in planned or ()}
    return tuple(
        GroupAccount(
            root=group.root,
            width=group.width,
            requested=len(plans[group.root].requested) if plans else None,
            removed=removed[group.root],
            reason=_reason(group, removed[group.root], plans.get(group.root)),
        )
        for group in groups
    )


def _width(removal: Removal) -> int:
    return next(cut.width for cut in removal.cuts if cut.layer == removal.root)


def _reason(group: Group, removed: int, planned: PlannedGroup | None) -> Reason:
    if removed:
        return Reason.PRUNED
    if group.ignored:
        return Reason.IGNORED
    if group.frozen:
        return Reason.FROZEN
    if group.untraced:
        return Reason.UNTRACED
    if planned is None:
        return Reason.KEPT
    return Reason.UNTRACED if planned.reason is Reason.PRUNED else planned.reason
