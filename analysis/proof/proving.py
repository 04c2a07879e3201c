"""The proof of one pruning: from two networks and the cuts between them to a verdict."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from analysis.errors import InputError
from analysis.network import provenance
from analysis.network.float64 import in_float64
from analysis.network.inference import Inputs, left_as_found, locate_failure
from analysis.network.layers import couples_channels, is_normalisation
from analysis.network.provenance import JOINED, Flow, Mixing
from analysis.proof import comparing, masking
from analysis.proof.masked_dense import DenseFlow, MaskedDense, OverKept
from analysis.records import Removal, Verdict, Verification

__all__ = ["prove", "prove_against"]

_SHOWN = 3
"""Channels told of in an explanation; a count says how many more there are."""


def prove(
    dense: nn.Module, pruned: nn.Module, removals: Collection[Removal], example_inputs: Inputs
) -> Verification:
    """Whether ``pruned`` equals the masked dense network, on random inputs in float64.

    Neither network is changed.

    Args:
        dense: the network before the cuts.
        pruned: the network after them.
        removals: the groups that were cut, with indices of ``dense``.
        example_inputs: gives the shapes of the random inputs.

    Raises:
        InputError: the dense network cannot be compared: it does not run in float64, its outputs
            are not finite, or it draws random numbers.
        UnsupportedLayerError: a layer was cut that the oracle has no row for.
    """
    return prove_against(MaskedDense(dense, removals, example_inputs, shared=False), pruned)


def prove_against(expected: MaskedDense, pruned: nn.Module) -> Verification:
    """As `prove`, of several networks that are compared with one masked dense network."""
    with left_as_found(expected.dense), left_as_found(pruned):
        expected.dense.eval()
        pruned.eval()
        return _Proof(expected, pruned).verdict()


class _Proof:
    def __init__(self, expected: MaskedDense, pruned: nn.Module) -> None:
        self._expected = expected
        self._dense = expected.dense
        self._cuts = expected.cuts
        self._pruned = pruned
        self._is_equal_where_known = False
        self._sharper: Verification | None = None

    def verdict(self) -> Verification:
        expected, inputs = self._expected.observation, self._expected.inputs
        failure, found = None, None
        with in_float64(self._pruned):
            try:
                found = comparing.observe(self._pruned, inputs)
            except Exception:
                failure = locate_failure(self._pruned, inputs)
        if found is None:
            reason = str(failure or "the forward pass raised once and not again")
            module = failure.module if failure else None
            return Verification(Verdict.BROKEN, reason, first_divergence=module)
        answer = comparing.compare(expected, found, self._dense, self._cuts)
        if answer.verdict is Verdict.WRONG:
            return self._over_kept_channels(found) or self._explained(self._sharper or answer)
        if answer.verdict is Verdict.EXACT:
            return self._with_original_weights(
                answer, masking.renormalizes(self._dense, self._cuts)
            )
        return answer

    def _over_kept_channels(self, found: comparing.Observation) -> Verification | None:
        """The verdict if equality holds once functions combine kept channels alone, else None."""
        for rescale in (False, True):
            expected = self._expected.over_kept(rescale=rescale)
            if expected is None:
                return None
            observed = expected.observation
            answer = comparing.compare(observed, found, self._dense, self._cuts)
            if answer.verdict is Verdict.EXACT:
                return self._equal_over_kept(answer, expected)
            known = comparing.compare(observed, found, self._dense, self._cuts, unknown=True)
            is_known_equal = known.verdict is Verdict.EXACT and not expected.functions.scrambled
            self._is_equal_where_known |= is_known_equal
            if known.verdict is Verdict.WRONG:
                # Behind an operator that mixes, what is masked alone departs at once.
                self._sharper = self._sharper or known
        return None

    def _equal_over_kept(self, answer: Verification, expected: OverKept) -> Verification:
        layers, functions = dict(self._dense.named_modules()), expected.functions
        mixing = [
            Mixing(module, operator)
            for module, operator in functions.combined
            if not is_normalisation(layers[module])
        ]
        renormalized = (
            functions.rescaled
            or len(mixing) < len(functions.combined)
            or masking.renormalizes(self._dense, self._cuts)
        )
        answer = self._with_original_weights(answer, renormalized)
        if not mixing or not answer.verdict.passes:
            return answer
        return replace(answer, verdict=Verdict.MIXED, reason=_mixed(mixing[0]))

    def _with_original_weights(self, answer: Verification, renormalized: bool) -> Verification:
        # A channel that happens to be dead on these inputs hides what it is multiplied by.
        changed = self._changed()
        if changed is not None:
            return replace(
                answer,
                verdict=Verdict.WRONG,
                reason=f"`{changed}` is not the dense network's, restricted to the kept channels; "
                "it does not show on the inputs drawn, because what it multiplies is zero on them",
                first_divergence=changed.rpartition(".")[0],
            )
        return replace(answer, verdict=Verdict.RENORMALIZED) if renormalized else answer

    def _changed(self) -> str | None:
        return next(comparing.changed_tensors(self._dense, self._pruned, self._cuts), None)

    def _explained(self, answer: Verification) -> Verification:
        """Why the two differ: randomness, weights, the order of channels, or an operator."""
        self._check_deterministic()
        group = self._group_of(answer.first_divergence or "")
        place = f"; its input follows the group of `{group}`" if group else ""
        changed = self._changed()
        if changed is not None:
            return replace(
                answer,
                reason=f"{answer.reason}{place}; `{changed}` is not the dense network's, "
                "restricted to the kept channels",
            )
        flows = list(self._flows())
        conflicts = [conflict for pair in flows for conflict in self._conflicts(pair)]
        if conflicts:
            first = next(
                (text for name, text in conflicts if name == answer.first_divergence),
                conflicts[0][1],
            )
            return replace(answer, reason=f"{answer.reason}{place}; {first}")
        mixing = self._mixing_before(answer.first_divergence, flows)
        if mixing is not None and self._is_equal_where_known:
            return replace(answer, verdict=Verdict.MIXED, reason=_mixed(mixing))
        if self._expected.refusal:
            raise InputError(
                f"cannot tell whether this pruning is right: {answer.reason}, and the network "
                f"raises on NaN, by which removed channels are followed "
                f"({self._expected.refusal}); take its own checks for NaN out"
            )
        return replace(
            answer,
            reason=f"{answer.reason}{place}; its weights are the original ones and channels "
            "arrive in the right order, so what it computes depends on how many there are, or on "
            "how they are split into heads or blocks",
        )

    def _check_deterministic(self) -> None:
        """Refuse a network whose outputs depend on the random state."""
        where = self._expected.randomness
        if where is not None:
            raise InputError(
                "the dense network is random in eval mode: two passes on the same inputs differ, "
                f"first in {f'`{where}`' if where else 'its own forward'}; make it deterministic "
                "(functional dropout needs training=self.training)"
            )

    def _group_of(self, layer: str) -> str:
        return next(
            (
                removal.root
                for axis in ("in", "out")
                for removal in self._expected.removals
                for cut in removal.cuts
                if (cut.layer, cut.axis) == (layer, axis)
            ),
            "",
        )

    def _flows(self) -> Iterator["_Flows"]:
        """Where channels arrive in the dense and in the pruned network."""
        for dense in self._expected.flows():
            flow = provenance.trace_channels(self._pruned, self._expected.examples, dense.kept)
            yield _Flows(dense, flow)

    def _conflicts(self, flows: "_Flows") -> Iterator[tuple[str, str]]:
        """Layers at which another channel arrives than should, and which."""
        modules = dict(self._dense.named_modules())
        reading = {cut.layer: cut for cut in self._cuts if cut.axis == "out"} | {
            cut.layer: cut for cut in self._cuts if cut.axis == "in"
        }
        for (name, arriving), (other, found) in zip(
            flows.dense.flow.arrivals(), flows.pruned.arrivals(), strict=False
        ):
            if name != other:
                return
            cut = reading.get(name)
            if cut is None or (cut.axis == "out" and not couples_channels(modules[name])):
                kept: Sequence[int] = range(len(arriving))
            else:
                kept = cut.kept
            wrong = [
                f"{index} should carry {flows.channel(right)} and carries {flows.channel(arrived)}"
                for index, (right, arrived) in enumerate(
                    zip([arriving[place] for place in kept], found, strict=False)
                )
                if right != arrived
            ]
            if wrong:
                yield (
                    name,
                    f"{len(wrong)} of the {len(found)} input channels of `{name}` are others: "
                    + ", ".join(wrong[:_SHOWN]),
                )

    def _mixing_before(self, layer: str | None, flows: list["_Flows"]) -> Mixing | None:
        """An operator that mixes channels before this layer is called."""
        for pair in flows:
            for event in pair.dense.flow.events:
                if isinstance(event, Mixing):
                    return event
                if layer and event[0] == layer:
                    break
        return None


def _mixed(mixing: Mixing) -> str:
    where = f"`{mixing.module}`" if mixing.module else "the model's own forward"
    return (
        f"{where} calls {mixing.operator}, which mixes across channels, so no equality can hold "
        "behind it; the weights are the original ones and channels are read in the right order"
    )


@dataclass(frozen=True)
class _Flows:
    """Where the same numbered channels arrive in both networks."""

    dense: DenseFlow
    pruned: Flow

    def channel(self, number: int | None) -> str:
        if number is None:
            return "none"
        if number == JOINED:
            return "several"
        layer, index = self.dense.origins[number]
        return f"channel {index} of `{layer}`"
