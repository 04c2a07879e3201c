"""The proof of one pruning: from two networks and the cuts between them to a verdict."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

from torch import nn

from analysis.errors import InputError
from analysis.network.computed_weights import way_out
from analysis.network.failures import locate_failure
from analysis.network.float64 import in_float64
from analysis.network.inference import (
    Inputs,
    aliased,
    collector_paused,
    left_as_found,
    named_tensors,
    walk,
)
from analysis.network.labels.operators import RANDOM
from analysis.network.labels.reasons import POSITIONS
from analysis.network.layers import is_normalisation
from analysis.network.outputs import counted_outputs
from analysis.proof import comparing, exercised, masking
from analysis.proof.attributes import changed_attributes, written_tensors
from analysis.proof.exercised import Held
from analysis.proof.holds import UNALIGNED
from analysis.proof.lookups import looks_up_channels
from analysis.proof.masked_dense import MaskedDense, OverKept
from analysis.proof.other_sizes import Noted
from analysis.proof.structure import FUNCTIONS, Structure, line_up, record
from analysis.records import STRENGTH, Removal, Verdict, Verification

__all__ = ["prove", "prove_against"]


def prove(
    dense: nn.Module,
    pruned: nn.Module,
    removals: Collection[Removal],
    example_inputs: Inputs,
    noted: Noted | None = None,
    held: Held | None = None,
) -> Verification:
    """Whether ``pruned`` is the masked dense network: in numbers and operator by operator.

    Neither network is changed.

    Args:
        dense: the network before the cuts.
        pruned: the network after them.
        removals: the groups that were cut, with indices of ``dense``.
        example_inputs: gives the shapes of the random inputs, which may be smaller.
        noted: the operators of the dense network, recorded before foreign code ran; None runs it.
        held: what the dense network has forgotten since it was handed in; None is nothing.

    Raises:
        InputError: the dense network cannot be compared: it does not run in float64, its outputs
            are not finite, or it draws random numbers.
    """
    expected = MaskedDense(dense, removals, example_inputs, shared=False, noted=noted, held=held)
    return prove_against(expected, pruned)


@collector_paused()
def prove_against(expected: MaskedDense, pruned: nn.Module) -> Verification:
    """Like `prove`, for several networks that are compared with one masked dense network."""
    with left_as_found(expected.dense), left_as_found(pruned):
        expected.dense.eval()
        pruned.eval()
        found, pruned = (
            pruned,
            exercised.forgetting(
                pruned, expected.dense, expected.examples, expected.held, expected.cuts
            ),
        )
        proof = _Proof(expected, pruned, found)
        answer = proof.verdict()
        for further in (_at_another_size, _in_training):
            is_shown = further is _at_another_size and proof.holds_at_another_size
            if answer.verdict.passes and not is_shown:
                answer = further(expected, pruned, answer)
        if answer.verdict.passes and answer.unexercised:
            answer = _telling(answer, f"not exercised in eval mode: {_some(answer.idle)}")
        if answer.verdict.passes and not any(each.numel() for each in walk(expected.examples)):
            answer = _telling(
                answer, "the example inputs are empty, so that no number was compared"
            )
        paths = counted_outputs(expected.dense)
        if paths:
            named = ", ".join(f"`{path}`" for path in paths)
            answer = _telling(answer, f"outputs compared: {named} alone")
        return answer


def _at_another_size(
    expected: MaskedDense, pruned: nn.Module, answer: Verification
) -> Verification:
    """The answer once the pruning is proved at another size as well, of both the weaker.

    Where neither network goes another way there, nothing is left to prove.
    """
    dense, removals, other = expected.dense, expected.removals, expected.noted.other
    if other is None or (not answer.unexercised and other.shows_nothing_new_of(pruned)):
        return answer
    noted = Noted(other.recording or record(dense, other.inputs))
    there = MaskedDense(dense, removals, other.inputs, shared=False, noted=noted)
    try:
        found = _Proof(there, pruned, pruned).verdict()
    except InputError as error:
        return _telling(answer, f"not shown with {other}: {error}")
    if not found.verdict.passes:
        return replace(found, reason=f"with {other}: {found.reason}")
    idle = tuple(name for name in answer.unexercised if name in found.unexercised)
    answer = replace(answer, unexercised=idle)
    if found.verdict.is_equal and found.structure != "proved":
        answer = _telling(answer, f"with {other} {found.structure}")
    weaker = min(answer.verdict, found.verdict, key=STRENGTH.index)
    is_new = weaker is Verdict.MIXED and weaker is not answer.verdict
    reason = f"with {other}: {found.reason}" if is_new else answer.reason
    return replace(answer, verdict=weaker, reason=reason)


def _in_training(expected: MaskedDense, pruned: nn.Module, answer: Verification) -> Verification:
    """The answer once the pruned network has run in train mode."""
    other = expected.noted.other
    inputs = [*([other.inputs] if other else []), expected.examples]
    failure = exercised.fails_in_training(expected.dense, pruned, inputs)
    if failure is None:
        return answer
    return replace(
        answer,
        verdict=Verdict.BROKEN,
        reason=f"in train mode {failure}",
        first_divergence=failure.module,
    )


def _telling(answer: Verification, text: str) -> Verification:
    return replace(answer, reason=f"{answer.reason}; {text}" if answer.reason else text)


class _Proof:
    """One pruned network held to a dense one.

    Args:
        expected: the dense one.
        pruned: the pruned one, without what forward has kept on it.
        found: the same with that.

    Attributes:
        holds_at_another_size: whether a verdict that passes is shown of the other size as well.
    """

    def __init__(self, expected: MaskedDense, pruned: nn.Module, found: nn.Module) -> None:
        self._expected = expected
        self._found = found
        self._dense = expected.dense
        self._cuts = expected.cuts
        self._pruned = pruned
        self.holds_at_another_size = False
        self._error_where_known: float | None = None  # until it is seen to be rounding
        self._sharper: Verification | None = None

    def verdict(self) -> Verification:
        return self._on_smaller_inputs() or self._on_examples()

    def _on_smaller_inputs(self) -> Verification | None:
        """The verdict where both networks are one operator by operator on the example inputs.

        Numbers are then compared on inputs that take the same path. None if there is more to
        report.
        """
        smaller = self._expected.smaller
        if smaller is None:
            return None
        try:
            found = self._observed(smaller)
        except InputError:  # the dense network is refused
            return None
        if isinstance(found, Verification):
            return None
        answer = comparing.compare(smaller.observation, found, self._dense, self._cuts)
        if answer.verdict is not Verdict.EXACT or not self._structure.is_whole:
            return None
        # The numbers are those of the other size, and there is no other way that it may go there.
        self.holds_at_another_size = not self._structure.asks_sizes
        return self._judged(answer, masking.renormalizes(self._dense, self._cuts))

    def _observed(self, expected: MaskedDense) -> comparing.Observation | Verification:
        """What the pruned network computes on the dense one's inputs; the verdict if it raises."""
        expected.observation  # noqa: B018  # it may refuse the inputs drawn for others
        inputs = expected.inputs
        # A copy, as forward may keep on the network what it makes in float64.
        network = exercised.forgetful(aliased(self._pruned, requires_grad=False), inputs)
        with in_float64(network):
            try:
                return comparing.observe(network, inputs)
            except Exception:
                failure = locate_failure(network, inputs)
        reason = str(failure or "the forward pass raised once and not again")
        module = failure.module if failure else None
        return Verification(Verdict.BROKEN, reason, first_divergence=module)

    def _on_examples(self) -> Verification:
        found = self._observed(self._expected)
        if isinstance(found, Verification):
            return found
        expected = self._expected.observation
        answer = comparing.compare(expected, found, self._dense, self._cuts)
        if answer.verdict is Verdict.WRONG:
            return self._over_kept_channels(found) or self._by_structure(self._sharper or answer)
        if answer.verdict is Verdict.EXACT:
            return self._judged(answer, masking.renormalizes(self._dense, self._cuts))
        return answer

    def _over_kept_channels(self, found: comparing.Observation) -> Verification | None:
        """The verdict if equality holds once functions combine kept channels alone, else None."""
        if self._structure.held.startswith(UNALIGNED):
            return None  # over kept channels it is another function
        holds = self._expected.noted.recording.trace.holds
        if any(hold.why == POSITIONS for hold in holds):
            return None  # removed channels are NaN there, and NaN as a position ends the process
        for rescale in (False, True):
            expected = self._expected.over_kept(rescale=rescale)
            if expected is None:
                return None
            observed = expected.observation
            answer = comparing.compare(observed, found, self._dense, self._cuts)
            if answer.verdict is Verdict.EXACT:
                return self._equal_over_kept(answer, expected)
            known = comparing.compare(observed, found, self._dense, self._cuts, unknown=True)
            if known.verdict is Verdict.EXACT and not expected.functions.scrambled:
                self._error_where_known = known.max_rel_error
            if known.verdict is Verdict.WRONG:
                # After an operator that mixes, the masked network alone differs at once.
                self._sharper = self._sharper or known
        return None

    def _equal_over_kept(self, answer: Verification, expected: OverKept) -> Verification:
        functions = expected.functions
        mixing = self._mixing(functions.combined)
        renormalized = (
            functions.rescaled
            or len(mixing) < len(functions.combined)
            or masking.renormalizes(self._dense, self._cuts)
        )
        structure = self._structure
        if not functions.combined and not renormalized:
            # What no tag shows: a comparison, a count, a sign.
            mixing = self._mixing(structure.combined)
            mixing += [(structure.layer, structure.held)] if structure.held else []
        answer = self._judged(answer, renormalized)
        if not mixing or not answer.verdict.passes:
            return answer
        return replace(answer, verdict=Verdict.MIXED, reason=_mixed(*mixing[0]))

    def _mixing(self, combined: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of what is taken over channels, that which is no statistic of a norm."""
        return [each for each in combined if not self._is_norm(each[0])]

    def _is_norm(self, layer: str) -> bool:
        """Whether a module takes statistics as a norm does: by its class, or by what it does."""
        is_known = is_normalisation(self._dense.get_submodule(layer))
        return is_known or layer in self._structure.norms

    @cached_property
    def _restricted(self) -> comparing.Restriction:
        return comparing.Restriction(self._dense, self._cuts)

    @cached_property
    def _structure(self) -> Structure:
        expected = self._expected
        recording, examples = expected.noted.recording, expected.examples
        return line_up(self._dense, recording, self._pruned, self._restricted, examples)

    def _judged(self, answer: Verification, renormalized: bool) -> Verification:
        """The verdict on two networks whose numbers are equal."""
        # A channel that happens to be dead on these inputs hides what it is multiplied by.
        changed = self._changed()
        if changed is not None:
            return replace(
                answer,
                verdict=Verdict.WRONG,
                reason=f"`{changed}` is not the dense network's, restricted to the kept channels; "
                "the random inputs do not show it",
                first_divergence=changed.rpartition(".")[0],
            )
        structure = self._structure
        if structure.draws and self._expected.is_random:
            self._refuse_randomness(self._expected.randomness)
        idle = exercised.unexercised(self._pruned, structure.used) if structure.used else ()
        answer = replace(
            answer, structure=structure.said, unexercised=tuple(idle), macs=structure.macs
        )
        if structure.differs:
            text = dict(structure.conflicts).get(structure.layer, structure.differs)
            return replace(
                answer,
                verdict=Verdict.WRONG,
                reason=f"{text}; the random inputs do not show it",
                first_divergence=structure.layer,
            )
        if structure.numbered is not None:
            return self._numbered(answer, structure.numbered)
        # What went may come up in it on other inputs, as a channel that is the largest on none.
        mixing = self._mixing(structure.combined)
        if mixing:
            return replace(answer, verdict=Verdict.MIXED, reason=_mixed(*mixing[0]))
        answer = replace(answer, reason="; ".join(self._told(structure)))
        if renormalized or structure.combined:
            return replace(answer, verdict=Verdict.RENORMALIZED)
        if structure.scaled:
            # As a bound that no value reaches.
            told = _some(_scales(structure))
            return _telling(answer, f"{told}; the random inputs do not show it")
        return answer

    def _numbered(self, answer: Verification, module: str) -> Verification:
        where = f"`{module}`" if module else "the model's own forward"
        return replace(
            answer,
            verdict=Verdict.WRONG,
            reason=f"{where} uses positions of channels as numbers, and a cut gives these others",
            first_divergence=module,
        )

    def _told(self, structure: Structure) -> Iterator[str]:
        """What a verdict that passes does not cover."""
        if structure.unknown or structure.held:
            yield f"shown on random inputs alone: {structure.unknown or structure.held}"
        if structure.draws:
            yield "it draws random numbers, and its outputs do not depend on the seed"
        expected = self._expected
        changed = changed_attributes(
            self._dense, self._found, expected.held, self._cuts, expected.examples
        )
        if changed:
            yield _some(changed)

    def _changed(self) -> str | None:
        changed = self._restricted.changed_tensors(self._pruned)
        found = [name for name in changed if not self._looks_up_alike(name)]
        if found:
            expected = self._expected
            written = written_tensors(self._dense, expected.held, expected.examples)
            found = [name for name in found if name not in written]
        return next(iter(found), None)

    def _looks_up_alike(self, name: str) -> bool:
        """Whether a tensor does nothing but look up channels, and these are the right ones."""
        before, after = (named_tensors(each).get(name) for each in (self._dense, self._pruned))
        if before is None or after is None or after.dtype != before.dtype or after.numel() < 2:
            return False  # a single channel has no label
        trace = self._expected.noted.recording.trace
        return looks_up_channels(trace, before) and self._structure.is_proved

    def _by_structure(self, answer: Verification) -> Verification:
        """The verdict on two networks whose numbers are not equal, and why they are not."""
        if self._expected.randomness is not None:
            self._refuse_randomness(self._expected.randomness)
        group = self._group_of(answer.first_divergence or "")
        place = f"; its input follows the group of `{group}`" if group else ""
        changed = self._changed()
        if changed is not None:
            return replace(
                answer,
                reason=f"{answer.reason}{place}; `{changed}` is not the dense network's, "
                "restricted to the kept channels",
            )
        structure = self._structure
        answer = replace(answer, structure=structure.said)
        if structure.numbered is not None:
            return self._numbered(answer, structure.numbered)
        # The same operator is given the same, of the channels that stay, whatever it does.
        is_function = structure.held.startswith(FUNCTIONS)
        is_equal_where_known = self._error_where_known is not None
        if structure.is_proved or is_function or (structure.held and is_equal_where_known):
            return self._over_those_that_stay(answer, place)
        text = dict(structure.conflicts)
        why = text.get(answer.first_divergence or "") or next(iter(text.values()), "")
        why = why or structure.differs or structure.unknown or structure.held
        # The first difference may be in a module without parameters, whose output is not compared.
        first = structure.layer if structure.differs else answer.first_divergence
        return replace(answer, reason=f"{answer.reason}{place}; {why}", first_divergence=first)

    def _over_those_that_stay(self, answer: Verification, place: str) -> Verification:
        """The verdict where all operators are the same, each over the channels that stay."""
        structure = self._structure
        mixing = self._mixing(structure.combined)
        scales = _scales(structure)
        if structure.held or mixing:
            module, what = mixing[0] if mixing else (structure.layer, structure.held)
            told = "; ".join(filter(None, (_mixed(module, what), _some(scales))))
            return self._decided(answer, Verdict.MIXED, told)
        if structure.combined or structure.scaled:
            return self._decided(answer, Verdict.RENORMALIZED, _some(scales))
        first = answer.first_divergence or ""
        ways = (way_out(self._dense, layer) for layer in (first, self._group_of(first)))
        why = next(filter(None, ways), "") or (
            "its weights are the original ones and channels arrive in the right order, so what it "
            "computes depends on how many there are, or on how they are split into heads or blocks"
        )
        return replace(answer, reason=f"{answer.reason}{place}; {why}")

    def _decided(self, answer: Verification, verdict: Verdict, reason: str) -> Verification:
        """The verdict that operators decide; the masked network's numbers do not, and are left out.

        How far those are off says nothing of the pruned network: they are of other functions.
        """
        return replace(
            answer,
            verdict=verdict,
            reason=reason,
            max_rel_error=self._error_where_known,
            first_divergence=None,
        )

    def _refuse_randomness(self, where: str | None) -> NoReturn:
        """Refuse a network whose outputs depend on the random state.

        Args:
            where: the first layer that differs in another pass; None if draws have to lie far off
                for that.
        """
        calls = self._expected.noted.recording.trace.calls
        places = (str(call.place) for call in calls if call.place.operator in RANDOM)
        drawn = next((f"it draws at {place}; " for place in places), "")
        seen = (
            "its outputs depend on what it draws, though two passes hardly differ"
            if where is None
            else "two passes on the same inputs differ, first in "
            + (f"`{where}`" if where else "its own forward")
        )
        raise InputError(
            f"the dense network is random in eval mode: {seen}; {drawn}make it "
            "deterministic, as by drawing only while self.training (functional dropout needs "
            "training=self.training)"
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


def _scales(structure: Structure) -> list[str]:
    """What a network does with numbers that follow a width."""
    return [
        f"{f'`{module}`' if module else 'the model'} {what}" for module, what in structure.scaled
    ]


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


_SHOWN = 3
"""How many entries a reason lists."""


def _mixed(module: str, what: str) -> str:
    where = f"`{module}`" if module else "the model's own forward"
    return (
        f"{where} calls {what}, which mixes across channels, so no equality can hold "
        "behind it; the weights are the original ones and channels are read in the right order"
    )
