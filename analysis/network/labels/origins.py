"""What the operands of an operator are made of."""

from functools import cache

from analysis.network.labels import operators
from analysis.network.labels.records import Source, Trace

__all__ = ["Origins"]

_MOVES = operators.SAME | operators.RESHAPES | operators.MOVEMENT


class Origins:
    """Follows the operands of a pass back to where they come from.

    Args:
        trace: the pass.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.is_of_model = cache(self._of_model)

    def multiplies_inputs(self, tensor: str, dim: int) -> bool:
        """Whether all that reads an axis of a tensor of the model multiplies what it is given.

        Not so of a tensor that is normalised before, or multiplied with another of the model.
        """
        reading = [
            step
            for step in self._trace.steps
            if any((read.tensor, read.dim) == (tensor, dim) for read in step.reads)
        ]
        return bool(reading) and all(
            tensor in map(self._moved, step.sources)
            and not all(map(self.is_of_model, step.sources))
            for step in reading
        )

    def _moved(self, source: Source) -> Source:
        """What an operand is, before it was turned or laid out in another way."""
        while isinstance(source, tuple):
            call = self._trace.calls[source[0]]
            if call.place.operator not in _MOVES or len(call.sources) != 1:
                return source
            source = call.sources[0]
        return source

    def _of_model(self, source: Source) -> bool:
        """Whether it depends on tensors of the model alone."""
        if not isinstance(source, tuple):
            return isinstance(source, str)
        sources = self._trace.calls[source[0]].sources
        return bool(sources) and all(map(self.is_of_model, sources))
