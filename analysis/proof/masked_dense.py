"""The masked dense network's values, each computed once for all networks compared with it."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from analysis.errors import AnalysisError, InputError
from analysis.network import provenance
from analysis.network.float64 import in_float64
from analysis.network.inference import Inputs, locate_failure, module_scope, one_line
from analysis.network.layers import makes_channels
from analysis.network.provenance import Flow
from analysis.proof import comparing, masking
from analysis.records import Removal, Verdict, merge_cuts

__all__ = ["DenseFlow", "MaskedDense", "OverKept"]


@dataclass(frozen=True, eq=False)
class OverKept:
    """What the dense network computes where functions combine kept channels alone.

    Attributes:
        observation: its outputs and traces.
        functions: which functions were taken over kept channels.
    """

    observation: comparing.Observation
    functions: masking.KeptChannels


@dataclass(frozen=True, eq=False)
class DenseFlow:
    """Where numbered channels arrive in the dense network.

    Attributes:
        flow: the arrivals.
        kept: for each layer that makes channels, the numbers of those that stay, for the pruned
            network.
        origins: by number, the layer and the channel.
    """

    flow: Flow
    kept: dict[str, list[int | None]]
    origins: list[tuple[str, int]]


class MaskedDense:
    """A dense network with removed channels masked, on random inputs in float64.

    The network is not changed, and must not be while this is in use.

    Args:
        dense: the network before the cuts, in eval mode.
        removals: the groups that were cut, with indices of ``dense``.
        example_inputs: gives the shapes of the random inputs.
        shared: whether more than one network is compared with it, so that all it holds is kept.
    """

    def __init__(
        self,
        dense: nn.Module,
        removals: Collection[Removal],
        example_inputs: Inputs,
        *,
        shared: bool = True,
    ) -> None:
        self._shared = shared
        self.dense = dense
        self.removals = removals
        self.cuts = merge_cuts(removals)
        self.examples = example_inputs
        self.inputs = comparing.random_inputs(example_inputs)
        self.refusal = ""
        self._inside: list[str] = []
        self._over_kept: dict[bool, OverKept | None] = {}
        self._flows: list[DenseFlow] = []

    @cached_property
    def observation(self) -> comparing.Observation:
        """Its outputs and traces.

        Raises:
            InputError: the network does not run in float64, or its outputs are not finite.
        """
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
            for name, layer in self.dense.named_modules()
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
            masking.KeptChannels(scope, rescale=rescale) as functions,
        ):
            try:
                return OverKept(comparing.observe(self.dense, self.inputs), functions)
            except Exception as error:
                self.refusal = one_line(error)
                return None

    @cached_property
    def randomness(self) -> str | None:
        """The first layer that differs in another pass; None if all are deterministic."""
        with in_float64(self.dense), self._masked():
            other = comparing.observe(self.dense, self.inputs, seed=1)
        answer = comparing.compare(self.observation, other, self.dense, ())
        return None if answer.verdict is Verdict.EXACT else answer.first_divergence or ""

    def flows(self) -> Iterator[DenseFlow]:
        """Where channels arrive; layers that one group joins are followed one at a time."""
        yield from self._flows
        out_cuts = {cut.layer: cut for cut in self.cuts if cut.axis == "out" and cut.dim is None}
        for layers in self._rounds(out_cuts)[len(self._flows) :]:
            numbers: dict[str, list[int | None]] = {}
            kept: dict[str, list[int | None]] = {}
            origins: list[tuple[str, int]] = []
            for name in layers:
                cut = out_cuts[name]
                first, stays = len(origins), set(cut.kept)
                origins += [(name, index) for index in range(cut.width)]
                numbers[name] = [first + i if i in stays else None for i in range(cut.width)]
                kept[name] = [first + i for i in cut.kept]
            flow = provenance.trace_channels(self.dense, self.examples, numbers)
            self._flows.append(DenseFlow(flow, kept, origins))
            yield self._flows[-1]

    def _rounds(self, out_cuts: Collection[str]) -> list[list[str]]:
        """Layers that make channels, so split that no two of one round share a group."""
        modules = dict(self.dense.named_modules())
        rounds: list[list[str]] = []
        placed: set[str] = set()
        for removal in self.removals:
            layers = dict.fromkeys(cut.layer for cut in removal.cuts if cut.layer in out_cuts)
            makers = [name for name in layers if makes_channels(modules[name])]
            for index, name in enumerate(name for name in makers if name not in placed):
                placed.add(name)
                rounds += [[]] * (index == len(rounds))
                rounds[index] = [*rounds[index], name]
        return rounds
