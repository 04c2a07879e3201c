"""Whether sizes alone show that a cut network is the dense one without the removed channels.

What an operator does to channels follows from what it is, what it is given and from sizes. Where
none of the dense network's may move channels or leaves open how it follows, a cut network that
calls the same operators on the same operands, with the same constants, has each channel where the
dense network has it; that nothing else has gone shows by the sizes, and no channel is followed.
"""

from collections.abc import Callable
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.network.inference import Inputs
from analysis.network.labels import operators
from analysis.network.labels.planes import axes_of, labels_of
from analysis.network.labels.records import Step, Trace
from analysis.network.labels.tracing import plain_pass
from analysis.network.sizes import SizesOnly, sized

__all__ = ["keeps_order", "retraced", "sizes_tell"]


def keeps_order(trace: Trace) -> bool:
    """Whether no operator may move channels; if one may, a single cut can be right by chance."""
    return not trace.choices and not any(
        step.place.operator in operators.MOVEMENT - _KEEP_ORDER for step in trace.steps
    )


_KEEP_ORDER = frozenset({"expand", "permute", "squeeze", "t", "transpose", "unsqueeze"})


def sizes_tell(trace: Trace) -> bool:
    """Whether no operator moves channels, and each plane of a result lies along one dimension."""
    return (
        keeps_order(trace)
        and not trace.blocks
        and all(
            len(axes_of(plane)) == 1
            for step in trace.steps
            for planes in step.planes
            for plane in planes
        )
    )


def retraced(
    cut: Callable[[], nn.Module], inputs: Inputs, trace: Trace, removed: NDArray[np.bool_]
) -> Trace | None:
    """The pass of a cut network that is the dense one by its sizes; None if they do not show it.

    Args:
        cut: makes the network after the cut.
        inputs: those of the pass.
        trace: the dense network's pass, where `sizes_tell`.
        removed: for each label whether it goes.

    Raises:
        Exception: the cut network's forward raises, or is another one.
    """

    def followed(sizes: SizesOnly | None) -> Trace | None:
        retrace = _Retrace(trace, removed)
        found = plain_pass(cut(), inputs, retrace, sizes)
        is_same = retrace.is_same and retrace.count == len(trace.calls)
        left = (trace.output, trace.left)
        return found if is_same and (found.output, found.left) == left else None

    return sized(followed)


class _OtherError(Exception):
    """The cut network need not be followed any further."""


class _Retrace:
    """Compares each call of a cut network with that of the dense one."""

    def __init__(self, trace: Trace, removed: NDArray[np.bool_]) -> None:
        self._calls = trace.calls
        self._stays = ~removed
        self._counts: dict[int, int] = {}  # planes of the trace, which holds them
        self.count = 0
        self.is_same = True

    def __call__(self, step: Step) -> None:
        number, self.count = self.count, self.count + 1
        if number == len(self._calls) or not self._follows(self._calls[number], step):
            self.is_same = False  # forward may go on after an error
        if not self.is_same:
            raise _OtherError

    def _follows(self, dense: Step, cut: Step) -> bool:
        return (
            dense.place == cut.place
            and dense.sources == cut.sources
            and [self._left(dense, place) for place in range(len(dense.shapes))] == [*cut.shapes]
            and len(dense.constants) == len(cut.constants)
            and _are_sizes(dense, cut)
        )

    def _left(self, dense: Step, place: int) -> tuple[int, ...]:
        """The shape of a result without the removed channels."""
        shape = [*dense.shapes[place]]
        for plane in dense.planes[place] if dense.planes else ():
            (axis,) = axes_of(plane)
            shape[axis] = self._left_in(plane)
        return tuple(shape)

    def _left_in(self, plane: Tensor) -> int:
        """How many labels stay; what passes a plane on hands on the very same."""
        if id(plane) not in self._counts:
            self._counts[id(plane)] = int(np.count_nonzero(self._stays[labels_of(plane)]))
        return self._counts[id(plane)]


def _are_sizes(dense: Step, cut: Step) -> bool:
    """Whether all constants are as before, or sizes of what the operator takes and returns."""
    others = {
        pair for pair in zip(dense.constants, cut.constants, strict=True) if pair[0] != pair[1]
    }
    return not others or others <= set(
        zip(
            chain(*dense.given, *dense.shapes),
            chain(*cut.given, *cut.shapes),
            strict=False,
        )
    )
