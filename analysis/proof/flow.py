"""Whether what meets at an operator was made by the same operators in both networks."""

from collections.abc import Sequence

from analysis.network.labels.records import Source, Step

__all__ = ["Flow"]


class Flow:
    """Knows which operators of the pruned network are which of the dense one."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, bool]] = {}
        self._count = 0

    def note(self, *steps: Step) -> None:
        """One operator in both networks."""
        self._note(steps, is_one=True)

    def note_line(self, here: Sequence[Step], there: Sequence[Step]) -> None:
        """Operators of which as many need not be called in both networks."""
        self._note((*here, *there), is_one=False)

    def _note(self, steps: Sequence[Step], *, is_one: bool) -> None:
        self._count += 1
        self._places |= {id(step): (self._count, is_one) for step in steps}

    def is_same(self, before: Sequence[Source], after: Sequence[Source]) -> bool:
        """Whether tensors were made alike, as far as it is known what made them."""
        pairs = zip(map(self._place, before), map(self._place, after), strict=False)
        return all(one == other for one, other in pairs if one != () and other != ())

    def _place(self, source: Source) -> object:
        if not isinstance(source, tuple):
            return source is None  # tensors of the model may be tied in one of both alone
        step, number = source
        place, is_one = self._places.get(id(step), (0, False))
        return (place, number if is_one else 0) if place else ()
