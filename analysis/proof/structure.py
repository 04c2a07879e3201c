"""Line up a pruned network with the dense one, operator by operator.

Numbers on drawn inputs cannot see what these do not reach: a threshold that none of them passes, a
channel that is dead on all of them. Both networks are therefore run with labelled channels, and
lined up: the same operators in the same modules, with the same constants but for sizes that follow
a width, and at each operator the channels of the dense network, in its order, without those that
went. Both then compute the same for every input that takes this path, where nothing is taken over
channels; what is, is taken over those that stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import nn

from analysis.network.inference import (
    Inputs,
    aliased,
    one_line,
)
from analysis.network.labels import operators
from analysis.network.labels.planes import Labels
from analysis.network.labels.reasons import RANKED, UNKNOWN
from analysis.network.labels.records import Combining, Place, Step, Trace
from analysis.network.labels.tracing import labelled_pass
from analysis.network.sizes import SizesOnly, sized
from analysis.proof.by_sizes import one_by_sizes
from analysis.proof.chosen import chosen_by_numbers
from analysis.proof.comparing import Restriction
from analysis.proof.conflicts import conflicts
from analysis.proof.constants import PARTS, Constants, OtherArgumentsError, has_collapsed
from analysis.proof.differences import DiffersError, UnknownError
from analysis.proof.exercised import forgetful
from analysis.proof.flow import Flow
from analysis.proof.holds import broken_holds, scaled_otherwise, unaligned
from analysis.proof.labels_left import NotOneCutError, labels_after
from analysis.proof.lines import kind_of, other_lines, other_operators, paired, site_of
from analysis.proof.loops import is_loop, loses_parts, once_a_part, parts_left
from analysis.proof.meetings import Meetings
from analysis.proof.norms import norms_of
from analysis.proof.numbers_used import NumbersUsed
from analysis.proof.own_arguments import OwnArguments
from analysis.proof.repeated import LOOP, Repeated
from analysis.proof.staying import Removed, Staying
from analysis.records import Sizes

__all__ = ["FUNCTIONS", "Recording", "Structure", "line_up", "record"]


@dataclass(frozen=True, eq=False)
class Recording:
    """One labelled pass.

    Attributes:
        trace: what was followed.
        failed: why the network could not be followed; empty if it was.
    """

    trace: Trace
    failed: str = ""


@dataclass(frozen=True)
class Structure:
    """The result of lining up two networks.

    Attributes:
        differs: how the pruned network is another one; empty if it is not.
        unknown: why both could not be lined up; empty if they were.
        held: of two that were, what could not be followed; empty if all was.
        layer: the module at which it differs.
        conflicts: for each layer that reads other channels, which.
        combined: modules, and what their forward takes over channels of which some went.
        norms: those of these modules whose forward takes nothing but the statistics of norms.
        numbered: the module that uses the position of a channel as a number; None if none does.
        draws: whether the pruned network draws random numbers.
        used: names of the pruned network's tensors that its eval mode uses.
        scaled: modules whose forward uses a number that follows a width, and what it does with it.
        asks_sizes: whether the pruned network may go another way than the dense one at another
            size; if sizes show that they are one, and its code asks for none, it does not.
        macs: multiply-accumulates of both; None where one could not be followed.
    """

    differs: str = ""
    unknown: str = ""
    held: str = ""
    layer: str = ""
    conflicts: tuple[tuple[str, str], ...] = ()
    combined: tuple[tuple[str, str], ...] = ()
    norms: frozenset[str] = frozenset()
    scaled: tuple[tuple[str, str], ...] = ()
    numbered: str | None = None
    draws: bool = False
    used: frozenset[str] = frozenset()
    asks_sizes: bool = True
    macs: Sizes | None = None

    @property
    def is_proved(self) -> bool:
        """Whether both are one, for all inputs that take the path of the example inputs."""
        return not (self.differs or self.unknown or self.held)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of them but channels and their order tells the two apart."""
        more = self.combined or self.scaled or self.numbered is not None or self.draws
        return self.is_proved and not more

    @property
    def said(self) -> str:
        """``proved``, or why it is not."""
        why = self.differs or self.unknown or self.held
        return f"not lined up: {why}" if why else "proved"


def record(
    model: nn.Module,
    inputs: Inputs,
    labels: Mapping[tuple[str, int], Labels] | None = None,
    count: int = 1,
) -> Recording:
    """Follow the channels of a network once.

    Args:
        model: not changed.
        inputs: example inputs.
        labels: see `labelled_pass`.
        count: see `labelled_pass`.
    """

    def followed(sizes: SizesOnly | None) -> Trace:
        network = forgetful(aliased(model, requires_grad=False), inputs)
        return labelled_pass(network, inputs, labels, count=count, sizes=sizes)

    try:
        return Recording(sized(followed))
    except Exception as error:
        return Recording(Trace({}, {}), one_line(error))


def line_up(
    dense: nn.Module,
    recording: Recording,
    pruned: nn.Module,
    restricted: Restriction,
    inputs: Inputs,
) -> Structure:
    """Line up a pruned network with the recording of the dense one.

    Args:
        dense: the network before the cuts.
        recording: of it, made before any foreign code ran.
        pruned: the network after them.
        restricted: what the cuts leave of the dense network.
        inputs: those of the recording.
    """
    if recording.failed:
        return Structure(unknown=f"the dense network cannot be followed: {recording.failed}")
    trace = recording.trace
    try:
        labels, removed = labels_after(dense, pruned, restricted, trace)
    except NotOneCutError as error:
        return Structure(unknown=str(error))
    retraced = one_by_sizes(pruned, inputs, trace, removed)
    if retraced is not None:
        return Structure(
            draws=_draws(trace),
            used=frozenset(trace.used),
            asks_sizes=retraced.asks_sizes,
            macs=Sizes(trace.macs, trace.macs_without(removed)),
        )
    after = record(pruned, inputs, labels, trace.count)
    if after.failed:
        return Structure(unknown=f"the pruned network cannot be followed: {after.failed}")
    kept = {
        (name, dim): torch.from_numpy(row.astype(np.int64) - trace.starts[name, dim])
        for (name, dim), row in labels.items()
        if (name, dim) in trace.starts
    }
    own = OwnArguments(dense, inputs, kept, trace, after.trace.calls)
    structure = _Lining(recording, after, removed, own).structure()
    used, macs = frozenset(after.trace.used), Sizes(trace.macs, after.trace.macs)
    return replace(structure, draws=_draws(after.trace), used=used, macs=macs)


def _draws(trace: Trace) -> bool:
    return any(step.place.operator in operators.RANDOM for step in trace.calls)


class _Lining:
    """Goes through both recordings, operator by operator."""

    def __init__(
        self, dense: Recording, pruned: Recording, removed: Removed, own: OwnArguments
    ) -> None:
        self._dense, self._pruned = dense, pruned
        self._staying = Staying(dense.trace, pruned.trace, removed)
        self._removed = self._staying.removed
        self._own = own
        self._constants, self._flow = Constants(), Flow(dense.trace, pruned.trace)
        self._uncertain, self._taken = "", ""
        self._meetings = Meetings(dense.trace, pruned.trace, self._staying)
        self._numbers = NumbersUsed(dense.trace, self._removed, self._flow, own)
        self._repeated = Repeated(
            dense.trace, pruned.trace, self._staying, self._flow, self._constants, own
        )

    def structure(self) -> Structure:
        place = Place("", "", "")
        made, before = self._pruned.trace.output, self._dense.trace.output
        if made != before:
            return Structure(differs=f"the output is {made}, and {before} in the dense network")
        gone = self._no_longer_called()
        if gone:
            return Structure(differs=f"`{gone}` is no longer called", layer=gone)
        try:
            for here, there in paired(self._dense.trace.calls, self._pruned.trace.calls):
                if here is None or there is None or site_of(here[0]) != site_of(there[0]):
                    raise UnknownError(other_lines(here, there))
                place = here[0].place
                self._line_up(here, there)
            place = Place("", "", "")
            if not self._flow.is_same(self._dense.trace.left, self._pruned.trace.left):
                raise DiffersError("the model's own forward returns what another operator returns")
        except DiffersError as error:
            if self._numbers.lies_in_rest():
                return Structure(unknown=f"{_LAID} by {place}", layer=place.module)
            return Structure(
                differs=str(error), layer=place.module, conflicts=tuple(self._conflicting())
            )
        except UnknownError as error:
            if not self._own.goes_as_before():
                return Structure(differs=f"{error}; {_SHARED}", layer=place.module)
            return Structure(unknown=str(error), layer=place.module)
        differs, layer = scaled_otherwise(self._dense.trace, self._removed, self._own.dense)
        return Structure(
            differs=differs,
            layer=layer,
            held=self._held(),
            combined=tuple(self._combined()),
            norms=self._norms(),
            scaled=tuple(self._constants.scaled.items()),
            numbered=next(self._numbers.changed(), None),
        )

    def _no_longer_called(self) -> str:
        """A module of the dense network of which the pruned one calls no operator at all."""
        if any(step.place.operator in _BY_VALUE for step in self._dense.trace.calls):
            return ""  # what is called depends on values
        called = {step.place.module for step in self._pruned.trace.calls}
        modules = (step.place.module for step in self._dense.trace.calls)
        return next((name for name in modules if name and name not in called), "")

    def _line_up(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        """Compare what one line of a module calls in both networks."""
        kinds, others = ([*map(kind_of, steps)] for steps in (here, there))
        beside, besides = ([*map(kind_of, filter(_is_beside, steps))] for steps in (here, there))
        # PyTorch chooses by sizes how it writes a product out.
        written_out = not operators.PRODUCTS.isdisjoint([*kinds, *others])
        if kinds == others:
            try:
                self._check_each(here, there)
            except DiffersError:
                if not (written_out and any(map(has_collapsed, here, there))):
                    raise
                self._check_product(here, there)
        elif left := self._repeated.left_of(here, there):
            self._check_each(left, there)
            self._repeated.check_numbers(here, left, there)
        elif loses_parts(here, there) and self._repeated.is_loop(here, there):
            self._check_loop(here, there)
        elif (written_out or self._staying.single.any()) and beside == besides:
            self._check_product(here, there)
            if not self._staying.single.any():
                self._uncertain = f"a product is written out in other operators at {here[0].place}"
        elif self._repeated.is_loop(here, there):
            self._check_loop(here, there)
        elif is_loop(here, there, once_a_part(here, there)):
            self._note_parts(here, there)
        else:
            raise DiffersError(other_operators(here, there))

    def _check_each(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        for step, other in zip(here, there, strict=True):
            self._flow.note(step, other)
            self._check(step, other)

    def _check_product(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        self._check_each(*([*filter(_is_beside, steps)] for steps in (here, there)))
        self._check_channels(here[-1], there[-1])
        self._meetings.check_of(there)
        self._flow.note_line(here, there)

    def _check_loop(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        self._repeated.check(here, there)
        self._flow.note_line(here, there)
        self._uncertain = LOOP

    def _note_parts(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        """Parts of a fixed size, however many these are, hold other channels after a cut."""
        self._flow.note_line(here, there)
        self._uncertain = f"channels are split into other parts at {here[0].place}"

    def _check(self, step: Step, other: Step) -> None:
        try:
            gone = sum(map(self._flow.has_gone, step.sources))
            self._constants.check(step, other, gone)
        except OtherArgumentsError as error:
            self._check_own_arguments(step, other, str(error))
        if not self._flow.is_same(step.sources, other.sources):
            raise DiffersError(f"{step.place} is given what another operator returns")
        if step.place.operator == "native_group_norm":
            self._check_groups(step, other)
        if step.arriving:
            self._check_channels(step, other)
            self._meetings.check(step, other)

    def _check_own_arguments(self, step: Step, other: Step, why: str) -> None:
        """Other arguments are those that the dense network's own code gives at this width."""
        if self._own.follow_values(step):
            are_items = _are_items(step, self._dense.trace.calls)
            what = f"{_NUMBERS if are_items else _VALUES} at {step.place}"
            self._own.check_given([other], what)
            self._taken = what
        elif self._own.follow_widths(step, other):
            self._constants.note(step, other)
        elif self._picks_same(step, other):
            return
        else:
            raise DiffersError(why)

    def _picks_same(self, step: Step, other: Step) -> bool:
        """Whether other positions along an axis of channels are those of the same channels."""
        if step.place.operator not in PARTS or not (step.planes and other.planes):
            return False
        size = step.given[0][step.constants[1]]
        is_axis = any(size == labels.size == len(np.unique(labels)) for labels in step.arriving)
        return is_axis and self._staying.is_same(step.planes[0], other.planes[0])

    def _check_groups(self, step: Step, other: Step) -> None:
        """As many groups of channels as before, or whole ones have gone."""
        before, after = (each.constants[_GROUPS] for each in (step, other))
        if before == after:
            return
        channels = step.arriving[0] if step.arriving else np.zeros(0, np.int32)
        gone = self._removed[channels]
        rows = gone.reshape(before, -1) if channels.size % before == 0 else gone[None]
        if (rows.any(1) != rows.all(1)).any():
            raise DiffersError(f"{step.place} takes {after} groups where {before} were")

    def _check_channels(self, step: Step, other: Step) -> None:
        """Each result carries the dense network's channels without those that went."""
        left: Sequence[int] = range(len(step.planes))
        if step.planes and len(step.shapes) != len(other.shapes):
            left = parts_left(step, self._removed)
            is_one = len(left) == len(other.planes) and all(
                self._staying.is_same(step.planes[place], planes) or self._staying.single.any()
                for place, planes in zip(left, other.planes, strict=True)
            )
            if not is_one:
                self._note_parts([step], [other])
                return
            self._flow.note_left(step, left)
        is_pick = self._is_pick(step)
        for place, own in enumerate(left):
            planes = other.planes[place] if other.planes else ()
            if is_pick and not self._staying.picks_alike(step.planes[own], planes):
                raise DiffersError(f"{step.place} picks another channel by its place")
            expected = self._staying.expected(step.planes[own])
            found = self._staying.found(planes)
            if not found and self._staying.single.any():
                continue  # a single channel or head is left, which is followed no further
            if has_collapsed(step, other):
                # Of labels that meet, others may stand for both where a dimension is gone.
                expected, found = (
                    [self._staying.of[row] for row in rows] for rows in (expected, found)
                )
            if len(expected) != len(found) or not all(
                one.shape == two.shape and bool(((one == two) | self._staying.single[one]).all())
                for one, two in zip(expected, found, strict=True)
            ):
                split = step.place.operator in operators.RESHAPES
                raise DiffersError(
                    f"{step.place} returns other channels, or in another order"
                    + (", as they are split into heads or blocks" if split else "")
                )

    def _is_pick(self, step: Step) -> bool:
        """Whether values of one of several channels are taken out, and not its size alone."""
        return (
            step.place.operator in operators.MOVEMENT
            and any(np.unique(labels).size > 1 for labels in step.arriving)
            and self._flow.is_read(step)
        )

    def _held(self) -> str:
        """What could not be followed of channels that have gone."""
        if self._uncertain:
            return self._uncertain
        trace, removed = self._dense.trace, self._removed
        held = next(chain(broken_holds(trace, removed), self._numbers.unknown()), self._taken)
        held = next(unaligned(trace, removed), held)
        return held or next(chosen_by_numbers(trace, self._own), "")

    def _conflicting(self) -> Iterator[tuple[str, str]]:
        dense, pruned = self._dense.trace, self._pruned.trace
        return conflicts(dense, dense.calls, pruned.calls, self._staying)

    def _combined(self) -> Iterator[tuple[str, str]]:
        for each in self._changed():
            yield self._dense.trace.steps[each.step].place.module, each.what

    def _norms(self) -> frozenset[str]:
        taken, is_taken = [*self._changed()], self._own.take_number
        return norms_of(self._dense.trace, self._flow.others, taken, self._removed, is_taken)

    def _changed(self) -> Iterator[Combining]:
        """What is taken over channels of which some went, for more than to choose a path."""
        trace = self._dense.trace
        for each in trace.combined:
            gone = len(each.changed(self._removed))
            step, is_taken = trace.steps[each.step], self._own.take_number
            if gone and not self._flow.chooses_paths_alone(step, is_taken):
                yield each


_SHARED = "since the pruner ran, the dense network goes another way as well: both share state"

_NUMBERS, _VALUES = "a number that is taken out of tensors", "values that are taken out of tensors"

FUNCTIONS = (UNKNOWN, RANKED, _NUMBERS, LOOP)
"""How that begins which could not be followed, and is a function of the channels that stay."""

_LAID = "a place of a fixed size for each channel is used"

_GROUPS = -2
"""Place of the number of groups among the arguments of a group norm that are no tensors."""

_BY_VALUE = frozenset({operators.ITEM, "is_nonzero", "item", "nonzero", "unique"})
"""Operators by whose results a forward pass may go another way."""


def _are_items(step: Step, calls: Sequence[Step]) -> bool:
    """Whether what an operator is given may be numbers of tensors that were followed so far."""
    before = calls[: next(n for n, each in enumerate(calls) if each is step)]
    is_plain = not any(isinstance(each, tuple) for each in step.constants)
    return is_plain and any(each.place.operator == operators.ITEM for each in before)


def _is_beside(step: Step) -> bool:
    """Whether an operator is none of those that a product is written out in."""
    return step.place.operator not in operators.WRITTEN_OUT
