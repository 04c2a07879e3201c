"""What cuts have shown so far, and layouts that are brought to one way of being cut."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.groups.coupling import Classes, classes_of
from analysis.network.cutting import Repeated
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Hold, Trace

__all__ = ["State", "advance", "free", "reconciled"]


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
    for _ in range(len(trace.choices) + 1):
        classes = state.classes(trace)
        laid_out = [
            (place, np.unique(classes.of[choice.labels]))
            for place, choice in enumerate(trace.choices)
            if choice.options[state.chosen.get(place, 0)].one.size
        ]
        moved = False
        for conflict in _conflicts(trace, classes):
            places = [place for place, own in laid_out if np.isin(own, conflict).any()]
            moved |= len(places) > 0 and _agree(trace, state, places)
        if not moved and not _freed(trace, state, classes, laid_out):
            return classes
    return state.classes(trace)


def _freed(
    trace: Trace, state: State, classes: Classes, laid_out: Sequence[tuple[int, Labels]]
) -> bool:
    """Cut layouts in another way where their blocks stay, as heads that share one of the keys."""
    made = _made(trace, classes)
    for hold in trace.holds:
        kept = classes.of[hold.labels[hold.labels >= trace.base]]
        kept = kept[made[kept]]
        before = dict(state.chosen)
        places = [place for place, own in laid_out if np.isin(own, kept).any()]
        if sum(advance(trace, state, place, holding=False) for place in places):
            if free(trace, state.classes(trace)) > free(trace, classes):
                return True
            state.chosen = before
    return False


def free(trace: Trace, classes: Classes) -> int:
    """Positions of tensors that may go."""
    return int((classes.held[: trace.base] < 0).sum())


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
