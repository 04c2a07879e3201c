"""Rank one group's channels, and apply several ratios to it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.errors import InputError
from analysis.pruning.channel_classes import ChannelClasses
from analysis.records import Config, DependencyGroup, Reason

__all__ = ["Counts", "Guarded", "Limits", "Outlook", "Ranked", "scores_of"]

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """How many channels of a group can be removed.

    Attributes:
        capped: at most by the greatest ratio.
        guarded: at most by the channels that must be kept.
    """

    capped: int
    guarded: int


@dataclass(frozen=True, eq=False)
class Outlook:
    """The effect of several ratios on one group.

    Attributes:
        asked: positions that rank below the threshold, shape (ratios,).
        requested: their channels, shape (ratios,).
        allowed: those of them that the cap allows, shape (ratios,).
        going: positions that are removed after the pruner's rules, shape (ratios,).
        removed: channels that are removed, by class, shape (classes, ratios).
        empties: whether what is allowed would empty a layer without any rounding, shape (ratios,).
        lowest: the positions in the order of removal; none for a group that is not ranked.
        is_ranked: whether the group is.
        excluded: why nothing is removed of the group at any ratio, or None.
    """

    asked: Counts
    requested: Counts
    allowed: Counts
    going: Counts
    removed: Counts
    empties: NDArray[np.bool_]
    lowest: Callable[[int], Counts]
    is_ranked: bool
    excluded: Reason | None

    def reason(self, place: int) -> Reason:
        """The reason at one of the ratios."""
        asked, going = self.asked[place], self.going[place]
        if self.excluded is not None and (asked or not self.is_ranked):
            return self.excluded
        if not asked:
            return Reason.KEPT
        if going >= asked:
            return Reason.PRUNED
        if going >= self.allowed[place]:
            return Reason.CAPPED
        return Reason.WOULD_EMPTY if self.empties[place] else Reason.ROUNDED_AWAY


def scores_of(
    group: DependencyGroup, importances: Mapping[str, Tensor], spent: Collection[str] = ()
) -> Tensor:
    """One score for each set of channels; none for a group that is not ranked."""
    scores = importances.get(group.root)
    if scores is None or not (group.prunable or group.root in spent):
        return torch.empty(0, dtype=torch.float64)
    return scores.view(group.channel_groups, -1).mean(0)


def _adding_up_to(sizes: Sequence[int], total: int) -> list[int] | None:
    """Places of sets of these sizes that add up to a total, the first ones that do."""
    sums = list(accumulate(sizes, initial=0))
    if total in sums:
        return list(range(sums.index(total)))
    found: dict[int, tuple[int, ...]] = {0: ()}
    for place, size in enumerate(sizes):
        for known in [known for known in found if known + size <= total]:
            found.setdefault(known + size, (*found[known], place))
        if total in found:
            return list(found[total])
    return None


class Ranked:
    """One group's channels in the order of removal."""

    def __init__(
        self,
        group: DependencyGroup,
        classes: ChannelClasses,
        scores: Tensor,
        config: Config,
        rows: list[int],
        excluded: Reason | None,
        going: Sequence[Counts] | None = None,
    ) -> None:
        self.group = group
        self.excluded = excluded
        self.scores = scores
        self.order = scores.argsort().numpy()
        self.sorted = scores.numpy()[self.order]
        self._rows = rows
        self._round_to = config.round_to
        self._by_topk = config.scope == "local" and not config.round_to
        self._taken = np.stack(list(classes.taken.values()))
        self._per_count = self._table(classes, going)
        self._lost = self._per_count.sum(0)

    def _table(self, classes: ChannelClasses, going: Sequence[Counts] | None) -> Counts:
        """Removed channels by number of removed positions, shape (classes, positions + 1)."""
        if going is None:
            return self._lost_by_class(classes)
        return self._lost_together(classes, going)

    def lowest(self, going: int) -> Counts:
        """The first positions in the order of removal.

        torch.topk, by which torch-pruning ranks inside a group, has its own order of equal scores.
        """
        if self._by_topk and going:
            return self.scores.topk(going, largest=False).indices.numpy()
        return self.order[:going]

    def _lost_by_class(self, classes: ChannelClasses) -> Counts:
        """A ranking where only the same position of each block is removed."""
        blocks, count = self.group.channel_groups, len(self.scores)
        if len(classes.widths) == 1:
            return np.arange(count + 1, dtype=np.int64)[None] * blocks
        # An importance may score fewer channels than there are: the first of them.
        scored = classes.of_channel[: blocks * count].reshape(blocks, -1)
        by_position = np.stack(
            [(scored == channel_class).sum(0) for channel_class in range(len(classes.widths))]
        )
        lost = np.zeros((len(classes.widths), count + 1), dtype=np.int64)
        for going in range(1, count + 1):
            lost[:, going] = by_position[:, self.lowest(going)].sum(1)
        return lost

    def _lost_together(self, classes: ChannelClasses, going: Sequence[Counts]) -> Counts:
        """A ranking where channels can be removed with several positions."""
        count = len(self.scores)
        lost = np.zeros((len(classes.widths), count + 1), dtype=np.int64)
        if not self._by_topk:
            # The position by which each channel goes, the first of those that it goes with.
            turn = np.full(len(classes.of_channel), count, dtype=np.int64)
            for place, position in enumerate(self.order[::-1]):
                turn[going[position]] = count - 1 - place
            np.add.at(lost, (classes.of_channel, np.minimum(turn, count - 1) + 1), turn < count)
            return np.cumsum(lost, axis=1)
        for some in range(1, count + 1):
            gone = np.unique(np.concatenate([going[position] for position in self.lowest(some)]))
            lost[:, some] = np.bincount(classes.of_channel[gone], minlength=len(lost))
        return lost

    def outlook(self, asked: Counts, allowed: Counts, left: Counts) -> Outlook:
        """Apply rounding and the emptiness guard; ``left`` holds what each axis still has."""
        taken = self._rounded(allowed, self._round_to) if self._round_to else allowed
        taken = taken if self.excluded is None else np.zeros_like(taken)
        removed = self._per_count[:, taken]
        loss = self._taken @ removed
        emptied = empties = np.any(left[self._rows] <= loss, axis=0)
        if self._round_to:
            unrounded = self._taken @ self._per_count[:, allowed]
            empties = np.any(left[self._rows] <= unrounded, axis=0)
        left[self._rows] -= np.where(emptied, 0, loss)
        return Outlook(
            asked=asked,
            requested=self._lost[asked],
            allowed=allowed,
            going=np.where(emptied, 0, taken),
            removed=np.where(emptied, 0, removed),
            empties=empties,
            lowest=self.lowest,
            is_ranked=True,
            excluded=self.excluded,
        )

    def _rounded(self, allowed: Counts, multiple: int) -> Counts:
        """As many more positions as leave a multiple of ``round_to``, or all."""
        count = len(self.scores)
        if self.group.channel_groups > 1:
            # torch-pruning counts the channels of all blocks, and the positions of one.
            stays = self.group.width - allowed
            rounded = np.minimum(self.group.width - (stays - stays % multiple), count)
        else:
            left = self.group.width - self._lost
            fits = np.flatnonzero((left % multiple == 0) | (np.arange(count + 1) == count))
            rounded = fits[np.searchsorted(fits, allowed)]
        return np.where(allowed > 0, rounded, 0)


class Guarded(Ranked):
    """A ranking that limits a cut where torch-pruning drops it.

    Channels that would empty a layer are kept, the highest ranked ones. The cap holds after the
    cut. ``round_to`` leaves the nearest multiple that the sets of channels allow.

    Args:
        going: for each position, the channels that are removed with it; no channel has two.
        limits: how many channels can be removed.
    """

    def __init__(
        self,
        group: DependencyGroup,
        classes: ChannelClasses,
        scores: Tensor,
        config: Config,
        rows: list[int],
        going: Sequence[Counts],
        limits: Limits,
    ) -> None:
        self._limits = limits
        super().__init__(group, classes, scores, config, rows, None, going)
        self._capped = int(np.flatnonzero(self._lost <= limits.capped)[-1])

    def _table(self, classes: ChannelClasses, going: Sequence[Counts] | None) -> Counts:
        """The same, with the sets that must be kept in last place."""
        width = len(classes.widths)
        by_set = np.stack(
            [np.bincount(classes.of_channel[each], minlength=width) for each in going or ()]
        )
        alike = bool((by_set == by_set[0]).all())
        left = self._whole = self._taken @ classes.widths
        may_go = self._as_many(by_set[0], left, len(by_set)) if alike else self._each(by_set, left)
        self._most = int(may_go.sum())
        if not may_go.all():
            self.order = np.concatenate([self.order[may_go], self.order[~may_go]])
        # Among equal scores torch.topk has its own order, which matters where sets differ.
        self._by_topk &= alike
        lost = np.zeros((width, len(by_set) + 1), dtype=np.int64)
        np.cumsum(by_set[self.order].T, axis=1, out=lost[:, 1:])
        return lost

    def _as_many(self, one: Counts, left: Counts, count: int) -> NDArray[np.bool_]:
        """For each of several sets with as many channels, whether no layer is left without any."""
        loss = self._taken @ one
        fits = [self._limits.guarded // one.sum(), *((left - 1)[loss > 0] // loss[loss > 0])]
        return np.arange(count) < min(fits)

    def _each(self, by_set: Counts, left: Counts) -> NDArray[np.bool_]:
        """The same for sets of different sizes, in the order in which they go."""
        most, may_go = self._limits.guarded, np.zeros(len(by_set), dtype=bool)
        for place, position in enumerate(self.order.tolist()):
            size, loss = int(by_set[position].sum()), self._taken @ by_set[position]
            if size <= most and not ((left <= loss) & (loss > 0)).any():
                may_go[place] = True
                left, most = left - loss, most - size
        return may_go

    def outlook(self, asked: Counts, allowed: Counts, left: Counts) -> Outlook:
        """Apply cap, guard and rounding, independent of other groups on the same axis."""
        capped = np.minimum(allowed, self._capped)
        going = np.minimum(capped, self._most)
        if self._round_to:
            going = self._nearest(going, self._round_to)
        return self._outlook(asked, capped, going)

    def leaving(self, width: int, ratios: int) -> Outlook:
        """The effect of a width, whatever the ratios are.

        Raises:
            InputError: no choice has this width without emptying a layer; names the nearest.
        """
        by_set = np.diff(self._per_count)
        sizes, total = by_set.sum(0).tolist(), self.group.width - width
        # Those that may all go, or else any that leave something of each layer.
        places = _adding_up_to(sizes[: self._most], total) or _adding_up_to(sizes, total)
        if places is None or not self._may_go(by_set[:, places].sum(1)):
            least = self.group.width - sum(sizes[: self._most])
            raise InputError(
                f"widths: `{self.group.root}` cannot have {width} channels, which would leave a "
                f"layer with too few; the least that it can have is {least}"
            )
        going = np.full(ratios, len(places))
        removed = by_set[:, places].sum(1)[:, None].repeat(ratios, 1)
        chosen = self.order[places]
        found = self._outlook(going, going, going)
        return replace(
            found, requested=removed.sum(0), removed=removed, lowest=lambda n: chosen[:n]
        )

    def _may_go(self, lost: Counts) -> bool:
        """Whether removing these channels of each class leaves enough of each layer."""
        loss = self._taken @ lost
        return (
            int(lost.sum()) <= self._limits.guarded
            and not ((loss >= self._whole) & (loss > 0)).any()
        )

    def _outlook(self, asked: Counts, capped: Counts, going: Counts) -> Outlook:
        return Outlook(
            asked=asked,
            requested=self._lost[asked],
            allowed=capped,
            going=going,
            removed=self._per_count[:, going],
            empties=capped > self._most,
            lowest=self.lowest,
            is_ranked=True,
            excluded=None,
        )

    def _nearest(self, going: Counts, multiple: int) -> Counts:
        """The number of sets that leaves the nearest multiple; else none."""
        left = self.group.width - self._lost[: min(self._most, self._capped) + 1]
        fits = np.flatnonzero(left % multiple == 0)
        if not fits.size:
            return np.zeros_like(going)
        distance = np.abs(left[fits][None] - left[going][:, None])
        return np.where(going > 0, fits[distance.argmin(1)], 0)
