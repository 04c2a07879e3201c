"""The labels of a dense network's pass that a cut leaves, as both networks carry them."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.groups.coupling import components
from analysis.network.labels.planes import Labels, labels_of, varying, without
from analysis.network.labels.records import Trace

__all__ = ["Removed", "Staying"]

Removed = NDArray[np.bool_]


class Staying:
    """What a cut leaves of the labels of a pass, and the labels of the pruned network in its terms.

    Args:
        dense: the pass over the dense network.
        pruned: that over the pruned one, with the dense labels at its tensors.
        removed: for each label of the dense pass whether its position has gone.

    Attributes:
        removed: the same, of what stands for several labels as well.
        single: labels that are left alone on their axis, or meet one that is: these are followed
            no further, as a dimension of size 1 holds no channels.
        of: for each label that stays the smallest that it meets.
    """

    def __init__(self, dense: Trace, pruned: Trace, removed: Removed) -> None:
        self._dense, self._pruned = dense, pruned
        self.removed = _with_blocks(dense, removed)
        self._alone, single = self._left_alone()
        self.of = self._together()
        # What meets such a one may stand for both.
        self.single = np.isin(self.of, self.of[single])
        self._standing = self._standing_for()

    def expected(self, planes: Iterable[Tensor]) -> list[Labels]:
        """What should be left of the dense network's planes."""
        left = (without(labels_of(plane), self.removed) for plane in planes)
        return self._followed(_varying(_translated(labels, self._alone) for labels in left))

    def found(self, planes: Iterable[Tensor]) -> list[Labels]:
        """What the pruned network's planes carry."""
        return self._followed(_varying(self.translated(labels_of(plane)) for plane in planes))

    def is_same(self, planes: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
        """Whether planes of both networks carry the same, a single channel too."""
        left = (without(labels_of(plane), self.removed) for plane in planes)
        expected = _varying(_translated(labels, self._alone) for labels in left)
        found = _varying(self.translated(labels_of(plane)) for plane in others)
        return len(expected) == len(found) > 0 and all(map(np.array_equal, expected, found))

    def picks_alike(self, planes: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
        """Whether the single channels that planes of both networks carry are the same.

        One that is left alone on its axis has no label in the pruned network.
        """
        before, after = (
            [own[0] for plane in each if (own := np.unique(labels_of(plane))).size == 1 and own[0]]
            for each in (planes, others)
        )
        named = self.translated(np.array(after, np.int32))
        found = self.of[named[named >= 0]]
        return all(
            not self.removed[label] and (self.single[label] or self.of[label] in found)
            for label in before
        )

    def translated(self, labels: Labels) -> Labels:
        """Labels of the pruned pass as those of the dense one; -1 for what that does not have."""
        return _translated(labels, self._standing)

    def left_of(self, labels: Labels) -> Labels:
        """Labels of the dense pass that stay, as they are once others of their row have gone."""
        return _translated(labels, self._alone)

    def _followed(self, planes: list[Labels]) -> list[Labels]:
        return [
            labels
            for labels in planes
            if labels.size > 1 and not ((labels == 0) | ((labels > 0) & self.single[labels])).all()
        ]

    def _left_alone(self) -> tuple[dict[int, int], Removed]:
        """What is left alone of a row, and meets others itself; labels left alone on their axis.

        The latter are followed no further: a dimension of size 1 holds no channels.
        """
        trace = self._dense
        alone: dict[int, int] = {}
        single = np.zeros(trace.count, bool)
        for axis, start in trace.starts.items():
            own = slice(start, start + trace.sizes[axis])
            single[own] = (~self.removed[own]).sum() == 1
        for block in trace.blocks:
            for label, row in zip(block.labels.tolist(), block.rows, strict=True):
                left = _translated(row[~self.removed[row] & (row > 0)], alone)
                single[label] = left.size > 0 and single[left].all()
                if left.size == 1:
                    alone[label] = int(left[0])
            stay = block.labels[~self.removed[block.labels]]
            single[stay] |= len(stay) == 1
        _mark_pairs(trace, single)
        return alone, single

    def _together(self) -> NDArray[np.int32]:
        """For each label that stays the smallest that it meets."""
        trace = self._dense
        ends = ([edge.one.ravel() for edge in trace.edges], [e.other.ravel() for e in trace.edges])
        one, other = (np.concatenate([np.zeros(0, np.int32), *each]) for each in ends)
        stays = ~self.removed[one] & ~self.removed[other]
        ends_left = (_translated(each[stays], self._alone) for each in (one, other))
        return components(trace.count, *ends_left)

    def _standing_for(self) -> dict[int, int]:
        """For each label of the pruned pass that stands for several, that of the dense pass."""
        rows: dict[bytes, int] = {}
        for block in self._dense.blocks:
            for label, row in zip(block.labels.tolist(), block.rows, strict=True):
                left = _translated(row[~self.removed[row] & (row > 0)], self._alone)
                rows.setdefault(_key(left), self._alone.get(label, label))
        parts = {
            label: row
            for block in self._pruned.blocks
            for label, row in zip(block.labels.tolist(), block.rows, strict=True)
        }
        parts |= {label: np.array(pair) for pair, label in self._pruned.pairs.items()}
        paired = set(self._pruned.pairs.values())
        found: dict[int, int] = {}
        for label in sorted(parts):  # each is of labels that were there before
            own = _translated(parts[label][parts[label] > 0], found)
            if label in paired:
                found[label] = self._dense.pairs.get((int(own[0]), int(own[1])), -1)
            else:
                found[label] = rows.get(_key(own), -1)
        return found


def _with_blocks(trace: Trace, removed: Removed) -> Removed:
    """What stands for several labels goes when they all do, and for a pair when either does."""
    removed = removed.copy()
    while True:
        before = removed.copy()
        _mark_pairs(trace, removed)
        for block in trace.blocks:
            gone = removed[block.rows] | (block.rows == 0)
            removed[block.labels] = gone.all(1)
        # Each may stand for what others of both kinds do.
        if not trace.pairs or np.array_equal(before, removed):
            return removed


def _mark_pairs(trace: Trace, marks: Removed) -> None:
    """Mark what stands for two labels where either is marked, as one of a pair may be a pair."""
    labels = np.fromiter(trace.pairs.values(), np.int32, len(trace.pairs))
    parts = np.array(list(trace.pairs), np.int32).reshape(-1, 2)
    while not np.array_equal(marks[labels], found := marks[parts].any(1)):
        marks[labels] = found


def _key(row: Labels) -> bytes:
    return np.ascontiguousarray(row, np.int32).tobytes()


def _translated(labels: Labels, standing: Mapping[int, int]) -> Labels:
    if not standing or labels.size == 0 or int(labels.max()) < min(standing):
        return labels
    return np.vectorize(lambda label: standing.get(label, label), otypes=[np.int32])(labels)


def _varying(planes: Iterable[Labels]) -> list[Labels]:
    """Planes along the dimensions along which they vary."""
    return [labels for labels in map(varying, planes) if labels.any()]
