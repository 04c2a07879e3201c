"""Which statistics over channels are those of a norm, judged by how they are used.

A norm divides channels by the root of their mean square, or of their variance once their mean is
subtracted, whatever its class is called and wherever its code is. It is known by two powers:
channels twice as large leave it as it is, and so do twice as many. A mean that is added, or a
softmax, changes with the first; channels of length one with the second.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose, log, nan

import numpy as np
from numpy.typing import NDArray

from analysis.network.labels import operators
from analysis.network.labels.records import Combining, Source, Step, Trace

__all__ = ["norms_of"]

_ALIKE = operators.SAME | operators.RESHAPES | {
    "expand", "movedim", "permute", "squeeze", "t", "transpose", "unsqueeze"
}  # fmt: skip
"""The same numbers, in another type, shape or place."""

_ROOTS = {"sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}

_SHIFTS = frozenset({"add", "clamp", "clamp_min", "maximum"})

_FUSED = operators.PER_CHANNEL | {"native_layer_norm", "native_group_norm", "_fused_rms_norm"}

Removed = NDArray[np.bool_]


def norms_of(
    trace: Trace,
    others: Mapping[int, Step],
    taken: Iterable[Combining],
    removed: Removed,
    is_number: Callable[[int], bool],
) -> frozenset[str]:
    """The modules that take nothing over channels but to normalise these.

    Args:
        trace: of the dense network.
        others: by the identity of a step of it, the same step of the pruned network: a number that
            is another one there follows the width.
        taken: what is taken over channels of which some went.
        removed: for each label of the pass whether it has gone.
        is_number: whether operators are given the number that a call takes out of a tensor.
    """
    uses = _Uses(trace, others, removed, is_number)
    is_norm: dict[str, bool] = {}
    for each in taken:
        module = trace.steps[each.step].place.module
        is_norm[module] = is_norm.get(module, True) and uses.is_of_a_norm(each)
    return frozenset(module for module, is_one in is_norm.items() if is_one)


@dataclass(frozen=True)
class _Power:
    """How a tensor follows the channels that a norm is given.

    Attributes:
        kind: ``channels`` themselves, ``positive`` ones, their ``mean``, or a mean ``square``.
        size: its power of their size.
        count: its power of their number.
    """

    kind: str
    size: float
    count: float = 0.0

    @property
    def lies_along(self) -> bool:
        """Whether it has a value for each channel."""
        return self.kind in ("channels", "positive")

    def raised(self, power: float) -> "_Power | None":
        """It to a power, as a norm takes any."""
        is_even = power == 2
        if self.kind in ("channels", "mean") and not is_even:
            return None
        kind = {"channels": "positive", "mean": "square"}.get(self.kind, self.kind)
        return _Power(kind, self.size * power, self.count * power)

    def times(self, other: "_Power", power: int) -> "_Power | None":
        """It multiplied by another one, or divided by it."""
        if other.kind != "square" or self.kind == "mean":
            return None
        size, count = self.size + power * other.size, self.count + power * other.count
        return replace(self, size=size, count=count)

    def is_like(self, other: "_Power") -> bool:
        """Whether both follow the channels alike."""
        powers = ((self.size, other.size), (self.count, other.count))
        return all(isclose(*each, abs_tol=1e-6) for each in powers)


_FREE = _Power("channels", 0.0)
"""Of what channels are once they are normalised."""

_Operand = _Power | str | None
"""Its power; ``constant`` where it does not follow the channels, None where that is not known."""


class _Uses:
    """What is done with the tensors of one labelled pass."""

    def __init__(
        self,
        trace: Trace,
        others: Mapping[int, Step],
        removed: Removed,
        is_number: Callable[[int], bool],
    ) -> None:
        self._is_number = is_number
        self._trace, self._others, self._removed = trace, others, removed
        self._number = {id(step): number for number, step in enumerate(trace.calls)}
        self._uses: dict[Source, list[Step]] = defaultdict(list)
        for step in trace.calls:
            for source in dict.fromkeys(step.sources):
                self._uses[source].append(step)
        self._taken = {id(trace.steps[each.step]): each for each in trace.combined}

    def is_of_a_norm(self, combining: Combining) -> bool:
        """Whether a statistic is taken of channels only to normalise them."""
        step = self._trace.steps[combining.step]
        if step.place.operator in _FUSED:
            return True
        rows = combining.changed(self._removed)
        gone = self._removed[rows[rows > 0]]
        share = log(1 - float(gone.mean()))
        number = self._number[id(step)]
        return any(
            _Norm(self, origin, share).is_closed_from(number, len(step.shapes))
            for origin in self._origins(step)
        )

    def _origins(self, step: Step) -> Iterator[Source]:
        """What a statistic may be taken of: what it is given, and what that is made of."""
        pending, seen = deque(step.sources[:1]), set[Source]()
        while pending:
            source = pending.popleft()
            if source is None or source in seen:
                continue
            seen.add(source)
            yield source
            before = self._trace.calls[source[0]] if isinstance(source, tuple) else None
            if before is not None and before.place.operator in _ALIKE | _STEPS:
                pending.extend(before.sources)

    def uses(self, source: Source) -> Sequence[Step]:
        return self._uses[source]

    def leaves(self, source: Source) -> bool:
        """Whether the model returns it, or gives operators a number that is taken out of it."""
        items = (step for step in self._uses[source] if step.place.operator == operators.ITEM)
        return source in self._trace.left or any(
            self._is_number(self.number(step)) for step in items
        )

    def number(self, step: Step) -> int:
        return self._number[id(step)]

    def call(self, number: int) -> Step:
        return self._trace.calls[number]

    def statistic(self, step: Step) -> str:
        """What a step takes over channels; empty for none."""
        taken = self._taken.get(id(step))
        return taken.what if taken is not None else ""

    def numbers(self, step: Step) -> tuple[float, float] | None:
        """The number that a step is given, in both networks; None if there is none."""
        other = self._others.get(id(step))
        before = _number(step)
        after = None if other is None else _number(other)
        return None if before is None else (before, nan if after is None else after)


def _number(step: Step) -> float | None:
    """The first number that a step is given beside tensors."""
    numbers = (each for each in step.constants if isinstance(each, int | float))
    return next((float(each) for each in numbers if not isinstance(each, bool)), None)


_STEPS = frozenset({"abs", "div", "mul", "pow", "sub", *_ROOTS})
"""What channels may be taken through before a statistic of them is taken."""


class _Norm:
    """Tensors by how they follow the channels that one of them holds.

    Args:
        uses: of the pass.
        origin: the tensor that holds the channels.
        share: logarithm of the share of them that stays.
    """

    def __init__(self, uses: _Uses, origin: Source, share: float) -> None:
        self._uses = uses
        self._first = origin[0] if isinstance(origin, tuple) else 0
        self._share = share
        self._powers: dict[Source, _Operand] = {origin: _Power("channels", 1.0)}

    def is_closed_from(self, call: int, results: int) -> bool:
        """Whether all that is made of a statistic ends as channels that are normalised."""
        pending: list[Source] = [(call, place) for place in range(results)]
        seen = set[Source]()
        while pending:
            source = pending.pop()
            if source in seen:
                continue
            seen.add(source)
            power = self._power(source)
            if not isinstance(power, _Power) or self._uses.leaves(source):
                return False
            if power.lies_along and power.is_like(_FREE):
                self._powers[source] = _CONSTANT  # to what comes behind
                continue
            for step in self._uses.uses(source):
                pending += [(self._uses.number(step), place) for place in range(len(step.shapes))]
        return True

    def _power(self, source: Source) -> _Operand:
        if source not in self._powers:
            if not isinstance(source, tuple) or source[0] < self._first:
                return _CONSTANT
            self._powers[source] = self._made(self._uses.call(source[0]), source[1])
        return self._powers[source]

    def _made(self, step: Step, place: int) -> _Operand:
        """How the result of a step follows the channels."""
        operands = [self._power(source) for source in step.sources]
        if not operands or None in operands:
            return None
        if all(each == _CONSTANT for each in operands):
            return _CONSTANT
        first, *rest = operands
        if not rest:
            assert isinstance(first, _Power)
            return self._of_one(step, place, first)
        return self._of_two(step, first, rest[0]) if len(rest) == 1 else None

    def _of_one(self, step: Step, place: int, power: _Power) -> _Operand:
        operator, what = step.place.operator, self._uses.statistic(step)
        if what:
            return _statistic(what, power, place, step)
        if operator in _ALIKE or (operator in _SHIFTS and power.kind == "square"):
            return power
        if operator == "abs" and power.lies_along:
            return replace(power, kind="positive")
        if operator in _ROOTS:
            return power.raised(_ROOTS[operator])
        numbers = self._uses.numbers(step)
        if operator == "pow" and numbers is not None:
            return power.raised(numbers[0])
        if operator in ("mul", "div") and numbers is not None:
            before, after = numbers
            follows = 0.0 if before == after else log(after / before) / self._share
            return replace(power, count=power.count + (follows if operator == "mul" else -follows))
        return None

    def _of_two(self, step: Step, one: _Operand, other: _Operand) -> _Operand:
        operator, (left, right) = step.place.operator, step.sources[:2]
        if not isinstance(one, _Power) or not isinstance(other, _Power):
            return self._with_constant(operator, one, other, left if one == _CONSTANT else right)
        if operator == "mul":
            return one.raised(2) if left == right else one.times(other, 1) or other.times(one, 1)
        if operator == "div":
            return one.times(other, -1)
        if operator in ("add", "sub") and one.kind == other.kind == "square":
            return one if one.is_like(other) else None
        is_centred = operator == "sub" and (one.kind, other.kind) == ("channels", "mean")
        return one if is_centred and one.is_like(other) else None

    def _with_constant(
        self, operator: str, one: _Operand, other: _Operand, constant: Source
    ) -> _Operand:
        """A tensor that follows the channels and one that does not, as a weight."""
        power = one if isinstance(one, _Power) else other
        assert isinstance(power, _Power)
        if operator == "mul" or (operator == "div" and power is one):
            return power
        if operator == "div":
            return power.raised(-1)
        is_shifted = operator in _SHIFTS and power.kind == "square" and constant is None
        return power if is_shifted else None


_CONSTANT = "constant"


def _statistic(what: str, power: _Power, place: int, step: Step) -> _Power | None:
    """What a statistic over channels is of them."""
    if not power.lies_along:
        return None
    if what in ("mean", "sum"):
        is_square = power.kind == "positive"
        if is_square and power.size != _SQUARE:
            return None
        count = power.count + (what == "sum")
        return _Power("square" if is_square else "mean", power.size, count)
    if what == "norm" and _number(step) == _SQUARE:
        return _Power("square", power.size, power.count + 0.5)
    if power.kind == "channels" and what in ("variance", "standard deviation"):
        if place == 1:
            return replace(power, kind="mean")
        share = 2 if what == "variance" else 1
        return _Power("square", power.size * share, power.count * share)
    return None


_SQUARE = 2.0
"""Power of the size of what a norm takes the mean of."""
