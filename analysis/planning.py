"""What a ratio asks of each group, what torch-pruning's rules leave of it, and what was done."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.records import (
    Axis,
    Config,
    Group,
    GroupAccount,
    PlannedGroup,
    Reason,
    Removal,
)
from analysis.segments import Segments, segments_of

__all__ = [
    "Outlook",
    "account",
    "cut_across",
    "first_ratios",
    "is_followed",
    "outlooks",
    "plan",
    "removed_positions",
    "threshold_gap",
]

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Outlook:
    """What several ratios do to one group.

    Attributes:
        asked: positions that rank below the threshold, shape (ratios,).
        going: positions that go once the pruner's rules have acted, shape (ratios,).
        removed: channels that go, by segment, shape (segments, ratios).
        order: positions, the first to go first, shape (positions,); empty for a held group.
        held: why nothing is asked of the group at any ratio, or None.
    """

    asked: Counts
    going: Counts
    removed: Counts
    order: Counts
    held: Reason | None

    def reason(self, place: int, config: Config) -> Reason:
        """Why the group loses what it loses at one of the ratios."""
        if self.held is not None and (self.asked[place] or self.held is not Reason.UNTRACED):
            return self.held
        if not self.asked[place]:
            return Reason.KEPT
        if self.going[place]:
            return Reason.PRUNED
        return Reason.ROUNDED_AWAY if config.round_to else Reason.WOULD_EMPTY


def outlooks(
    groups: Sequence[Group],
    segments: Mapping[str, Segments],
    importances: Mapping[str, Tensor],
    ratios: Sequence[float],
    config: Config,
) -> dict[str, Outlook]:
    """Rank channels, take those at or below the threshold, apply the pruner's own rules.

    The rules are torch-pruning's for a single step: a scope of n channels loses
    n - int(n (1 - ratio)) of them; ties with the threshold go too; ``round_to`` floors what is
    left; a cut that would empty any axis it touches is dropped whole. (``max_pruning_ratio`` is
    tested by torch-pruning against what earlier steps removed, so it binds nothing here.)

    Args:
        groups: the dependency groups, held ones marked ``ignored``.
        segments: by root, see `analysis.segments.segments_of`.
        importances: by root, shape (width,).
        ratios: shares of the prunable channels that are asked to go, each in [0, 1).
        config: scope and ``round_to``; its own ratio is not read.

    Returns:
        One outlook a group, by root.
    """
    ranked = {
        group.root: _Ranked(group, segments[group.root], scores, config)
        for group in groups
        if _may_go(group) and len(scores := _scores(group, importances))
    }
    asked = _below_threshold(ranked, np.asarray(ratios, dtype=float), config)
    axes = {axis: row for row, axis in enumerate(_widths(groups))}
    widths = np.array(list(_widths(groups).values()), dtype=np.int64)
    left = np.repeat(widths[:, None], len(ratios), 1)
    found = {}
    # Axes that several groups share empty up in the order in which the pruner visits the groups.
    for group in sorted(reversed(groups), key=lambda group: group.turn):
        if group.root in ranked:
            rows = [axes[axis] for axis in segments[group.root].taken]
            found[group.root] = ranked[group.root].outlook(asked[group.root], left, rows)
        else:
            found[group.root] = _held(group, segments[group.root], len(ratios))
    return found


def _widths(groups: Sequence[Group]) -> dict[Axis, int]:
    return {
        (member.layer, member.axis): member.width for group in groups for member in group.members
    }


def _held(group: Group, segments: Segments, ratios: int) -> Outlook:
    """The outlook of a group that is not ranked."""
    reason = (
        Reason.IGNORED
        if group.ignored
        else Reason.FROZEN
        if group.frozen
        else Reason.KEPT
        if _may_go(group)
        else Reason.SINGLE_CHANNEL
    )
    none = np.zeros(ratios, dtype=np.int64)
    removed = np.zeros((len(segments.widths), ratios), dtype=np.int64)
    return Outlook(none, none, removed, none[:0], reason)


def _may_go(group: Group) -> bool:
    return not (group.ignored or group.frozen) and all(member.width > 1 for member in group.members)


def _scores(group: Group, importances: Mapping[str, Tensor]) -> Tensor:
    """One score for each set of channels that must go together across channel groups."""
    scores = importances.get(group.root, torch.empty(0, dtype=torch.float64))
    return scores.view(group.channel_groups, -1).mean(0) if len(scores) else scores


class _Ranked:
    """One group's channels in the order in which they go."""

    def __init__(self, group: Group, segments: Segments, scores: Tensor, config: Config) -> None:
        self.group = group
        self.scores = scores
        self.order = scores.argsort()
        self.sorted = scores[self.order].numpy()
        self._round_to = config.round_to
        self._taken = np.stack(list(segments.taken.values()))
        self._per_count = self._segments_lost(segments, config)

    def _segments_lost(self, segments: Segments, config: Config) -> Counts:
        """Channels lost by segment when so many positions go, shape (segments, positions + 1)."""
        blocks, count = self.group.channel_groups, len(self.scores)
        if len(segments.widths) == 1:
            return np.arange(count + 1, dtype=np.int64)[None] * blocks
        by_position = np.stack(
            [
                (segments.of_channel.reshape(blocks, -1) == segment).sum(0)
                for segment in range(len(segments.widths))
            ]
        )
        lost = np.zeros((len(segments.widths), count + 1), dtype=np.int64)
        for going in range(1, count + 1):
            # Among equal scores torch.topk, which ranks inside a group, has its own order.
            local = config.scope == "local" and not config.round_to
            first = self.scores.topk(going, largest=False).indices if local else self.order[:going]
            lost[:, going] = by_position[:, first.numpy()].sum(1)
        return lost

    def outlook(self, asked: Counts, left: Counts, rows: list[int]) -> Outlook:
        """Apply rounding and the emptiness guard; ``left`` holds what each axis still has."""
        taken = asked
        if self._round_to:
            stays = self.group.width - asked
            rounded = self.group.width - (stays - stays % self._round_to)
            taken = np.where(asked > 0, np.minimum(rounded, len(self.scores)), 0)
        followed = is_followed(self.group)
        taken = taken if followed else np.zeros_like(taken)
        removed = self._per_count[:, taken]
        loss = self._taken @ removed
        emptied = (left[rows] <= loss).any(0)
        left[rows] -= np.where(emptied, 0, loss)
        return Outlook(
            asked=asked,
            going=np.where(emptied, 0, taken),
            removed=np.where(emptied, 0, removed),
            order=self.order.numpy(),
            held=None if followed else Reason.UNTRACED,
        )


def _below_threshold(
    ranked: Mapping[str, _Ranked], ratios: NDArray[np.float64], config: Config
) -> dict[str, Counts]:
    """How many positions of each group rank below the scope's threshold, at each ratio."""
    if config.scope == "local":
        return {root: _share(len(group.order), ratios) for root, group in ranked.items()}
    if not ranked:
        return {}
    pool = np.sort(np.concatenate([group.sorted for group in ranked.values()]))
    counts = _share(len(pool), ratios)
    thresholds = pool[np.maximum(counts, 1) - 1]
    return {
        root: np.where(counts, np.searchsorted(group.sorted, thresholds, side="right"), 0)
        for root, group in ranked.items()
    }


def _share(count: int, ratios: NDArray[np.float64]) -> Counts:
    """Of so many channels, those that a ratio asks for: torch-pruning's own rounding."""
    return count - (count * (1 - ratios)).astype(np.int64)


def first_ratios(
    groups: Sequence[Group], importances: Mapping[str, Tensor], config: Config
) -> list[float]:
    """Every ratio at which a further channel is asked for, and 0, in order.

    Between two of them nothing changes, so what holds at these holds at every ratio.
    """
    ranked = [
        len(scores)
        for group in groups
        if _may_go(group) and len(scores := _scores(group, importances))
    ]
    pools = set(ranked) if config.scope == "local" else {sum(ranked)}
    found = [np.zeros(1)]
    for pool in pools - {0}:
        wanted = np.arange(1, pool + 1)
        ratios = (wanted - 1) / pool
        # The least float that asks for one more: the next one or two after the quotient.
        while (short := _share(pool, ratios) < wanted).any():
            ratios = np.where(short, np.nextafter(ratios, 1.0), ratios)
        found.append(ratios)
    return np.unique(np.concatenate(found)).tolist()


def plan(
    groups: tuple[Group, ...], importances: Mapping[str, Tensor], config: Config
) -> tuple[PlannedGroup, ...]:
    """The channels that one ratio asks of each group, and those that go; see `outlooks`.

    Args:
        groups: the dependency groups, held ones marked ``ignored``.
        importances: by root, shape (width,); see `analysis.ranking.group_importances`.
        config: ratio, scope and ``round_to``.
    """
    segments = {group.root: segments_of(group) for group in groups}
    found = outlooks(groups, segments, importances, [config.ratio], config)
    return tuple(
        PlannedGroup(
            group.root,
            group.width,
            _channels(group, outlook.order[: outlook.asked[0]]),
            _channels(group, outlook.order[: outlook.going[0]]),
            outlook.reason(0, config),
        )
        for group in groups
        for outlook in [found[group.root]]
    )


def _channels(group: Group, positions: Counts) -> tuple[int, ...]:
    """The channels of these positions, in each block of channels that is cut alike."""
    blocks = np.arange(group.channel_groups) * (group.width // group.channel_groups)
    return tuple(np.sort((blocks[:, None] + positions[None]).flatten()).tolist())


def threshold_gap(
    groups: tuple[Group, ...], importances: Mapping[str, Tensor], config: Config
) -> float:
    """Relative gap between the last score that goes and the first that stays, globally ranked.

    Rounding of the scores can change what goes only where it is greater than this.
    """
    scores = [_scores(group, importances) for group in groups if _may_go(group)]
    pool = torch.cat(scores).sort().values
    count = int(_share(len(pool), np.array(config.ratio)))
    return float((pool[count] - pool[count - 1]) / pool[count])


def is_followed(group: Group) -> bool:
    """Whether every root channel is one that some layer reads.

    Where q, k and v are made by one layer, DepGraph couples three channels of it with each that is
    read, and keeps the number of one: what a cut takes with it cannot be known before it is made.
    """
    read = {root for member in group.members if member.axis == "in" for root in member.roots}
    return group.is_output or not read or read >= set(range(group.width))


def cut_across(group: Group) -> str:
    """A grouped convolution whose blocks would not read the same channels any more; else empty.

    Behind a concatenation torch-pruning takes the channels at other places from each block.
    """
    for member in group.members:
        if member.axis == "in" and member.channel_groups > 1:
            size = group.width // group.channel_groups
            roots = np.asarray(member.roots).reshape(member.channel_groups, -1)
            positions = np.where(roots >= 0, roots % size, -1)
            if (positions != positions[0]).any():
                return member.layer
    return ""


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
