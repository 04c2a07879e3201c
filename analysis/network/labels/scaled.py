"""Weights that depend on a product over their own channels, as spectral norm's do.

A product of the model's tensors alone is summed over channels like any other. Most such sums leave
nothing of these channels: factors of a weight are summed over their rank. A weight that is
multiplied by such a sum is another one for the channels that stay, once others have gone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from analysis.network.labels import operators, reasons
from analysis.network.labels.contractions import CONTRACTIONS
from analysis.network.labels.records import Combining, Hold, Read, Source, Step, Trace

__all__ = ["note_scaled"]

_SCALES = frozenset({"div", "mul"})

_ALONG = operators.MOVED | _SCALES | {"abs", "add", "neg", "pow", "rsub", "sub"}
"""Operators whose result has each operand's elements in their places, or moves them."""

_WITH_ITSELF = "a product of a weight with itself"


def note_scaled(trace: Trace) -> None:
    """Note the products over a weight's own channels that it depends on.

    What is taken of the weight itself is another statistic of what stays, as a norm is. Vectors
    that the model keeps of all channels, as those of spectral norm, say nothing of a part of them:
    a weight that is scaled by a product with these keeps its channels.

    Args:
        trace: a pass over the dense network, which gets the holds and what is combined.
    """
    weights = _Weights(trace)
    numbers = {id(step): number for number, step in enumerate(trace.steps)}
    for call, read in weights.found():
        step = numbers[id(trace.calls[call])]
        if weights.is_with_itself(call, read.tensor):
            trace.combined.append(Combining(step, _WITH_ITSELF, read.labels.reshape(1, -1)))
        else:
            trace.holds.append(Hold(step, reasons.SCALED, read.labels))


@dataclass(frozen=True)
class _Made:
    """What a tensor is made of, where that is the model's tensors alone.

    Attributes:
        of: names of all of these.
        along: those whose elements it has, each in its place or moved.
        sums: calls that it depends on, which sum over channels of the model's tensors.
        scaled: pairs of a tensor that it lies along and of a sum that this was multiplied by.
    """

    of: frozenset[str] = frozenset()
    along: frozenset[str] = frozenset()
    sums: frozenset[int] = frozenset()
    scaled: frozenset[tuple[str, int]] = frozenset()


_CONSTANT = _Made()


class _Weights:
    """What each call makes of the model's tensors alone; None where inputs are among it."""

    def __init__(self, trace: Trace) -> None:
        self._calls = trace.calls
        self._made: list[_Made | None] = []
        for number, step in enumerate(trace.calls):
            self._made.append(self._result(number, step))

    def found(self) -> Iterator[tuple[int, Read]]:
        """Calls that sum over channels of a weight which depends on that, and these channels."""
        pairs = dict.fromkeys(
            (call, name)
            for weight in self._multiplying()
            for call in sorted(weight.sums)
            for name in sorted(weight.along)
            if (name, call) in weight.scaled or self.is_with_itself(call, name)
        )
        for call, name in pairs:
            yield from ((call, read) for read in self._calls[call].reads if read.tensor == name)

    def is_with_itself(self, call: int, name: str) -> bool:
        """Whether all that a call is given is made of this tensor, or of none."""
        operands = (self._of(source) for source in self._calls[call].sources)
        return all(each is not None and (name in each.of or not each.of) for each in operands)

    def _multiplying(self) -> Iterator[_Made]:
        """Tensors of the model alone that what is made of inputs is multiplied with."""
        for step, made in zip(self._calls, self._made, strict=True):
            if made is None and step.place.operator in _SCALES | CONTRACTIONS.keys():
                yield from (each for each in map(self._of, step.sources) if each and each.sums)

    def _of(self, source: Source) -> _Made | None:
        if isinstance(source, str):
            name = frozenset([source])
            return _Made(name, name)
        return None if source is None else self._made[source[0]]

    def _result(self, number: int, step: Step) -> _Made | None:
        operands = [self._of(source) for source in step.sources]
        own = [each for each in operands if each is not None]
        if len(own) < len(operands):
            return None
        if not own:
            return _CONSTANT
        sums = frozenset[int]().union(*(each.sums for each in own))
        scaled = frozenset[tuple[str, int]]().union(*(each.scaled for each in own))
        along = frozenset[str]()
        if step.place.operator in _ALONG:
            along = along.union(*(each.along for each in own))
        if step.place.operator in _SCALES:
            scaled |= {
                (name, call)
                for one in own
                for other in own
                if one is not other
                for name in one.along
                for call in other.sums - one.sums
            }
        if any(read.tensor for read in step.reads):
            sums |= {number}
        return _Made(
            of=frozenset[str]().union(*(each.of for each in own)),
            along=along,
            sums=sums,
            scaled=scaled,
        )
