"""The arguments that the dense network's own code computes once it is cut.

A forward pass makes numbers of widths in ways that no table lists: a ratio of two, a share of one.
The dense network is therefore cut as the pruned one was, with its own attributes, and run: what it
is given then is right. What a pruner has set on modules is not there, and what it has changed of
state that both networks share shows in the dense network, which is run once more as it was.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from itertools import zip_longest
from math import isclose
from typing import Any, Protocol

from torch import Tensor, nn

from analysis.network.cutting import cut_axes
from analysis.network.inference import Inputs, aliased, copy_of
from analysis.network.labels import operators
from analysis.network.labels.origins import Origins
from analysis.network.labels.records import Step, Trace
from analysis.network.labels.tracing import labelled_pass, plain_pass
from analysis.network.sizes import Run
from analysis.proof.comparing import random_inputs
from analysis.proof.constants import is_same
from analysis.proof.differences import DiffersError, UnknownError
from analysis.proof.exercised import forgetful
from analysis.proof.lines import kind_of, site_of

__all__ = ["OwnArguments"]


class OwnArguments:
    """Compares what operators are given with what the dense network's own code gives them.

    Args:
        dense: the network before the cuts; not changed.
        inputs: those of both passes.
        kept: by tensor and dimension, the positions that stay.
        trace: the pass over the dense network, made before foreign code ran.
        others: every operator of the pass over the pruned network.

    Attributes:
        dense: the network before the cuts.
    """

    def __init__(
        self,
        dense: nn.Module,
        inputs: Inputs,
        kept: Mapping[tuple[str, int], Tensor],
        trace: Trace,
        others: Sequence[Step],
    ) -> None:
        self.dense, self._inputs, self._kept = dense, inputs, kept
        self._calls = trace.calls
        self._number = {id(step): n for n, step in enumerate(trace.calls)}
        self._origins = Origins(trace)
        self.take_number = cache(self._takes_number)
        self._others = others
        self._after = {id(step): n for n, step in enumerate(others)}

    def goes_as_before(self) -> bool:
        """Whether the dense network still calls what it did before foreign code ran."""
        pairs = zip_longest(self._calls, self._again)
        return all(
            one is not None and other is not None and _calls_alike([one], [other])
            for one, other in pairs
        )

    def follow_widths(self, step: Step, other: Step) -> bool:
        """Whether the dense network still gives an operator what it gave, and cut, what it gets."""
        before, after = self._number[id(step)], self._after[id(other)]
        return _gives(self._again[before:], step) and _gives(self._cut[after:], other)

    def _gives_alike(self, others: Sequence[Step]) -> bool | None:
        """Whether the dense network, cut, gives operators what these of the pruned one are given.

        Numbers that are taken out of tensors may differ by rounding.

        Returns:
            None where it does not call them, as far as it runs.
        """
        first, last = (self._after[id(other)] for other in (others[0], others[-1]))
        # It also goes on alike, so that neither calls any of these more often.
        own, found = (calls[first : last + 2] for calls in (self._cut, self._others))
        if len(own) != len(found) or not all(
            _calls_alike([one], [other]) for one, other in zip(own, found, strict=True)
        ):
            return None
        given = {id(other) for other in others}
        return all(
            one.sources == other.sources
            and len(one.constants) == len(other.constants)
            and all(map(_is_rounded, one.constants, other.constants))
            for one, other in zip(own, found, strict=True)
            if id(other) in given
        )

    def check_given(self, steps: Sequence[Step], what: str) -> None:
        """The dense network's own code, once it is cut, gives operators what they are given.

        Args:
            steps: of the pruned network.
            what: they do, in words.

        Raises:
            DiffersError: it gives something else.
            UnknownError: it goes another way.
        """
        is_alike = self._gives_alike(steps)
        if is_alike is None:
            raise UnknownError(f"{what}, where the dense network's own code goes another way")
        if not is_alike:
            raise DiffersError(f"{what} is given what the dense network's own code does not give")

    def follow_values(self, step: Step) -> bool:
        """Whether the dense network makes what an operator is given of the values that it gets."""
        place = self._number[id(step)]
        one, other = (calls[place : place + 1] for calls in (self._again, self._elsewhere))
        return _calls_alike(one, other) and not _gives(other, one[0])

    def _takes_number(self, call: int) -> bool:
        """Whether operators are given what is made of a number that a call takes out of a tensor.

        The dense network is run with other numbers. One that only chooses the way reaches no
        operator: either nothing is called otherwise, or another operator or line comes next. What
        is made of the model's own tensors is one number for all inputs, as operators are given in
        both networks.
        """
        if self._origins.is_of_model((call, 0)):
            return False
        return not self._is_again(call) or any(True for _ in self.reached(call))

    def _is_again(self, call: int) -> bool:
        """Whether a call still takes a number out of a tensor."""
        before = self._again
        return call < len(before) and before[call].place.operator == operators.ITEM

    def reached(self, call: int) -> Iterator[int]:
        """Operators that are given what is made of a number that a call takes out of a tensor.

        Those that are called alike until the network goes another way, or raises. None where it
        cannot be run again as it was.
        """
        for pairs in self._otherwise([call], plain_pass):
            for place, step, other in pairs:
                if not _gives([step], other):
                    yield place

    def followed_otherwise(self, calls: Sequence[int]) -> Iterator[tuple[list[Step], list[Step]]]:
        """Operators, and the same once calls take other numbers out of tensors: a little or much.

        Channels are followed, until the network goes another way, raises or has nothing left. None
        where it cannot be run again as it was.
        """
        for pairs in self._otherwise(calls, labelled_pass):
            found = [(self._calls[place], other) for place, _, other in pairs]
            yield [step for step, _ in found], [other for _, other in found]

    def goes_on(self, calls: Sequence[int], steps: Sequence[Step]) -> bool:
        """Whether these steps are all from the first of some calls to the end."""
        return len(steps) == len(self._calls) - min(calls)

    def _otherwise(
        self, calls: Sequence[int], follow: "Follow"
    ) -> Iterator[Iterator[tuple[int, Step, Step]]]:
        first, is_item = min(calls), [each.place.operator == operators.ITEM for each in self._again]
        turns = {sum(is_item[:call]) for call in calls}
        for other_number in _OTHERS if all(map(self._is_again, calls)) else ():
            network = forgetful(aliased(self.dense, requires_grad=False), self._inputs)
            after: list[Step] = []
            with suppress(Exception):
                follow(network, self._inputs, calls=after, run=_WithOther(turns, other_number))
            yield self._alike(first, after)

    def _alike(self, first: int, after: Sequence[Step]) -> Iterator[tuple[int, Step, Step]]:
        pairs = zip(self._again[first:], after[first:], strict=False)
        for place, (step, other) in enumerate(pairs, first):
            if not _calls_alike([step], [other]) or _is_empty(other) > _is_empty(step):
                return
            yield place, step, other

    @cached_property
    def _again(self) -> Sequence[Step]:
        return _calls(aliased(self.dense, requires_grad=False), self._inputs)

    @cached_property
    def _elsewhere(self) -> Sequence[Step]:
        drawn = random_inputs(self._inputs, as_given=True)
        return _calls(aliased(self.dense, requires_grad=False), drawn)

    @cached_property
    def _cut(self) -> Sequence[Step]:
        network = copy_of(self.dense)
        cut_axes(network, self._kept)
        return _calls(network, self._inputs)


class _WithOther:
    """Runs operators, some of which take other numbers out of tensors, as often as these are taken.

    Args:
        turns: which of those that take numbers are the first that do.
        other: makes another of a number.
    """

    def __init__(self, turns: Collection[int], other: "Other") -> None:
        self._turns, self._other = turns, other
        self._turn = -1
        self._taken: dict[int, Tensor] = {}

    def __call__(self, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        found = operator(*args, **kwargs)
        if operators.name_of(operator) != operators.ITEM:
            return found
        self._turn += 1
        place = args[0].data_ptr()  # two views of a tensor hold one number
        if self._turn in self._turns:
            self._taken[place] = args[0]
        if place not in self._taken:
            return found
        return not found if isinstance(found, bool) else self._other(found)


class Follow(Protocol):
    """Runs a network once, and notes every operator."""

    def __call__(
        self, model: nn.Module, inputs: Inputs, *, calls: list[Step], run: Run
    ) -> Trace: ...


Other = Callable[[Any], Any]
"""Makes another number of one; of a truth there is one other."""

_OTHERS: tuple[Other, ...] = (
    # Nearby, as a network goes the same way by most of these.
    lambda number: number - _little(number),
    lambda number: number + _little(number),
    # As far as it takes, as of a number that is rounded or held in bounds.
    lambda number: number - _much(number),
    lambda number: number + _much(number),
)


def _little(number: Any) -> Any:
    return 1 if isinstance(number, int) else 1e-6 * abs(number) or 1e-6


def _much(number: Any) -> Any:
    return abs(number) + 2


def _calls(model: nn.Module, inputs: Inputs) -> Sequence[Step]:
    """Every operator that a network calls; none where it raises."""
    try:
        return plain_pass(forgetful(model, inputs), inputs).calls
    except Exception:
        return ()


def _gives(calls: Sequence[Step], step: Step) -> bool:
    """Whether the first of several operators is this one, and is given the same."""
    return _calls_alike(calls, [step]) and (
        len(calls[0].constants) == len(step.constants)
        and all(map(is_same, calls[0].constants, step.constants))
    )


def _is_empty(step: Step) -> bool:
    """Whether there is no result, as of what raises, or one without elements and channels."""
    return not step.shapes or any(0 in shape for shape in step.shapes)


def _is_rounded(one: Any, other: Any) -> bool:
    """Whether two arguments are the same, or one number in single precision."""
    are_floats = isinstance(one, float) and isinstance(other, float)
    return is_same(one, other) or (are_floats and isclose(one, other, rel_tol=_ROUNDED))


_ROUNDED = 1e-5


def _calls_alike(calls: Sequence[Step], others: Sequence[Step]) -> bool:
    """Whether both go on with the same operator in the same line."""
    firsts = [(site_of(each[0]), kind_of(each[0])) for each in (calls, others) if each]
    return len(firsts) == 2 and firsts[0] == firsts[1]
