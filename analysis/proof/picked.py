"""The parts of tensors that a loop over channels is given.

A part that is picked by its place is of another channel once those before it have gone, and so may
be the one that it meets in its turn of the loop.
"""

from collections.abc import Mapping, Sequence

from analysis.network.labels import operators
from analysis.network.labels.planes import Planes, labels_of
from analysis.network.labels.records import Step
from analysis.proof.loops import Units
from analysis.proof.staying import Staying

__all__ = ["picks_others"]


def picks_others(
    own: Units, found: Units, dense: Sequence[Step], pruned: Sequence[Step], staying: Staying
) -> bool:
    """Whether a turn of the pruned network is given parts that none of the dense one is given.

    Args:
        own: what the dense network repeats.
        found: the same of the pruned one, as often as that does.
        dense: every operator of the dense network.
        pruned: every operator of the pruned one.
        staying: what is left of the channels.
    """
    turns = [_parts(unit, dense) for unit in own]
    # The first time aside: a running sum begins with a part, and goes on with what it made.
    places = {place for turn in turns[1:] or turns for place in turn}
    for unit in found:
        taken = {place: part for place, part in _parts(unit, pruned).items() if place in places}
        if not any(_are_same(turn, taken, staying) for turn in turns):
            return True
    return False


_Parts = Mapping[tuple[int, int], Planes]
"""By the place of an operator in a turn, and that of an operand, the planes of a part."""


def _parts(unit: Sequence[Step], calls: Sequence[Step]) -> _Parts:
    return {
        (place, slot): calls[source[0]].planes[source[1]] if calls[source[0]].planes else ()
        for place, step in enumerate(unit)
        for slot, source in enumerate(step.sources)
        if isinstance(source, tuple) and calls[source[0]].place.operator in operators.MOVEMENT
    }


def _are_same(turn: _Parts, taken: _Parts, staying: Staying) -> bool:
    return all(
        place in turn and _is_same(turn[place], part, staying) for place, part in taken.items()
    )


def _is_same(part: Planes, other: Planes, staying: Staying) -> bool:
    if other:
        return staying.is_same(part, other)
    # A channel that is left alone is followed no further.
    return not part or any(not staying.removed[labels_of(plane)].all() for plane in part)
