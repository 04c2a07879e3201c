"""Prove a pruning by hand: record the network before it, and compare the result."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from torch import nn

from analysis.comparing.compared import Reference
from analysis.errors import InputError
from analysis.network.inference import Inputs, copy_of, left_as_found
from analysis.network.outputs import only_outputs
from analysis.records import Comparison, Verification

__all__ = ["Watch", "watch"]


def watch(model: nn.Module, example_inputs: Inputs, *, outputs: Sequence[str] = ()) -> "Watch":
    """Prove whatever prunes a network inside a ``with`` block.

    ``with analysis.watch(model, inputs) as pruning: ...`` prunes ``model`` in place, by
    torch-pruning's ``DependencyGraph``, by hand, or otherwise; afterwards ``pruning.verification``
    is the proof, and ``pruning.comparison`` says which channels were kept. Exceptions of the block
    pass through.

    Args:
        model: the dense network, which is pruned in the block.
        example_inputs: a tensor, a tuple or a dict.
        outputs: which outputs count, as in `analysis.verify`.
    """
    return Watch(model, example_inputs, outputs)


class Watch:
    """What `watch` returns.

    Attributes:
        model: the network that is pruned.
    """

    def __init__(self, model: nn.Module, example_inputs: Inputs, outputs: Sequence[str]) -> None:
        self.model, self._inputs, self._outputs = model, example_inputs, outputs
        self._comparison: Comparison | None = None

    def __enter__(self) -> Self:
        with left_as_found(self.model), only_outputs(self.model, self._outputs):
            self._before = Reference.of(copy_of(self.model), self._inputs)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is None:
            with left_as_found(self.model), only_outputs(self.model, self._outputs):
                self._comparison = self._before.compared(self.model)

    @property
    def comparison(self) -> Comparison:
        """The comparison with the kept channels; known after the block."""
        if self._comparison is None:
            raise InputError("the pruning has not ended; read this after the with block")
        return self._comparison

    @property
    def verification(self) -> Verification:
        """The proof of the pruning."""
        return self.comparison.verification
