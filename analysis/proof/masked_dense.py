"""The masked dense network's values, computed once for all networks compared with it."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from analysis.errors import AnalysisError, InputError
from analysis.network.failures import locate_failure
from analysis.network.float64 import in_float64, widened
from analysis.network.inference import Inputs, map_tensors, module_scope, one_line
from analysis.network.modules import named_modules
from analysis.proof import comparing, masking
from analysis.proof.draws import depends_on_draws
from analysis.proof.exercised import Held
from analysis.proof.kept_channels import KeptChannels
from analysis.proof.other_sizes import Noted
from analysis.records import Removal, Verdict, merge_cuts

__all__ = ["MaskedDense", "OverKept"]


@dataclass(frozen=True, eq=False)
class OverKept:
    """What the dense network computes where functions combine kept channels alone.

    Attributes:
        observation: its outputs and traces.
        functions: which functions were taken over kept channels.
    """

    observation: comparing.Observation
    functions: KeptChannels


class MaskedDense:
    """A dense network with removed channels masked, on random inputs in float64.

    The network is not changed, and must not be while this is in use.

    Args:
        dense: the network before the cuts, in eval mode.
        removals: the groups that were cut, with indices of ``dense``.
        example_inputs: gives the shapes of the random inputs.
        shared: whether more than one network is compared with it, so that all it holds is kept.
        noted: see `analysis.proof.proving.prove`.
        held: likewise.
    """

    def __init__(
        self,
        dense: nn.Module,
        removals: Collection[Removal],
        example_inputs: Inputs,
        *,
        shared: bool = True,
        noted: Noted | None = None,
        held: Held | None = None,
    ) -> None:
        self._shared = shared
        self.held = held or Held()
        self._noted = noted
        self.dense = dense
        self.removals = removals
        self.cuts = merge_cuts(removals)
        self.examples = example_inputs
        self.inputs = comparing.random_inputs(example_inputs)
        self.refusal = ""
        self._inside: list[str] = []
        self._over_kept: dict[bool, OverKept | None] = {}

    @cached_property
    def noted(self) -> Noted:
        """Its operators and the channels that arrive at them."""
        return self._noted or Noted.of(self.dense, self.examples)

    @cached_property
    def smaller(self) -> "MaskedDense | None":
        """The same on smaller inputs, on which it goes the same way; None where there are none.

        Also where several networks are compared, which the example inputs distinguish.
        """
        inputs = self.examples if self._shared else self.noted.fewer(self.examples)
        if inputs is self.examples:
            return None
        return MaskedDense(self.dense, self.removals, inputs, shared=False, noted=self.noted)

    @cached_property
    def observation(self) -> comparing.Observation:
        """Its outputs and traces: on random inputs, or on the example inputs if it refuses those.

        Raises:
            InputError: the network does not run in float64, or its outputs are not finite.
        """
        try:
            return self._finite()
        except Exception:
            # An image in [0, 1], an adjacency, what a logarithm is taken of.
            drawn, self.inputs = self.inputs, map_tensors(self.examples, widened)
            try:
                return self._finite()
            except Exception:
                self.inputs = drawn
        return self._finite()

    def _finite(self) -> comparing.Observation:
        try:
            found = self._observed()
        except AnalysisError:
            raise
        except Exception as error:
            with in_float64(self.dense):
                failure = locate_failure(self.dense, self.inputs)
            if failure is None:
                raise
            raise InputError(
                f"the dense network does not run in float64, in which the proof is made: {failure}"
            ) from error
        comparing.check_finite(found)
        return found

    def _observed(self) -> comparing.Observation:
        with in_float64(self.dense), self._masked():
            observed = comparing.observe(self.dense, self.inputs)
        self._inside = self._uncalled(observed)
        if not self._inside:
            return observed
        with in_float64(self.dense), self._masked():
            return comparing.observe(self.dense, self.inputs)

    def _masked(self) -> AbstractContextManager[None]:
        return masking.masked(self.dense, self.cuts, self._inside)

    def _uncalled(self, observed: comparing.Observation) -> list[str]:
        """Cut layers that are not called: another layer's forward uses their tensors."""
        called = {name for name, _ in observed.layers}
        owners = {
            name
            for name, layer in named_modules(self.dense).items()
            if next(layer.parameters(recurse=False), None) is not None
        }
        cut = dict.fromkeys(cut.layer for cut in self.cuts if cut.dim is None)
        return [name for name in cut if name in owners and name not in called]

    def over_kept(self, *, rescale: bool) -> OverKept | None:
        """The same with functions over channels taken over the kept ones alone.

        None where the network raises on NaN, by which removed channels are followed; ``refusal``
        then says how.
        """
        if not self._shared:
            return self._taken_over_kept(rescale)
        if rescale not in self._over_kept:
            self._over_kept[rescale] = self._taken_over_kept(rescale)
        return self._over_kept[rescale]

    def _taken_over_kept(self, rescale: bool) -> OverKept | None:
        with (
            in_float64(self.dense),
            self._masked(),
            masking.tagged(self.dense, self.cuts),
            module_scope(self.dense) as scope,
            KeptChannels(scope, rescale=rescale) as functions,
        ):
            try:
                return OverKept(comparing.observe(self.dense, self.inputs), functions)
            except Exception as error:
                self.refusal = one_line(error)
                return None

    @cached_property
    def is_random(self) -> bool:
        """Whether its outputs depend on the random numbers that it draws, however little."""
        with in_float64(self.dense), self._masked():
            return depends_on_draws(
                lambda seed: comparing.observe(self.dense, self.inputs, seed=seed).outputs
            )

    @cached_property
    def randomness(self) -> str | None:
        """The first layer that differs in another pass; None if all are deterministic."""
        with in_float64(self.dense), self._masked():
            other = comparing.observe(self.dense, self.inputs, seed=1)
        answer = comparing.compare(self.observation, other, self.dense, ())
        return None if answer.verdict is Verdict.EXACT else answer.first_divergence or ""
