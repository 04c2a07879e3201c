"""Which classes of channels go in a cut that is only tried."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from analysis.groups.coupling import Classes
from analysis.network.labels.records import Trace

__all__ = ["drawn"]


def drawn(
    trace: Trace, classes: Classes, rng: np.random.Generator, again: int
) -> NDArray[np.bool_]:
    """A few of the classes of every set of axes stay, others the second time.

    The fewer stay, the faster the cut network runs. As many of each would hide that sizes depend
    on each other.
    """
    # Classes on the same axes are distinguished by the sum of random numbers of these axes.
    marks = rng.integers(1, 2**62, len(trace.starts))
    signature = np.zeros(len(classes.of), np.int64)
    for mark, axis in zip(marks.tolist(), trace.starts, strict=True):
        # Once for each class, however often the axis has it: so NumPy adds at an index.
        signature[classes.of[trace.labels(*axis)]] += mark
    free = np.flatnonzero(np.where(classes.held < 0, signature, 0))
    removed = np.zeros(len(classes.of), bool)
    turns: Counter[int] = Counter()
    _, places = np.unique(signature[free], return_inverse=True)
    order = np.argsort(places, kind="stable")
    for labels in np.split(free[order], np.cumsum(np.bincount(places))[:-1]):
        count = len(labels)
        if count > 1:
            turns[count] += 1
            # A single channel that is left is followed no further.
            most = min(_FEW, max(count - 2, 1))
            stay = min(2 + (5 + 2 * again) * turns[count] % most, count - 1)
            removed[rng.permutation(labels)[stay:]] = True
    return np.asarray(removed[classes.of])


_FEW = 11
"""Classes of the same axes that stay at most, less one."""
