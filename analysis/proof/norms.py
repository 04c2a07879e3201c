"""Which statistics over channels are those of a norm, told by what becomes of them.

A norm divides channels by the root of their mean square, or of their variance once their mean is
subtracted, whatever its class is called and wherever its lines stand. Over the channels that stay
it is the same function; a mean that is added, or a softmax, is not.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from analysis.network.labels import operators
from analysis.network.labels.planes import Labels, labels_of
from analysis.network.labels.records import Combining, Source, Step, Trace

__all__ = ["statistics_of_norms"]

_DEGREES = {"mean": 1.0, "variance": 1.0, "standard deviation": 0.5}
"""What is taken over channels, squared ones for a mean: its power of a variance."""

_ALIKE = operators.SAME | operators.RESHAPES | {"expand", "unsqueeze", "squeeze"}
"""The same numbers, in another type or shape."""

_POWERS = {"sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}

_SHIFTS = frozenset({"add", "clamp", "clamp_min", "maximum"})

_FUSED = frozenset({"native_layer_norm", "native_group_norm", "_fused_rms_norm"})


def statistics_of_norms(trace: Trace) -> frozenset[Combining]:
    """What is taken over channels to normalise these, of all that a labelled pass takes."""
    return frozenset(_Uses(trace).statistics())


class _Uses:
    """What becomes of the tensors of one labelled pass."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._number = {id(step): number for number, step in enumerate(trace.calls)}
        self._uses: dict[Source, list[Step]] = defaultdict(list)
        for step in trace.calls:
            for source in dict.fromkeys(step.sources):
                self._uses[source].append(step)
        self._left = set(trace.left)

    def statistics(self) -> Iterator[Combining]:
        roots: dict[int, set[int]] = {}  # by step of a statistic, the steps that divide by its root
        for combining in self._trace.combined:
            step = self._step(combining)
            degree = None if self._is_plain_mean(combining) else _DEGREES.get(combining.what)
            if step.place.operator in _FUSED:
                yield combining
            elif degree is not None:
                divided = list(self._divided(self._result(step), degree, combining.labels))
                means = [self._result(step, place) for place in range(1, len(step.shapes))]
                if divided and None not in divided:
                    roots[id(step)] = {id(each) for each in divided}
                    if all(self._centres(mean, combining.labels, roots) for mean in means):
                        yield combining
        for combining in filter(self._is_plain_mean, self._trace.combined):
            if self._centres(self._result(self._step(combining)), combining.labels, roots):
                yield combining

    def _step(self, combining: Combining) -> Step:
        return self._trace.steps[combining.step]

    def _result(self, step: Step, place: int = 0) -> Source:
        return self._number[id(step)], place

    def _is_plain_mean(self, combining: Combining) -> bool:
        """Whether a mean is taken of channels, and not of their squares."""
        if combining.what != "mean":
            return False
        source = self._step(combining).sources[0]
        while isinstance(source, tuple):
            step = self._trace.calls[source[0]]
            if step.place.operator not in operators.SAME:
                return not _is_square(step)
            source = step.sources[0]
        return True

    def _divided(self, source: Source, degree: float, channels: Labels) -> Iterator[Step | None]:
        """The steps that divide channels by the root of a statistic; None for any other use."""
        if source in self._left:
            yield None
        for step in self._uses[source]:
            others = [other for other in step.sources if other != source]
            if any(self._carries(other, channels) for other in others):
                is_root = (step.place.operator, degree) == ("mul", -0.5) or (
                    (step.place.operator, degree) == ("div", 0.5) and step.sources[1] == source
                )
                yield step if is_root else None
            elif (power := self._power(step, source, others)) is not None:
                yield from self._divided(self._result(step), degree * power, channels)
            else:
                yield None

    def _power(self, step: Step, source: Source, others: Iterable[Source]) -> float | None:
        """What a step raises a statistic to, shifted, scaled or cast; None if it does other."""
        operator = step.place.operator
        is_scaled = operator == "mul" or (operator == "div" and step.sources[0] == source)
        if operator == "pow" and isinstance(step.constants[-1], int | float):
            return float(step.constants[-1])
        if operator in _ALIKE or is_scaled or (operator in _SHIFTS and not any(others)):
            return 1.0
        return _POWERS.get(operator)

    def _carries(self, source: Source, channels: Labels) -> bool:
        """Whether a tensor lies along the channels that a statistic was taken over."""
        if not isinstance(source, tuple):
            return False
        step = self._trace.calls[source[0]]
        rows = step.planes[source[1]] if source[1] < len(step.planes) else ()
        if any(bool(np.isin(channels, labels_of(plane)).all()) for plane in rows):
            return True
        # Scaled by a weight, whose labels may stand for both.
        is_scaled = step.place.operator == "mul"
        return is_scaled and any(self._carries(each, channels) for each in step.sources)

    def _centres(self, mean: Source, channels: Labels, roots: dict[int, set[int]]) -> bool:
        """Whether a mean is only subtracted from its channels, which are then normalised."""
        return mean not in self._left and all(
            self._is_centred(mean, step, channels, roots) for step in self._uses[mean]
        )

    def _is_centred(
        self, mean: Source, step: Step, channels: Labels, roots: dict[int, set[int]]
    ) -> bool:
        if step.place.operator in _ALIKE:
            return self._centres(self._result(step), channels, roots)
        return (
            step.place.operator == "sub"
            and step.sources[1] == mean
            and self._carries(step.sources[0], channels)
            and self._is_normalised(self._result(step), roots)
        )

    def _is_normalised(self, centred: Source, roots: dict[int, set[int]]) -> bool:
        """Whether centred channels go into the statistic of a norm and are divided by its root."""
        dividing = set[int]().union(*roots.values())
        return centred not in self._left and all(
            id(step) in dividing
            or id(step) in roots
            or (
                (step.place.operator in _ALIKE or _is_square(step))
                and self._is_normalised(self._result(step), roots)
            )
            for step in self._uses[centred]
        )


def _is_square(step: Step) -> bool:
    if step.place.operator == "mul":
        return step.sources[0] == step.sources[-1]
    return step.place.operator == "pow" and step.constants[-1] == 2
