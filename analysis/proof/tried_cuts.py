"""torch-pruning's cuts of one network, each tried on a copy of it and proved."""

from collections.abc import Collection, Mapping
from functools import cached_property

from torch import nn

from analysis.network.inference import Inputs, copy_of
from analysis.network.labels.records import Trace
from analysis.proof.distinct_values import make_distinct
from analysis.proof.other_sizes import Noted
from analysis.proof.proving import prove
from analysis.pruning import surgery
from analysis.records import Verification

__all__ = ["TriedCuts"]


class TriedCuts:
    """A network whose groups are cut by torch-pruning, one trial after another.

    What the proofs ask of the dense network is the same for every cut, and found once.

    Args:
        model: the dense network; not changed.
        inputs: example inputs.
        trace: of the labelled pass over it.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, trace: Trace) -> None:
        self._model, self._inputs, self._trace = model, inputs, trace

    def proved(self, channels: Mapping[str, Collection[int]]) -> Verification:
        """The proof of torch-pruning's whole groups for these output channels of layers.

        Raises:
            UnprunableError: torch-pruning raised.
            InputError: see `analysis.proof.proving.prove`.
        """
        pruned = copy_of(self._dense)
        removals = surgery.prune_groups(pruned, self._inputs, channels)
        return prove(self._dense, pruned, removals, self._inputs, self._noted)

    @cached_property
    def _dense(self) -> nn.Module:
        dense = copy_of(self._model).eval()
        make_distinct(dense, self._inputs)
        return dense

    @cached_property
    def _noted(self) -> Noted:
        return Noted.of(self._dense, self._inputs, self._trace)
