"""What a forward pass does once for each channel, or for each part of several.

A network that has lost channels does it less often. What is done to a channel that went alone is
then no longer called, and all else is lined up call by call. Where a call takes channels of which
some went, as a running sum, repetitions are all that is compared.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from analysis.network.labels import operators
from analysis.network.labels.planes import NO_LABELS, Labels, labels_of
from analysis.network.labels.records import Step
from analysis.proof.lines import kind_of
from analysis.proof.staying import Removed

__all__ = [
    "are_numbered_alike",
    "calls_left",
    "counts_channels",
    "is_loop",
    "loses_parts",
    "once_a_part",
    "parts_left",
    "takes_all",
    "turns",
]


def parts_left(step: Step, removed: Removed) -> list[int]:
    """Which results of an operator carry channels that stay, or none at all."""
    return [place for place in range(len(step.shapes)) if not _has_gone(step, place, removed)]


def _has_gone(step: Step, place: int, removed: Removed) -> bool:
    """Whether a result of an operator is of channels that went alone."""
    planes = step.planes[place] if step.planes else ()
    return any(_all_removed(labels_of(plane), removed) for plane in planes)


def calls_left(
    line: Sequence[Step], calls: Sequence[Step], removed: Removed
) -> tuple[list[Step], list[Step]] | None:
    """What is left of a line, and what it does to channels that went, each by itself.

    Args:
        line: what it calls in the dense network.
        calls: every operator of that.
        removed: for each label whether its position has gone.

    Returns:
        None where an operator that is left takes such a channel together with others.
    """
    left: list[Step] = []
    gone: list[Step] = []
    for step in line:
        given = [source for source in step.sources if isinstance(source, tuple)]
        # Of attention to a head that went no label is left, but all that comes of it went, too.
        went = [
            any(calls[call] is each for each in gone) or _has_gone(calls[call], place, removed)
            for call, place in given
        ]
        if _goes(step, removed) or (went and all(went)):
            gone.append(step)
        elif any(went) and step.place.operator not in operators.BESIDE:
            return None
        else:
            left.append(step)
    return left, gone


def takes_all(step: Step, removed: Removed) -> bool:
    """Whether a slice of channels is of all that stay."""
    if step.place.operator != "slice" or not step.planes:
        return False
    made = np.concatenate([labels_of(plane).ravel() for plane in step.planes[0]] or [NO_LABELS])
    size = step.given[0][step.constants[1]]
    axes = [each for each in step.arriving if size == each.size == np.unique(each).size]
    return bool(axes) and all(np.isin(each[~removed[each]], made).all() for each in axes)


def _goes(step: Step, removed: Removed) -> bool:
    """Whether an operator is given nothing but channels that went, or picks one of these."""
    if step.arriving and all(_all_removed(labels, removed) for labels in step.arriving):
        return True
    return step.place.operator in operators.MOVEMENT and not parts_left(step, removed)


def _all_removed(labels: Labels, removed: Removed) -> bool:
    return bool(labels.size and removed[labels].all())


def is_loop(
    here: Sequence[Step], there: Sequence[Step], follows: Callable[[int, int], bool]
) -> bool:
    """Whether two lines do the same, in one of both more often.

    Args:
        here: what a line of the dense network calls.
        there: what it calls in the pruned one.
        follows: whether two numbers of repetitions are those of channels that lost some.
    """
    found = [*turns(here, there)]
    return sum(len(one) for _, units in found for one in units) == len(there) and all(
        len(own) == len(units) or (len(own) > 1 and follows(len(own), len(units)))
        for own, units in found
    )


Units = Sequence[Sequence[Step]]
"""One or several operators in turn, as often as they are called again and again."""


def turns(here: Sequence[Step], there: Sequence[Step]) -> Iterator[tuple[Units, Units]]:
    """What a line of the dense network repeats, and how often that of the pruned one does."""
    start = place = 0
    kinds = [*map(kind_of, there)]
    for unit, count in _runs([*map(kind_of, here)]):
        size, own = len(unit), []
        for turn in range(count):
            own.append(here[start + turn * size : start + (turn + 1) * size])
        found: list[Sequence[Step]] = []
        while len(found) < count and kinds[place : place + size] == unit:
            found.append(there[place : place + size])
            place += size
        yield own, found
        start += count * size


def loses_parts(here: Sequence[Step], there: Sequence[Step]) -> bool:
    """Whether a line takes a tensor apart, into another number of parts in one of both."""
    parts, others = ([len(step.shapes) for step in line] for line in (here, there))
    return max(parts) > max(others)


def once_a_part(here: Sequence[Step], there: Sequence[Step]) -> Callable[[int, int], bool]:
    """Whether two numbers of repetitions are those of parts that two lines split a tensor into."""
    parts, others = ({len(step.shapes) for step in line} for line in (here, there))
    return lambda before, after: before in parts and after in others


def counts_channels(line: Sequence[Step]) -> bool:
    """Whether what a line repeats is given another number each time, and not to pick by it.

    The first time aside, as a sum begins with a number.
    """
    start = 0
    for unit, count in _runs([*map(kind_of, line)]):
        for place in range(start + len(unit), start + min(count, 2) * len(unit)):
            again = line[place : start + count * len(unit) : len(unit)]
            is_picked = again[0].place.operator in operators.MOVEMENT
            if not is_picked and any(step.constants != again[0].constants for step in again):
                return True
        start += count * len(unit)
    return False


def are_numbered_alike(left: Sequence[Step], there: Sequence[Step]) -> bool:
    """Whether what is left of a line is given the numbers that it was, but for picking by them."""
    pairs = [
        (step, other)
        for step, other in zip(left, there, strict=True)
        if step.place.operator not in operators.MOVEMENT | operators.BESIDE
    ]
    return all(step.constants == other.constants for step, other in pairs)


def _runs(kinds: Sequence[str]) -> Iterator[tuple[list[str], int]]:
    """Operators that are called again and again, one or several in turn, and how often."""
    start = 0
    while start < len(kinds):
        lengths = range(1, (len(kinds) - start) // 2 + 1)
        counts = [(_repetitions(kinds, start, length), length) for length in lengths]
        again = [(count * length, -length) for count, length in counts if count > 1]
        covered, back = max(again, default=(1, -1))  # the most, of the fewest in turn
        yield [*kinds[start : start - back]], covered // -back
        start += covered


def _repetitions(kinds: Sequence[str], start: int, length: int) -> int:
    unit, count = kinds[start : start + length], 1
    while kinds[start + count * length : start + (count + 1) * length] == unit:
        count += 1
    return count
