"""What a ratio asks of each group, what torch-pruning's rules leave of it, and what was done."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.records import (
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
    "Ranking",
    "account",
    "cut_across",
    "is_followed",
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


class Ranking:
    """The channels of all groups, in the order in which they go.

    The rules are torch-pruning's for a single step: a scope of n channels loses
    n - int(n (1 - ratio)) of them; ties with the threshold go too; ``round_to`` floors what is
    left; a cut that would empty any axis it touches is dropped whole. (``max_pruning_ratio`` is
    tested by torch-pruning against what earlier steps removed, so it binds nothing here.)

    Args:
        groups: the dependency groups, held ones marked ``ignored``.
        segments: by root, see `analysis.segments.segments_of`.
        importances: by root, shape (width,).
        config: scope and ``round_to``; its ratio is not read.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        segments: Mapping[str, Segments],
        importances: Mapping[str, Tensor],
        config: Config,
    ) -> None:
        self._scope = config.scope
        self._ranked: dict[str, _Ranked] = {}
        self._held: dict[str, tuple[Reason, int]] = {}
        widths = {(each.layer, each.axis): each.width for group in groups for each in group.members}
        axes = {axis: row for row, axis in enumerate(widths)}
        self._widths = np.array(list(widths.values()), dtype=np.int64)
        # Axes that several groups share empty up in the order in which the pruner visits them.
        for group in sorted(groups, key=lambda group: group.turn):
            found, scores = segments[group.root], _scores(group, importances)
            if len(scores):
                rows = [axes[axis] for axis in found.taken]
                self._ranked[group.root] = _Ranked(group, found, scores, config, rows)
            else:
                self._held[group.root] = (_why_held(group), len(found.widths))
        ranked = [group.sorted for group in self._ranked.values()]
        self._pool = np.sort(np.concatenate(ranked)) if ranked else np.empty(0)

    def outlooks(self, ratios: Sequence[float]) -> dict[str, Outlook]:
        """What these ratios, each in [0, 1), do to every group, by root."""
        asked = self._below_threshold(np.asarray(ratios, dtype=float))
        left = np.repeat(self._widths[:, None], len(ratios), 1)
        found = {root: group.outlook(asked[root], left) for root, group in self._ranked.items()}
        none = np.zeros(len(ratios), dtype=np.int64)
        for root, (reason, segments) in self._held.items():
            found[root] = Outlook(none, none, none[None].repeat(segments, 0), none[:0], reason)
        return found

    def _below_threshold(self, ratios: NDArray[np.float64]) -> dict[str, Counts]:
        """How many positions of each group rank below the scope's threshold, at each ratio."""
        if self._scope == "local" or not self._ranked:
            return {root: _share(len(group.order), ratios) for root, group in self._ranked.items()}
        counts = _share(len(self._pool), ratios)
        thresholds = self._pool[np.maximum(counts, 1) - 1]
        return {
            root: np.where(counts, np.searchsorted(group.sorted, thresholds, side="right"), 0)
            for root, group in self._ranked.items()
        }

    def first_ratios(self) -> list[float]:
        """Every ratio at which a further channel is asked for, and 0, in order.

        Between two of them nothing changes, so what holds at these holds at every ratio.
        """
        each = {len(group.order) for group in self._ranked.values()}
        found = [np.zeros(1)]
        for pool in each if self._scope == "local" else {len(self._pool)} - {0}:
            stays = np.arange(pool)
            # The largest float share whose product with the pool still falls below one more.
            share = (stays + 1) / pool
            while (more := (pool * share).astype(np.int64) > stays).any():
                share = np.where(more, np.nextafter(share, 0.0), share)
            ratios = 1 - share
            while (more := 1 - ratios > share).any():
                ratios = np.where(more, np.nextafter(ratios, 1.0), ratios)
            found.append(ratios)
        return np.unique(np.concatenate(found)).tolist()


def _why_held(group: Group) -> Reason:
    """Why a group is not ranked."""
    if group.ignored:
        return Reason.IGNORED
    if group.frozen:
        return Reason.FROZEN
    return Reason.KEPT if group.may_go else Reason.SINGLE_CHANNEL


def _scores(group: Group, importances: Mapping[str, Tensor]) -> Tensor:
    """One score for each set of channels that go together; none for a group that may not go."""
    scores = importances.get(group.root)
    if scores is None or not group.may_go:
        return torch.empty(0, dtype=torch.float64)
    return scores.view(group.channel_groups, -1).mean(0)


class _Ranked:
    """One group's channels in the order in which they go."""

    def __init__(
        self, group: Group, segments: Segments, scores: Tensor, config: Config, rows: list[int]
    ) -> None:
        self.group = group
        self.scores = scores
        self.order = scores.argsort().numpy()
        self.sorted = scores.numpy()[self.order]
        self._rows = rows
        self._followed = is_followed(group)
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
            lowest = self.scores.topk(going, largest=False).indices.numpy() if local else self.order
            lost[:, going] = by_position[:, lowest[:going]].sum(1)
        return lost

    def outlook(self, asked: Counts, left: Counts) -> Outlook:
        """Apply rounding and the emptiness guard; ``left`` holds what each axis still has."""
        taken = asked
        if self._round_to:
            stays = self.group.width - asked
            rounded = self.group.width - (stays - stays % self._round_to)
            taken = np.where(asked > 0, np.minimum(rounded, len(self.scores)), 0)
        taken = taken if self._followed else np.zeros_like(taken)
        removed = self._per_count[:, taken]
        loss = self._taken @ removed
        emptied = (left[self._rows] <= loss).any(0)
        left[self._rows] -= np.where(emptied, 0, loss)
        return Outlook(
            asked=asked,
            going=np.where(emptied, 0, taken),
            removed=np.where(emptied, 0, removed),
            order=self.order,
            held=None if self._followed else Reason.UNTRACED,
        )


def _share(count: int, ratios: NDArray[np.float64]) -> Counts:
    """Of so many channels, those that a ratio asks for: torch-pruning's own rounding."""
    return count - (count * (1 - ratios)).astype(np.int64)


def plan(
    groups: tuple[Group, ...], importances: Mapping[str, Tensor], config: Config
) -> tuple[PlannedGroup, ...]:
    """The channels that one ratio asks of each group, and those that go; see `Ranking`.

    Args:
        groups: the dependency groups, held ones marked ``ignored``.
        importances: by root, shape (width,); see `analysis.ranking.group_importances`.
        config: ratio, scope and ``round_to``.
    """
    segments = {group.root: segments_of(group) for group in groups}
    found = Ranking(groups, segments, importances, config).outlooks([config.ratio])
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
    scores = [_scores(group, importances) for group in groups]
    pool = torch.cat(scores).sort().values
    count = int(_share(len(pool), np.array(config.ratio)))
    return float((pool[count] - pool[count - 1]) / pool[count])


def is_followed(group: Group) -> bool:
    """Whether every root channel is one that some layer reads.

    Where q, k and v are made by one layer, DepGraph couples three channels of it with each that is
    read, and keeps the number of one: what a cut takes with it cannot be known before it is made.
    """
    reads = [np.asarray(member.roots) for member in group.members if member.axis == "in"]
    if group.is_output or not reads:
        return True
    read = np.concatenate(reads)
    return len(np.unique(read[read >= 0])) >= group.width


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
