"""Positions of channels that a network uses as numbers, where a cut gives these others."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from analysis.network.labels import operators
from analysis.network.labels.planes import Labels
from analysis.network.labels.reasons import NUMBERED
from analysis.network.labels.records import Numbered, Step, Trace
from analysis.proof.constants import PARTS
from analysis.proof.flow import Flow
from analysis.proof.own_arguments import OwnArguments
from analysis.proof.staying import Removed

__all__ = ["NumbersUsed"]


class NumbersUsed:
    """Judges what a dense network uses positions of channels for.

    Args:
        trace: the pass over the dense network.
        removed: for each label of it whether its position has gone.
        flow: knows the same operators of the pruned network.
        own: gives the dense network other numbers.
    """

    def __init__(self, trace: Trace, removed: Removed, flow: Flow, own: OwnArguments) -> None:
        self._trace, self._removed, self._flow, self._own = trace, removed, flow, own

    def changed(self) -> Iterator[str]:
        """The modules that use a position which is another one once channels have gone."""
        for each in self._others:
            if self._is_used(each):
                yield self._trace.calls[each.call].place.module

    def unknown(self) -> Iterator[str]:
        """Where such a position looks up something that has lost as many places."""
        for each in self._others:
            if not (each.is_taken or self._is_used(each)):
                yield f"{NUMBERED} at {self._trace.calls[each.call].place}"

    @cached_property
    def _others(self) -> Sequence[Numbered]:
        return [each for each in self._trace.numbered if each.changed(self._removed)]

    def lies_in_rest(self) -> bool:
        """Whether results that lie along channels by their positions have places that are none.

        As one-hot vectors of a fixed length: the places of the last channels stay empty.
        """
        return any(self._has_rest(each) for each in self._trace.laid)

    def _has_rest(self, each: Numbered) -> bool:
        step, (_, dim) = self._trace.calls[each.call], each.along or (0, 0)
        other = self._flow.others.get(id(step))
        if other is None or each.changed(self._removed):
            return False
        has_lost = bool(self._removed[each.rows].any())
        return has_lost and step.shapes[0][dim] == other.shapes[0][dim]

    def _is_used(self, each: Numbered) -> bool:
        if each.is_taken:
            return any(self._counts(call, each.rows) for call in self._own.reached(each.call))
        if each.along is None:
            return True
        return self._keeps_size(self._trace.calls[each.call], *each.along)

    def _keeps_size(self, step: Step, operand: int, dim: int) -> bool:
        """Whether what an operator looks something up in is as large as before, as no channels."""
        other = self._flow.others.get(id(step))
        return other is not None and step.given[operand][dim] == other.given[operand][dim]

    def _counts(self, call: int, rows: Labels) -> bool:
        """Whether an operator is given a position as a number, and does not look channels up."""
        step = self._trace.calls[call]
        name = step.place.operator
        if name in operators.FACTORIES | operators.SAME | operators.RESHAPES | operators.BESIDE:
            return any(self._counts(use, rows) for use in self._flow.uses_of(call))
        if name in PARTS:
            return self._picks_others(step, rows)
        if name in operators.MOVEMENT | operators.LOOKUPS | operators.WRITES:
            return False  # what it does to channels, their labels tell
        return not any(map(self._counts_up, step.sources))  # else as one-hot vectors are made

    def _picks_others(self, step: Step, rows: Labels) -> bool:
        """Whether it picks something by the position of a channel that is no channel of these."""
        if any(np.isin(labels, rows).any() for labels in step.arriving):
            return False
        dim = step.constants[1]
        size = step.given[0][dim]
        own = [labels for labels in step.arriving if labels.size == size]
        if own:
            return Numbered(0, rows, others=own[0][None]).changed(self._removed)
        return self._keeps_size(step, 0, dim)

    def _counts_up(self, source: object) -> bool:
        """Whether an operand is made of positions by the forward's own code, as by `arange`."""
        if not isinstance(source, tuple):
            return False
        step = self._trace.calls[source[0]]
        is_moved = step.place.operator in operators.MOVED and len(step.sources) == 1
        return step.place.operator == "arange" or (is_moved and self._counts_up(step.sources[0]))
