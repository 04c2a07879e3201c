"""Which of many ratios meet targets: those of MACs and parameters by what is predicted of each.

What a file of the weights takes is no product of widths. It is measured of a few ratios, since it
grows with the parameters; how the file is laid out adds some bytes, so that the answer is measured.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.errors import InputError
from analysis.records import CurvePoint, Target, predictable

__all__ = ["Candidates"]

Places = NDArray[np.bool_]


class Candidates:
    """Ratios, what they leave, and which of them meet targets.

    Args:
        targets: what is to be left at most.
        ratios: in order, shape (ratios,).
        left: by ``macs`` and ``params`` what each leaves, shape (ratios,).
        dense: the dense network's point.
        saved: bytes that a ratio leaves; None where nothing measures them.

    Attributes:
        targets: that comes first which takes the greatest ratio.
        dense: with its bytes, where a target is of them.

    Raises:
        InputError: no target, one of latency, or one of bytes that nothing measures.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        ratios: NDArray[np.float64],
        left: Mapping[str, NDArray[np.int64]],
        dense: CurvePoint,
        saved: Callable[[float], int] | None,
    ) -> None:
        if not targets:
            raise InputError("no target was given; expected e.g. macs=0.45")
        predictable(targets)
        self._ratios, self._left = ratios, left
        self._saved, self._measured = saved, dict[float, int]()
        self._of_bytes = any(target.quantity == "bytes" for target in targets)
        self.dense = self._with_bytes(dense) if dense.bytes is None else dense
        meeting = {target: self._meeting(target) for target in targets}
        self.targets = tuple(sorted(targets, key=lambda target: -_first(meeting[target])))
        self._meets = np.logical_and.reduce([*meeting.values()])

    @property
    def first(self) -> int | None:
        """The place of the smallest ratio that meets all targets; None if none does."""
        while (place := _first(self._meets)) < len(self._meets):
            if not self.at(place).misses(self.targets, self.dense):
                return place
            self._meets[place] = False
        return None

    def least(self, until: int | None = None) -> CurvePoint:
        """What is left where the first target's quantity is least, of the ratios up to a place."""
        return self.at(int(self._size(self.targets[0])[:until].argmin()))

    def at(self, place: int) -> CurvePoint:
        """What one of the ratios leaves."""
        macs, params = (int(self._left[name][place]) for name in ("macs", "params"))
        return self._with_bytes(CurvePoint(float(self._ratios[place]), macs, params))

    def _size(self, target: Target) -> NDArray[np.int64]:
        """What grows with the quantity of a target."""
        return self._left["params" if target.quantity == "bytes" else target.quantity]

    def _meeting(self, target: Target) -> Places:
        """Which ratios meet a target, as far as that is known without measuring each."""
        size, most = self._size(target), target.most(getattr(self.dense, target.quantity) or 0)
        if target.quantity != "bytes":
            return size <= most
        order = np.argsort(-size, kind="stable")
        fits = bisect_left(
            range(len(order)), True, key=lambda turn: (self.at(int(order[turn])).bytes or 0) <= most
        )
        found = np.zeros(len(order), dtype=bool)
        found[order[fits:]] = True
        return found

    def _with_bytes(self, point: CurvePoint) -> CurvePoint:
        if not self._of_bytes:
            return point
        if self._saved is None:
            raise InputError("nothing measures the bytes that a ratio leaves here")
        if point.ratio not in self._measured:
            self._measured[point.ratio] = self._saved(point.ratio)
        return replace(point, bytes=self._measured[point.ratio])


def _first(meets: Places) -> int:
    """The first place that meets, or one past the last."""
    return int(meets.argmax()) if meets.any() else len(meets)
