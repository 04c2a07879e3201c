"""Whether a cut network is the dense one without the removed channels, operator by operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.errors import BudgetExceededError
from analysis.groups.coupling import Classes
from analysis.groups.retracing import retraced, sizes_tell
from analysis.network.cutting import Repeated, cut_labels
from analysis.network.inference import Inputs, aliased, one_line
from analysis.network.labels import operators
from analysis.network.labels.calls import StoppedError
from analysis.network.labels.planes import Labels, labels_of, varying, without
from analysis.network.labels.records import Step, Trace
from analysis.network.labels.tracing import labelled_pass
from analysis.processes import budgets

__all__ = ["ENDLESS", "Departing", "Tried", "cut_copy", "departure"]

ENDLESS = "its forward does not end after a cut"

_MOST = 20
"""How many operators a cut network may call, as a multiple of the dense one's, plus a thousand."""


@dataclass(frozen=True)
class Departing:
    """An operator that does not follow a cut.

    Attributes:
        step: its number in the dense network's pass.
        why: what it does.
        fixed: whether it is called with the dense network's arguments beside its only operand.
        raises: whether it does so at once.
        reads: the planes that an operator reads which only the cut network calls.
        is_other: whether an operator raises that only the cut network calls.
    """

    step: int
    why: str
    fixed: bool = False
    raises: bool = False
    reads: tuple[Labels, ...] = ()
    is_other: bool = False


class _DepartsError(Exception):
    """An operator of the cut network is not the dense one's without the removed channels."""

    def __init__(self, why: str, reads: tuple[Labels, ...] = ()) -> None:
        super().__init__(why)
        self.reads = reads


@dataclass(frozen=True, eq=False)
class Tried:
    """The network that is cut to test operators.

    Attributes:
        model: the dense network; copies are cut.
        inputs: those of the pass.
        trace: the dense network's pass.
        seconds: of the processor that a cut network may take; None is no limit.
    """

    model: nn.Module
    inputs: Inputs
    trace: Trace
    seconds: float | None = None


def departure(
    tried: Tried,
    classes: Classes,
    removed: NDArray[np.bool_],
    repeated: Sequence[Repeated] = (),
    beyond: int | None = None,
) -> Departing | None:
    """The first operator that does not follow a cut, and why; None if all do.

    Args:
        tried: the dense network.
        classes: labels that are removed together.
        removed: for each label, whether it is removed.
        repeated: attributes that follow the cut.
        beyond: an operator behind which the pass need not go on; None follows all of them.
    """
    trace, seconds = tried.trace, tried.seconds
    try:
        if sizes_tell(trace) and _is_retraced(tried, removed, repeated):
            return None
    except BudgetExceededError as error:
        if error.seconds != seconds:
            raise  # the caller's own budget
        return Departing(0, ENDLESS)
    cut = cut_copy(tried.model, trace, removed, repeated)
    labels = {axis: own[~removed[own]] for axis in trace.starts for own in [trace.labels(*axis)]}
    check = _Check(trace, removed, beyond)
    try:
        with budgets.limited(seconds, of_processor=True):
            calls = check.calls
            found = labelled_pass(cut, tried.inputs, labels, check, trace.count, calls)
            check.finish(found, classes)
    except _DepartsError as error:
        return Departing(check.place, str(error), check.fixed, reads=error.reads)
    except BudgetExceededError as error:
        if error.seconds != seconds:
            raise  # the caller's own budget
        return Departing(check.place, ENDLESS)
    except Exception as error:
        only_now = "" if check.waiting else check.called_only_now
        why = check.waiting or ": ".join(filter(None, [only_now, one_line(error)]))
        fixed = check.fixed or check.raises_on_the_same
        return Departing(check.place, why, fixed, raises=not check.waiting, is_other=bool(only_now))
    return None


def _is_retraced(tried: Tried, removed: NDArray[np.bool_], repeated: Sequence[Repeated]) -> bool:
    """Whether sizes alone show that a cut network is the dense one; if not, labels tell why."""
    try:
        with budgets.limited(tried.seconds, of_processor=True):
            cut = cut_copy(tried.model, tried.trace, removed, repeated)
            return retraced(lambda: cut, tried.inputs, tried.trace, removed) is not None
    except Exception:
        return False  # labels say where it raises


def cut_copy(
    model: nn.Module,
    trace: Trace,
    removed: NDArray[np.bool_],
    repeated: Sequence[Repeated] = (),
) -> nn.Module:
    """A copy without the positions of removed labels."""
    cut = aliased(model, requires_grad=False)
    cut_labels(cut, trace, removed, repeated)
    return cut


_MOVES = operators.SAME | operators.RESHAPES | operators.MOVEMENT
"""Where a size is 1, some of these are left out: whether channels came as before shows behind."""


class _Check:
    """Compares each operator after a cut with that of the dense network.

    PyTorch writes some products out in other operators for other sizes. Where a line calls one that
    the dense network does not, what comes behind that line is compared, and not the line itself.
    """

    def __init__(self, trace: Trace, removed: NDArray[np.bool_], beyond: int | None = None) -> None:
        self._trace = trace
        self._removed = removed
        self._beyond = beyond
        self._dense = {(step.place, step.turn): n for n, step in enumerate(trace.steps)}
        self._base = trace.base
        self._numbered = _numbered(trace, removed)
        self._other: set[tuple[str, str]] = set()
        self._met: set[int] = set()
        self._site = ("", "")
        self.waiting = ""
        self.is_stopped = False
        self.fixed = False
        self.calls: list[Step] = []
        self.place = 0
        # Counted, and not timed: what a network's groups are must not depend on the machine's load.
        self._left = _MOST * len(trace.steps) + 1000

    def __call__(self, step: Step) -> None:
        self._left -= 1
        if self._left < 0:
            raise _DepartsError("more and more operators are called after a cut")
        site = step.place.module, step.place.line
        number = self._dense.get((step.place, step.turn))
        if number is None:
            if step.planes:
                if step.place.operator not in operators.WRITTEN_OUT | operators.MOVEMENT:
                    raise _DepartsError(f"{step.place} is called only after a cut", step.arriving)
                self._other.add(site)
                self.waiting = "" if site == self._site else self.waiting
            return
        if self.waiting and site != self._site:
            raise _DepartsError(self.waiting)
        self._met.add(number)
        if site in self._other or self.waiting:
            return
        self.place, self._site = number, site
        dense = self._trace.steps[number]
        self.waiting = _departure(self._trace, dense, step, self._removed, self._numbered)
        self.fixed = bool(self.waiting) and _is_told_the_same(dense, step)
        if not self.waiting:
            self.place += 1
            self._stop(number)

    def _stop(self, number: int) -> None:
        """End the pass if it has got as far as it was asked to."""
        if self._beyond is None or number <= self._beyond:
            return
        last = self._trace.steps[self._beyond].place
        if self._beyond in self._met or (last.module, last.line) in self._other:
            self.is_stopped = True
            raise StoppedError

    def finish(self, cut: Trace, classes: Classes) -> None:
        """All operators have been called: what met must go together in the dense network too."""
        if self.waiting:
            raise _DepartsError(self.waiting)
        # A row that is the only one left meets others itself, and not what stands for it.
        dense = self._in_dense(cut)
        inside = np.zeros(self._trace.count, bool)
        for block in self._trace.blocks:
            inside[block.rows[block.rows < self._base]] = True
        for edge in cut.edges:
            one, other = dense[edge.one], dense[edge.other]
            both = (one > 0) & (other > 0) & ~inside[one] & ~inside[other]
            if (classes.of[one[both]] != classes.of[other[both]]).any():
                step = cut.steps[edge.step]
                self.place = self._dense.get((step.place, step.turn), self.place)
                raise _DepartsError(f"other channels meet at {step.place}")
        if self.is_stopped:
            return
        for number, step in enumerate(self._trace.steps):
            site = step.place.module, step.place.line
            moves = step.place.operator in _MOVES
            if number not in self._met and site not in self._other and not moves:
                self.place = number
                raise _DepartsError("it is not called after a cut")

    @property
    def raises_on_the_same(self) -> bool:
        """Whether the operator that raised has the dense network's arguments."""
        if not self.calls or self.waiting or self.place >= len(self._trace.steps):
            return False
        dense, last = self._trace.steps[self.place], self.calls[-1]
        return dense.place == last.place and _is_told_the_same(dense, last)

    @property
    def called_only_now(self) -> str:
        """The operator that was called last, in a layer that the dense network calls none in."""
        place = self.calls[-1].place if self.calls else None
        if place is None or any(step.place.module == place.module for step in self._trace.calls):
            return ""
        return f"{place} is called only after a cut, and raises"

    def _in_dense(self, cut: Trace) -> NDArray[np.int32]:
        """For each label of the cut network's pass that of the dense one's; 0 where none is known.

        What stands for several is numbered anew in each pass.
        """
        found = np.zeros(cut.count, np.int32)
        found[: self._base] = np.arange(self._base)
        for pair, label in cut.pairs.items():
            found[label] = self._trace.pairs.get(pair, 0) if max(pair) < self._base else 0
        return found


def _is_told_the_same(dense: Step, cut: Step) -> bool:
    """Whether an operator's arguments beside its only operand are as before the cut."""
    return len(cut.sources) == 1 and bool(cut.constants) and cut.constants == dense.constants


def _numbered(trace: Trace, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The labels that are the same in the cut network's pass.

    What stands for several is numbered anew in each, and the only position of an axis has none.
    """
    found = np.arange(trace.count) < trace.base
    for axis in trace.starts:
        own = trace.labels(*axis)
        left = own[~removed[own]]
        found[left] &= len(left) > 1
    return found


def _departure(
    trace: Trace,
    dense: Step,
    cut: Step,
    removed: NDArray[np.bool_],
    numbered: NDArray[np.bool_],
) -> str:
    """How an operator after the cut is not the dense one's without what went; empty if it is."""
    if not cut.planes:  # a single channel is left, which is followed no further
        return ""
    if len(dense.shapes) != len(cut.shapes):
        return "it returns another number of tensors"
    for place, shape in enumerate(dense.shapes):
        if not dense.planes[place] or (dense.by_values and 0 in cut.shapes[place]):
            continue  # a router may send no token to an expert
        expected = [without(labels_of(plane), removed) for plane in dense.planes[place]]
        found = [labels_of(plane) for plane in cut.planes[place]]
        if any(labels.size == 1 for labels in expected):
            continue  # a single channel is left, which is followed no further
        count = None if dense.by_values else _elements(trace, dense, cut, place, expected)
        if count not in (None, prod(cut.shapes[place])):
            return (
                f"it returns {cut.shapes[place]} where {shape} was, and not the channels that stay"
            )
        if not _same(expected, found, numbered):
            return "it carries other channels, or in another order"
    return ""


def _elements(
    trace: Trace, dense: Step, cut: Step, place: int, left: Sequence[Labels]
) -> int | None:
    """Elements that should stay of a result."""
    axes = [
        dim for plane in dense.planes[place] for dim, size in enumerate(plane.shape) if size > 1
    ]
    if len(axes) != len(set(axes)):
        return None
    count = prod(labels.size for labels in left)
    sizes = list(dense.shapes[place])
    for dim in _repeated(trace, dense):
        sizes[dim] = cut.shapes[place][dim]
    return count * prod(size for dim, size in enumerate(sizes) if dim not in axes)


def _repeated(trace: Trace, step: Step) -> list[int]:
    """Dimensions along which an operator repeats one position, as often as others need it.

    A product of matrices in batches expands a weight, and views what comes of it as it is.
    """
    if step.place.operator in operators.RESHAPES and step.given[:1] == step.shapes:
        source = step.sources[0]
        return _repeated(trace, trace.calls[source[0]]) if isinstance(source, tuple) else []
    if step.place.operator not in _REPEATING or len(set(step.sources)) > 1:
        return []
    (given, *_), (made,) = step.given, step.shapes
    more = len(made) - len(given)
    return [dim for dim in range(len(made)) if dim < more or given[dim - more] == 1]


_REPEATING = frozenset({"cat", "expand", "repeat"})
"""Operators that repeat positions of one tensor."""


def _same(expected: Sequence[Labels], found: Sequence[Labels], numbered: NDArray[np.bool_]) -> bool:
    wanted, seen = _followed(expected, numbered), _followed(found, numbered)
    return len(wanted) == len(seen) and all(
        one.shape == other.shape and bool(((one == other) | ~numbered[one]).all())
        for one, other in zip(wanted, seen, strict=True)
    )


def _followed(planes: Sequence[Labels], numbered: NDArray[np.bool_]) -> list[Labels]:
    """Planes of channels that have the same numbers in both passes."""
    known = np.append(numbered, False)  # beyond is what the other pass has numbered anew
    known[0] = False
    return [
        labels
        for labels in map(varying, planes)
        if labels.size > 1 and known[np.minimum(labels, len(numbered))].any()
    ]
