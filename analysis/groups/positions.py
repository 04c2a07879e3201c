"""The positions of an axis that classes of labels have."""

from collections import defaultdict
from functools import lru_cache

import numpy as np

from analysis.network.labels.planes import Labels

__all__ = ["in_order", "positions_of"]


def positions_of(own: Labels, classes: Labels, *, is_sorted: bool) -> tuple[tuple[int, ...], ...]:
    """For each class the positions of an axis that it has."""
    if is_sorted:
        first = int(own.searchsorted(classes[0]))
        if own[first : first + classes.size].tobytes() == classes.tobytes():
            return _each(first, classes.size)
    found = np.flatnonzero(np.isin(own, classes))
    if np.array_equal(own[found], classes):
        first, last = int(found[0]), int(found[-1])
        if last - first == len(found) - 1:
            return _each(first, len(found))
        return tuple((position,) for position in found.tolist())
    where: dict[int, list[int]] = defaultdict(list)
    for position in found.tolist():
        where[int(own[position])].append(position)
    return tuple(tuple(where[label]) for label in classes.tolist())


def in_order(classes: Labels) -> Labels:
    """The different classes, as they come."""
    return np.array([*dict.fromkeys(classes.tolist())], np.int32)


@lru_cache(maxsize=1024)
def _each(first: int, count: int) -> tuple[tuple[int, ...], ...]:
    return tuple((position,) for position in range(first, first + count))
