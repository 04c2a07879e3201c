"""Whether the operands of an operator were made by the same operators in both networks."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from analysis.network.labels import operators
from analysis.network.labels.records import Source, Step, Trace

__all__ = ["Flow"]


class Flow:
    """Knows which operators of the pruned network are which of the dense one.

    Args:
        dense: the pass over the dense network.
        pruned: that over the pruned one.

    Attributes:
        others: by the identity of a step of the dense network, the same one of the pruned network.
    """

    def __init__(self, dense: Trace, pruned: Trace) -> None:
        self._dense, self._pruned = dense.calls, pruned.calls
        self._leaving = {source[0] for source in dense.left if isinstance(source, tuple)}
        self._places: dict[int, tuple[int, bool]] = {}
        self._left: dict[int, Sequence[int]] = {}
        self._whole: set[int] = set()
        self._count = 0
        self.others: dict[int, Step] = {}

    def note(self, step: Step, other: Step) -> None:
        """One operator in both networks."""
        self.others[id(step)] = other
        self._note((step, other), is_one=True)

    def note_left(self, step: Step, left: Sequence[int]) -> None:
        """An operator of the dense network of whose results these alone are left."""
        self._left[id(step)] = left

    def note_whole(self, step: Step) -> None:
        """An operator of the dense network that is left with all that it is given."""
        self._whole.add(id(step))

    def note_line(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        """Operators of which as many need not be called in both networks."""
        self._note((*here, *there), is_one=False)

    def _note(self, steps: Sequence[Step], *, is_one: bool) -> None:
        self._count += 1
        self._places |= {id(step): (self._count, is_one) for step in steps}

    def is_same(self, before: Sequence[Source], after: Sequence[Source]) -> bool:
        """Whether tensors were made alike, as far as it is known what made them."""
        left = [source for source in before if not self.has_gone(source)]
        if len(left) != len(before) and len(left) != len(after):
            return False
        pairs = (
            (self._place(one, self._dense), self._place(other, self._pruned))
            for one, other in zip(left, after, strict=False)
        )
        return all(one == other for one, other in pairs if one != () and other != ())

    def has_gone(self, source: Source) -> bool:
        """Whether a result of an operator of the dense network is none of those that are left."""
        if not isinstance(source, tuple):
            return False
        step = self._dense[source[0]]
        return id(step) in self._left and source[1] not in self._left[id(step)]

    def is_read(self, step: Step) -> bool:
        """Whether values of what a step of the dense network makes are used, as far as is known."""
        call = self._number[id(step)]
        used = (self._dense[each].place.operator for each in self._uses[call])
        return call in self._leaving or any(
            name not in operators.FACTORIES and not name.endswith("_like") for name in used
        )

    def chooses_paths_alone(self, step: Step, is_taken: Callable[[int], bool]) -> bool:
        """Whether all that comes of a step of the dense network decides what is called.

        Both networks are one for the inputs that take this path, whatever they decided it by.

        Args:
            step: of the dense network.
            is_taken: whether operators are given the number that a call takes out of a tensor.
        """
        pending, seen = [self._number[id(step)]], set[int]()
        while pending:
            call = pending.pop()
            operator = self._dense[call].place.operator
            if operator == operators.ITEM and is_taken(call):
                return False
            if call in seen or operator in operators.BRANCHES:
                continue
            seen.add(call)
            # What nothing uses may have been written into another tensor, or leave the model.
            if call in self._leaving or not self._uses[call]:
                return False
            pending += self._uses[call]
        return True

    def uses_of(self, call: int) -> Sequence[int]:
        """Operators of the dense network that are given what one returns."""
        return self._uses[call]

    @cached_property
    def _number(self) -> Mapping[int, int]:
        return {id(step): number for number, step in enumerate(self._dense)}

    @cached_property
    def _uses(self) -> Mapping[int, Sequence[int]]:
        """By operator of the dense network those that are given what it returns."""
        uses: dict[int, list[int]] = defaultdict(list)
        for number, step in enumerate(self._dense):
            for source in step.sources:
                if isinstance(source, tuple):
                    uses[source[0]].append(number)
        return uses

    def _place(self, source: Source, calls: Sequence[Step]) -> object:
        if not isinstance(source, tuple):
            return source is None  # tensors of the model may be tied in one of both alone
        call, number = source
        step = calls[call]
        if id(step) in self._whole:
            return self._place(step.sources[0], calls)
        place, is_one = self._places.get(id(step), (0, False))
        if number in self._left.get(id(step), ()):
            number = self._left[id(step)].index(number)
        return (place, number if is_one else 0) if place else ()
