"""Whether the channels that meet at an operator are those that meet in the dense network."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Edge, Step, Trace
from analysis.proof.differences import DiffersError
from analysis.proof.staying import Staying

__all__ = ["Meetings"]


class Meetings:
    """Compares which channels meet at operators of both networks.

    Args:
        dense: the pass over the dense network.
        pruned: that over the pruned one.
        staying: what the cut leaves.
    """

    def __init__(self, dense: Trace, pruned: Trace, staying: Staying) -> None:
        self._dense, self._staying = dense, staying
        self._number = {id(step): n for n, step in enumerate(dense.steps)}
        self._after = {id(step): n for n, step in enumerate(pruned.steps)}
        self._met = _by_step(dense.edges)
        self._meets = _by_step(pruned.edges)

    def check(self, step: Step, other: Step) -> None:
        """The channels that meet are those that meet in the dense network.

        Args:
            step: of the dense network.
            other: the same operator of the pruned one.

        Raises:
            DiffersError: others meet.
        """
        before = self._met.get(self._number.get(id(step), -1), [])
        after = self._meets.get(self._after.get(id(other), -1), [])
        wanted = _pairs(self._left_of(edge) for edge in before)
        found = _pairs(
            (self._staying.translated(edge.one), self._staying.translated(edge.other))
            for edge in after
        )
        is_same = np.array_equal(wanted, found)
        if is_same or np.array_equal(self._told(wanted), self._told(found)):
            return
        if self._staying.single.any():
            # Where a dimension of size 1 is left, others may stand for those that meet.
            self.check_of([other])
        else:
            raise DiffersError(_others_meet(other))

    def check_of(self, steps: Sequence[Step]) -> None:
        """The same of operators of the pruned network that the dense one writes out in others.

        Raises:
            DiffersError: others meet.
        """
        for step in steps:
            for edge in self._meets.get(self._after.get(id(step), -1), []):
                one, other = (self._staying.translated(row) for row in (edge.one, edge.other))
                known = (one >= 0) & (other >= 0)
                if (self._staying.of[one[known]] != self._staying.of[other[known]]).any():
                    raise DiffersError(_others_meet(step))

    def _left_of(self, edge: Edge) -> tuple[Labels, Labels]:
        removed = self._staying.removed
        gone, others = removed[edge.one], removed[edge.other]
        if (gone != others).any():
            place = self._dense.steps[edge.step].place
            raise DiffersError(f"a removed channel is combined with a kept one at {place}")
        left = self._staying.left_of
        return left(edge.one[~gone]), left(edge.other[~gone])

    def _told(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of two that are both followed, each once."""
        pairs = np.unique(pairs)
        one, other = pairs >> 32, pairs & (2**32 - 1)
        single = self._staying.single[one] | self._staying.single[other]
        return pairs[~single & (one != other)]


def _others_meet(step: Step) -> str:
    return f"other channels meet at {step.place} than in the dense network"


def _by_step(edges: Iterable[Edge]) -> dict[int, list[Edge]]:
    found: dict[int, list[Edge]] = {}
    for edge in edges:
        found.setdefault(edge.step, []).append(edge)
    return found


def _pairs(meeting: Iterable[tuple[Labels, Labels]]) -> NDArray[np.int64]:
    """Each pair of labels that meet, as one number."""
    found = [
        (one.astype(np.int64) << 32) + other
        for pair in meeting
        for one, other in [(pair[0].ravel(), pair[1].ravel())]
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)
