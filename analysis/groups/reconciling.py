"""What cuts have shown so far, and layouts that are brought to one way of being cut."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.groups.coupling import Classes, classes_of, partition
from analysis.network.cutting import Repeated
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Hold, Trace

__all__ = ["State", "advance", "free", "most_free", "reconciled"]


@dataclass
class State:
    """What has been learnt so far.

    Attributes:
        chosen: by place of a choice, the option that is taken.
        holds: labels that stay.
        ties: by operator, labels that it makes go together.
        tried: by operator, tensors that were tried for that.
        repeated: attributes that repeat sizes.
        counted: labels that go together, as one of these counts them.
        wanted: by place of a choice, the option that is to be taken if the network follows it.
    """

    chosen: dict[int, int] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    ties: dict[int, tuple[Labels, Labels]] = field(default_factory=dict)
    tried: Counter[int] = field(default_factory=Counter)
    repeated: list[Repeated] = field(default_factory=list)
    counted: list[tuple[Labels, Labels]] = field(default_factory=list)
    wanted: dict[int, int] = field(default_factory=dict)

    def classes(self, trace: Trace, more: Sequence[Hold] = ()) -> Classes:
        """The partition that follows."""
        ties = [*self.ties.values(), *self.counted]
        return classes_of(trace, self.chosen, ties, [*self.holds, *more])


def reconciled(trace: Trace, state: State) -> Classes:
    """The partition, once layouts that are coupled are cut in the same way.

    Whole heads of the queries and the same channel of every head of the keys would be everything,
    or, where several heads share their keys, a part of what goes.
    """
    seen = set[frozenset[tuple[int, int]]]()
    while (chosen := frozenset(state.chosen.items())) not in seen:
        seen.add(chosen)
        classes = state.classes(trace)
        laid_out = _laid_out(trace, state, classes)
        moved = False
        for conflict in _conflicts(trace, classes):
            places = _places(laid_out, conflict)
            moved |= len(places) > 0 and _agree(trace, state, places)
        if not moved and not _freed(trace, state, classes, laid_out):
            return classes
    # Layouts that never agree ask for each other's way in turn.
    return state.classes(trace)


def _laid_out(trace: Trace, state: State, classes: Classes) -> dict[int, list[int]]:
    """By class the choices whose layouts it is part of, where the way that is taken ties any."""
    found: dict[int, list[int]] = {}
    for place, choice in enumerate(trace.choices):
        if choice.options[state.chosen.get(place, 0)].one.size:
            for own in np.unique(classes.of[choice.labels]).tolist():
                found.setdefault(own, []).append(place)
    return found


def _places(laid_out: Mapping[int, Sequence[int]], classes: Labels) -> list[int]:
    """The choices whose layouts any of these classes is part of, in order."""
    return sorted({place for own in set(classes.tolist()) for place in laid_out.get(own, ())})


def _freed(
    trace: Trace, state: State, classes: Classes, laid_out: Mapping[int, Sequence[int]]
) -> bool:
    """Cut layouts in another way where their blocks stay, as heads that share one of the keys."""
    made = _made(trace, classes)
    before, now, tried = dict(state.chosen), free(trace, classes), set[tuple[int, ...]]()
    for hold in trace.holds:
        kept = classes.of[hold.labels[hold.labels >= trace.base]]
        places = _places(laid_out, kept[made[kept]])
        # Many holds keep the same blocks: those of all positions in a window, for one.
        if tuple(places) in tried:
            continue
        tried.add(tuple(places))
        if sum(advance(trace, state, place, holding=False) for place in places):
            if free(trace, state.classes(trace)) > now:
                return True
            state.chosen = dict(before)
    return False


def free(trace: Trace, classes: Classes) -> int:
    """Positions of tensors that may go."""
    return int((classes.held[: trace.base] < 0).sum())


def most_free(trace: Trace) -> int:
    """Positions of tensors that may go at most, whatever is learnt of a network.

    Options, and what cuts show, only couple and hold more than the pass itself does.
    """
    of = partition(trace, ())
    kept = np.zeros(len(of), bool)
    for hold in trace.holds:
        kept[of[hold.labels]] = True
    kept[0] = False
    return int(np.count_nonzero(~kept[of[: trace.base]]))


def _made(trace: Trace, classes: Classes) -> NDArray[np.bool_]:
    """For each class whether it has a position of a tensor."""
    made = np.zeros(len(classes.of), bool)
    made[classes.of[: trace.base]] = True
    made[0] = False
    return made


def _conflicts(trace: Trace, classes: Classes) -> Iterator[Labels]:
    """Classes that are held only because of how layouts are cut, with those that hold them."""
    for label in np.unique(classes.of[classes.everything]).tolist():
        yield np.array([label], np.int32)
    made = _made(trace, classes)
    for block in classes.parts:
        for row in np.flatnonzero(made[classes.of[block.labels]]).tolist():
            yield classes.of[np.append(block.rows[row], block.labels[row])]


def _agree(trace: Trace, state: State, places: Sequence[int]) -> bool:
    """Bring choices that together take everything to one way; whether any was moved."""
    ways = {
        place: trace.choices[place].options[state.chosen.get(place, 0)].name for place in places
    }
    furthest = max(places, key=lambda place: state.chosen.get(place, 0))
    if len(set(ways.values())) == 1:
        # All are cut in the same way, which leaves nothing to choose from.
        moved = [place for place in places if state.chosen.get(place, 0)]
        return sum(advance(trace, state, place, holding=False) for place in moved) > 0
    for place in places:
        names = [option.name for option in trace.choices[place].options]
        if ways[place] != ways[furthest] and ways[furthest] in names:
            state.chosen[place] = names.index(ways[furthest])
            return True
    return False


def advance(trace: Trace, state: State, place: int, *, holding: bool) -> bool:
    """Take the next option of a choice that ties channels, or that holds some; if there is one."""
    options = trace.choices[place].options
    for option in range(state.chosen.get(place, 0) + 1, len(options)):
        if bool(options[option].held.size) is holding:
            state.chosen[place] = option
            return True
    return False
