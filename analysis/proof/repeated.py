"""Lines that do something to channels one by one, and call less once some of these have gone."""

from collections.abc import Sequence

from analysis.network.labels.records import Step, Trace
from analysis.proof.constants import Constants
from analysis.proof.differences import DiffersError, UnknownError
from analysis.proof.flow import Flow
from analysis.proof.lines import kind_of
from analysis.proof.loops import (
    are_numbered_alike,
    calls_left,
    counts_channels,
    is_loop,
    parts_left,
    takes_all,
    turns,
)
from analysis.proof.own_arguments import OwnArguments
from analysis.proof.picked import picks_others
from analysis.proof.staying import Staying

__all__ = ["LOOP", "Repeated"]

LOOP = "a loop over channels"
_COUNTED = "a loop that gives each channel a number"


class Repeated:
    """Compares lines of both networks that call an operator once for each channel.

    Args:
        dense: the pass over the dense network.
        pruned: that over the pruned one.
        staying: what the cut leaves.
        flow: of both; what of the dense network is left is noted there.
        constants: knows the widths that have lost something.
        own: what the dense network's own code gives its operators.
    """

    def __init__(
        self,
        dense: Trace,
        pruned: Trace,
        staying: Staying,
        flow: Flow,
        constants: Constants,
        own: OwnArguments,
    ) -> None:
        self._calls, self._others = dense.calls, pruned.calls
        self._staying, self._flow, self._constants, self._own = staying, flow, constants, own

    def left_of(self, here: Sequence[Step], there: Sequence[Step]) -> Sequence[Step]:
        """What is left of a line of the dense network; nothing if the pruned one calls another."""
        removed = self._staying.removed
        parts = calls_left(here, self._calls, removed)
        if parts is None:
            return ()
        left, gone = parts
        others = [*map(kind_of, there)]
        whole: list[Step] = []
        if len(left) != len(others):  # PyTorch calls no slice of all
            whole = [step for step in left if takes_all(step, removed)]
            left = [step for step in left if step not in whole]
        if [*map(kind_of, left)] != others:
            return ()
        for step in left:
            self._flow.note_left(step, parts_left(step, removed))
        for step in gone:
            self._flow.note_left(step, [])
        for step in whole:
            self._flow.note_whole(step)
        return left

    def check_numbers(
        self, here: Sequence[Step], left: Sequence[Step], there: Sequence[Step]
    ) -> None:
        """A number that a line gives each channel, the pruned network gives it as well.

        Raises:
            DiffersError: it gives another one.
        """
        if counts_channels(here) and not are_numbered_alike(left, there):
            raise DiffersError(f"{_COUNTED} at {here[0].place}")

    def is_loop(self, here: Sequence[Step], there: Sequence[Step]) -> bool:
        """Whether two lines do the same, in one of both for more channels."""
        return is_loop(here, there, self._constants.follows)

    def check(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        """A loop over channels, one by one, is given what the dense network's own code gives it.

        A position of each is picked, which is held.

        Raises:
            DiffersError: it is given something else.
            UnknownError: it gives channels numbers, or the dense network's code goes another way.
        """
        if counts_channels(here) or counts_channels(there):
            raise UnknownError(f"{_COUNTED} at {here[0].place}")
        for own, found in turns(here, there):
            if picks_others(own, found, self._calls, self._others, self._staying):
                raise DiffersError(f"{own[0][0].place} picks another channel by its place")
        self._own.check_given(there, f"{LOOP} at {here[0].place}")
