"""Which labels of a labelled pass are removed together, and which cannot be removed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.network.labels import reasons
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Block, Hold, Trace

__all__ = ["Classes", "classes_of", "components", "joined", "partition"]


@dataclass(frozen=True, eq=False)
class Classes:
    """A partition of the labels of a pass.

    Attributes:
        of: for each label, its class: the smallest label in it; 0 for no channel.
        held: for each label, the hold on its class, as an index into ``holds``; -1 for a removable
            class.
        holds: every hold.
        everything: labels whose class is a whole axis of some tensor.
        parts: labels that represent several labels of different classes.
    """

    of: NDArray[np.int32]
    held: NDArray[np.int32]
    holds: tuple[Hold, ...]
    everything: Labels
    parts: tuple[Block, ...] = ()

    def why(self, label: int) -> Hold | None:
        """The hold on a label, if there is one."""
        place = self.held[label]
        return None if place < 0 else self.holds[place]


def classes_of(
    trace: Trace,
    chosen: Mapping[int, int],
    ties: Sequence[tuple[Labels, Labels]] = (),
    holds: Sequence[Hold] = (),
) -> Classes:
    """The partition under these options of the choices that a pass left open.

    Args:
        trace: a pass over the dense network.
        chosen: the option of each choice by its index; by default the first.
        ties: further labels that are removed together.
        holds: further labels that cannot be removed.
    """
    options = [choice.options[chosen.get(place, 0)] for place, choice in enumerate(trace.choices)]
    of = partition(trace, [*((option.one, option.other) for option in options), *ties])
    kept = [*trace.holds, *holds]
    kept += [
        Hold(choice.step, option.why or option.name, option.held)
        for choice, option in zip(trace.choices, options, strict=True)
        if option.held.size
    ]
    parts = tuple(_parts(trace, of))
    kept += [Hold(block.step, reasons.PARTLY, block.labels) for block in parts]
    everything = _everything(trace, of)
    kept.append(Hold(-1, reasons.ALL, everything))
    return Classes(of, _held(of, kept), tuple(kept), everything, parts)


def _parts(trace: Trace, of: NDArray[np.int32]) -> Iterator[Block]:
    """Labels that represent several labels of different classes."""
    for block in trace.blocks:
        parted = ~_is_whole(block, of)
        if parted.any():
            yield Block(block.step, block.labels[parted], block.rows[parted])


def partition(trace: Trace, ties: Sequence[tuple[Labels, Labels]]) -> NDArray[np.int32]:
    """For each label of a pass, the smallest label of its class.

    Args:
        trace: a pass over the dense network.
        ties: labels that go together beside those that its operators couple.
    """
    one = [edge.one for edge in trace.edges] + [tie[0] for tie in ties]
    other = [edge.other for edge in trace.edges] + [tie[1] for tie in ties]
    of = components(trace.count, _joined(one), _joined(other))
    while trace.blocks:
        # A label that represents several of one class is removed with them.
        whole = [(block, _is_whole(block, of)) for block in trace.blocks]
        one.append(_joined([block.labels[fits] for block, fits in whole]))
        other.append(_joined([block.rows[fits, 0] for block, fits in whole]))
        after = components(trace.count, _joined(one), _joined(other))
        if (after == of).all():
            break
        of = after
    return of


def _everything(trace: Trace, of: NDArray[np.int32]) -> Labels:
    """Labels of axes that would be left empty."""
    starts = np.fromiter(trace.starts.values(), np.int64, len(trace.starts))
    ends = starts + np.fromiter(trace.sizes.values(), np.int64, len(trace.starts))
    own = [of[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return np.array([labels[0] for labels in own if (labels == labels[0]).all()], np.int32)


def _is_whole(block: Block, of: NDArray[np.int32]) -> NDArray[np.bool_]:
    rows = of[block.rows]
    return np.asarray((rows == rows[:, :1]).all(1) & (rows[:, 0] > 0))


def _joined(parts: Sequence[Labels]) -> Labels:
    return np.concatenate([np.zeros(0, np.int32), *(part.ravel() for part in parts)])


def _held(of: NDArray[np.int32], holds: Sequence[Hold]) -> NDArray[np.int32]:
    by_class = np.full(len(of), -1, np.int32)
    for place in range(len(holds) - 1, -1, -1):
        by_class[of[holds[place].labels]] = place
    held = by_class[of]
    held[0] = -1
    return held


def components(count: int, one: Labels, other: Labels) -> NDArray[np.int32]:
    """For each of so many nodes the smallest that edges connect it with."""
    parent = np.arange(count, dtype=np.int32)
    while True:
        first, second = parent[one], parent[other]
        apart = first != second
        if not apart.any():
            return parent
        low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        np.minimum.at(parent, high, low)
        while (further := parent[parent]).tobytes() != parent.tobytes():
            parent = further


def joined(makers: Sequence[Labels]) -> Iterator[list[int]]:
    """Places of axes that have classes in common, directly or through others."""
    classes = np.concatenate([np.zeros(0, np.int32), *makers])
    places = np.repeat(np.arange(len(makers), dtype=np.int32), [len(own) for own in makers])
    first = np.zeros(classes.max(initial=0) + 1, np.int32)
    first[classes[::-1]] = places[::-1]
    of = components(len(makers), first[classes], places)
    for place in np.unique(of).tolist():
        yield np.flatnonzero(of == place).tolist()
