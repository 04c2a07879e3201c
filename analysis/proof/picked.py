"""The parts of tensors that a loop over channels is given.

A part that is picked by its place is of another channel once those before it have gone.
"""

from collections.abc import Iterator, Sequence

from analysis.network.labels import operators
from analysis.network.labels.planes import Planes, labels_of
from analysis.network.labels.records import Step
from analysis.proof.loops import Units
from analysis.proof.staying import Staying

__all__ = ["picks_others"]


def picks_others(
    own: Units, found: Units, dense: Sequence[Step], pruned: Sequence[Step], staying: Staying
) -> bool:
    """Whether what is repeated is given a part in the pruned network that it is not in the dense.

    Args:
        own: what the dense network repeats.
        found: the same of the pruned one, as often as that does.
        dense: every operator of the dense network.
        pruned: every operator of the pruned one.
        staying: what is left of the channels.
    """
    for steps, others in zip(zip(*own, strict=True), zip(*found, strict=True), strict=False):
        # The first time aside: a running sum begins with a part, and goes on with what it made.
        again = steps[1:] or steps
        for slot in range(max(len(step.sources) for step in again)):
            parts = [*_parts(steps, slot, dense)]
            taken = [*_parts(others, slot, pruned)] if any(_parts(again, slot, dense)) else []
            if not all(any(_is_same(part, each, staying) for part in parts) for each in taken):
                return True
    return False


def _parts(steps: Sequence[Step], slot: int, calls: Sequence[Step]) -> Iterator[Planes]:
    """The planes of those operands that are parts of tensors."""
    for step in steps:
        source = step.sources[slot] if slot < len(step.sources) else None
        if not isinstance(source, tuple):
            continue
        call, place = source
        if calls[call].place.operator in operators.MOVEMENT:
            yield calls[call].planes[place] if calls[call].planes else ()


def _is_same(part: Planes, other: Planes, staying: Staying) -> bool:
    if other:
        return staying.is_same(part, other)
    # A channel that is left alone is followed no further.
    return not part or any(not staying.removed[labels_of(plane)].all() for plane in part)
