"""Labels that meet in one operator: which are coupled, and what only a cut can decide."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import torch
from torch import Tensor

from analysis.network.labels import reasons
from analysis.network.labels.planes import (
    NO_LABELS,
    Labels,
    Planes,
    axes_of,
    compact,
    distinct,
    is_full,
    labels_of,
    rows_of,
)
from analysis.network.labels.records import Block, Choice, Combining, Edge, Hold, Option, Trace

__all__ = ["Meeting", "Operand"]

_FOLLOWS = Option("follows", NO_LABELS, NO_LABELS, NO_LABELS)


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor in the index space of an operator.

    Attributes:
        planes: with one dimension for each of the space's.
        extents: its size along each; 1 where it is broadcast.
        loose: dimensions along which it holds the same value everywhere, having been made in
            forward of sizes and numbers alone or expanded, so that a cut may find it smaller.
    """

    planes: Planes
    extents: tuple[int, ...]
    loose: frozenset[int] = frozenset()


class Meeting:
    """Writes down what meets in the operators of one pass."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._blocks: dict[bytes, int] = {}
        self._known: set[bytes] = set()
        self._chosen: set[tuple[str, bytes]] = set()

    @property
    def step(self) -> int:
        """Number of the operator that is being followed."""
        return len(self.trace.steps)

    def hold(self, labels: Labels, why: str) -> None:
        """Labels that cannot go."""
        labels = labels[labels > 0]
        if labels.size:
            self.trace.holds.append(Hold(self.step, why, np.unique(labels)))

    def combine(self, plane: Tensor, over: Iterable[int], what: str) -> None:
        """Something is taken over these dimensions, for each place along the others."""
        self.trace.combined.append(Combining(self.step, what, rows_of(plane, over)))

    def couple(self, one: Tensor, other: Tensor, why: str) -> None:
        """Labels in the same place go together."""
        first, second = labels_of(one), labels_of(other)
        if first.shape != second.shape:
            first, second = np.broadcast_arrays(first, second)
        first, second = first.ravel(), second.ravel()
        both = first != second
        if not (is_full(one) and is_full(other)):
            both &= (first > 0) & (second > 0)
            lone = (first > 0) != (second > 0)
            if lone.any():
                self._follow_or_hold((first + second)[lone], reasons.PADDED)
        count = np.count_nonzero(both)
        if 0 < count < both.size:
            first, second = first[both], second[both]
        if count:
            self.trace.edges.append(Edge(self.step, why, first, second))

    def joined(
        self, operands: Sequence[Operand], why: str, *, is_product: bool = False
    ) -> list[Tensor]:
        """The planes of what comes of operands that meet element by element.

        Channels that meet a tensor of a fixed size stay, and what comes of them is theirs. A
        product may lie along dimensions that a single head or channel has lost, and is followed no
        further along these.
        """
        result: list[Tensor] = []
        for operand in operands:
            for plane in operand.planes:
                self._join(result, plane, why)
        for operand in operands:
            own = frozenset().union(*map(axes_of, operand.planes))
            for plane in list(result):
                for axis in axes_of(plane) - own:
                    if operand.extents[axis] > 1:
                        is_loose = axis in operand.loose
                        self._unfollowed(plane, axis, is_loose)
                        if is_product and not is_loose and axes_of(plane) == {axis}:
                            result[:] = [other for other in result if other is not plane]
        return result

    def _join(self, result: list[Tensor], plane: Tensor, why: str) -> None:
        own = axes_of(plane)
        for place, other in enumerate(result):
            theirs = axes_of(other)
            shared = own & theirs
            if not shared:
                continue
            self.couple(self.over(other, shared), self.over(plane, shared), why)
            if own == theirs:
                if not is_full(other):
                    result[place] = torch.where(other == 0, plane, other)
                return
            if own < theirs:
                return
            if theirs < own:
                result[place] = plane
                return
        result.append(plane)

    def over(self, plane: Tensor, axes: frozenset[int]) -> Tensor:
        """The plane along some of its dimensions: a label for all that lie in the same place."""
        if axes_of(plane) <= axes:
            return plane
        kept = sorted(axes)
        rest = [dim for dim in range(plane.dim()) if dim not in axes]
        sizes = [plane.shape[dim] for dim in kept]
        rows = plane.permute(*kept, *rest).reshape(int(np.prod(sizes)), -1).numpy()
        found = np.zeros(len(rows), np.int32)
        fresh = []
        for place, row in enumerate(rows):
            key = row.tobytes()
            if key not in self._blocks:
                if not row.any():
                    self._blocks[key] = 0
                else:
                    self._blocks[key] = self.trace.count
                    self.trace.count += 1
                    fresh.append(place)
            found[place] = self._blocks[key]
        if fresh:
            self.trace.blocks.append(Block(self.step, found[fresh], rows[fresh].copy()))
        shape = [size if dim in axes else 1 for dim, size in enumerate(plane.shape)]
        return torch.from_numpy(found).view(shape)

    def apart(self, planes: Sequence[Tensor]) -> list[Tensor]:
        """Planes of which no two lie along the same dimensions, as those of a flattened weight."""
        found: list[Tensor] = []
        for plane in planes:
            axes = axes_of(plane)
            alike = (place for place, other in enumerate(found) if axes and axes_of(other) == axes)
            place = next(alike, None)
            if place is None:
                found.append(plane)
            elif plane is not found[place]:
                found[place] = self._paired(found[place], plane)
        return found

    def _paired(self, one: Tensor, other: Tensor) -> Tensor:
        """One label for each pair; either may go with it, and what the other stands for stays."""
        made = torch.where(one == 0, other, one)
        both = (one > 0) & (other > 0) & (one != other)
        pairs = list(zip(one[both].tolist(), other[both].tolist(), strict=True))
        fresh = [pair for pair in dict.fromkeys(pairs) if pair not in self.trace.pairs]
        for pair in fresh:
            self.trace.halves[self.trace.count] = pair
            self.trace.pairs[pair] = self.trace.count
            self.trace.count += 1
        made[both] = torch.tensor([self.trace.pairs[pair] for pair in pairs], dtype=torch.int32)
        if fresh:
            labels = np.array([self.trace.pairs[pair] for pair in fresh], np.int32)
            parts = np.array(fresh, np.int32).T
            # Channels themselves before what stands for several, and of these the most.
            finest = sorted(
                (1, 0),
                key=lambda n: (self._is_block(int(parts[n].max())), -len(np.unique(parts[n]))),
            )
            ways = [
                Option(
                    f"alike along {place}",
                    labels,
                    parts[place],
                    np.unique(parts[1 - place]),
                    reasons.FLATTENED,
                )
                for place in finest
            ]
            self.choose(labels, [*ways, _held(np.concatenate([labels, *parts]), reasons.FIXED)])
        return made

    def _is_block(self, label: int) -> bool:
        """Whether it stands for several labels, and not for a pair of positions."""
        if label in self.trace.halves:
            return any(map(self._is_block, self.trace.halves[label]))
        return label >= self.trace.base

    def parted(self, plane: Tensor) -> list[Tensor]:
        """The planes that were flattened into one, where each lies along dimensions of its own."""
        labels, known = labels_of(plane), self.trace.halves
        # Most planes are of no pairs, which one label tells.
        if labels.ndim < 2 or int(labels.flat[0]) not in known:
            return [plane]
        if not all(label in known for label in distinct(labels)):
            return [plane]
        halves = np.zeros((self.trace.count, 2), np.int32)
        for label in distinct(labels):
            halves[label] = known[label]
        found = [compact(torch.from_numpy(halves[plane.numpy(), n])) for n in (0, 1)]
        one, other = (half for half in found if half is not None)
        if axes_of(one) & axes_of(other):
            return [plane]
        return [*self.parted(one), *self.parted(other)]

    def _unfollowed(self, plane: Tensor, axis: int, is_loose: bool) -> None:
        labels = labels_of(self.over(plane, frozenset({axis})))
        if is_loose:
            self._follow_or_hold(labels, reasons.FIXED_TENSOR)
        else:
            self.hold(labels, reasons.UNCUT)

    def _follow_or_hold(self, labels: Labels, why: str) -> None:
        labels = np.unique(labels[labels > 0])
        self.choose(
            labels,
            [_FOLLOWS, Option(why, NO_LABELS, NO_LABELS, labels)],
        )

    def choose(self, labels: Labels, options: Sequence[Option]) -> None:
        """Several ways to go on that only a cut can tell apart."""
        key = (options[0].name, labels.tobytes())
        if key not in self._chosen:
            self._chosen.add(key)
            self.trace.choices.append(Choice(self.step, labels, tuple(options)))

    def layout(self, plane: Tensor, first: int | None = None, *, was_one: bool = True) -> None:
        """Labels along several dimensions: what is left must have as many in each row.

        Args:
            plane: of a tensor.
            first: the dimension whose positions are what goes, to be tried before others; None
                is that with the most.
            was_one: whether the labels lay along one dimension before; if not, the operator that
                laid them out has seen to it.
        """
        labels = labels_of(plane)
        if labels.ndim < 2:
            if labels.ndim == 0 and labels:
                self.hold(labels.reshape(1), reasons.INDEXED)
            return
        key = labels.tobytes() + bytes(str(labels.shape), "ascii")
        if key in self._known:
            return
        self._known.add(key)
        order = sorted(range(labels.ndim), key=lambda axis: (axis != first, -labels.shape[axis]))
        alike = [_alike(labels, axis) for axis in order]
        free = [] if was_one else [_FOLLOWS]
        self.choose(labels, [*free, *alike, _held(labels, reasons.FIXED)])

    def steps(self, plane: Tensor, step: int) -> None:
        """Labels along one dimension, of which an operator may ask for a multiple of so many."""
        labels = labels_of(plane)
        if labels.ndim == 1 and step > 1 and not labels.size % step:
            free = Option("any number", NO_LABELS, NO_LABELS, NO_LABELS)
            self.choose(labels, [free, _blocks(labels, step), _held(labels, reasons.FIXED)])

    def turned(self, plane: Tensor, part: Tensor | None) -> None:
        """The last labels come to the front: so many of them as a number or a size says."""
        if part is None or len(axes_of(plane)) != 1 or part.shape != plane.shape:
            return
        before, after = labels_of(plane), labels_of(part)
        first = int((before == after[0]).argmax())
        if first and np.array_equal(np.roll(before, -first), after):
            places = np.arange(len(before), dtype=np.int32)
            ways = _partings(before[:, None], [places[:first], places[first:]])
            # Of a roll by a number of places, the front and the end cannot both follow a cut.
            free = [_FOLLOWS] if len(before) == 2 else []
            self.choose(before, [*free, *ways])

    def parts(self, plane: Tensor, found: Sequence[Tensor | None]) -> None:
        """Some labels leave a tensor by their position: those left must be as many as before."""
        if all(part is None for part in found):
            return
        for axis in axes_of(plane):
            slabs = np.moveaxis(plane.numpy(), axis, 0).reshape(plane.shape[axis], -1)
            left = [
                np.flatnonzero(np.isin(slabs, part.numpy()).any(1)).astype(np.int32)
                if part is not None
                else NO_LABELS
                for part in found
            ]
            if any(len(places) < len(slabs) for places in left):
                # Rows of several dimensions are as long as each other already.
                free = [_FOLLOWS] if slabs.shape[1] > 1 else []
                self.choose(slabs, [*free, *_partings(slabs, left)])


def _alike(labels: Labels, axis: int) -> Option:
    """Labels in the same place of one dimension go together."""
    slabs = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    one, other = np.broadcast_arrays(slabs[:, :1], slabs[:, 1:])
    both = (one > 0) & (other > 0)
    return Option(f"alike along {axis}", one[both], other[both], NO_LABELS)


def _held(labels: Labels, why: str) -> Option:
    labels = np.unique(labels[labels > 0])
    return Option(why, NO_LABELS, NO_LABELS, labels)


def _blocks(slabs: Labels, step: int) -> Option:
    """So many neighbours go together."""
    rows = slabs.reshape(len(slabs) // step, -1)
    one, other = np.broadcast_arrays(rows[:, :1], rows[:, 1:])
    return Option("blocks of a step", one.ravel(), other.ravel(), NO_LABELS)


def _partings(slabs: Labels, left: Sequence[Labels]) -> list[Option]:
    """How positions 0 to n of an axis can be parted, the finest first."""
    count = len(slabs)
    options = []
    firsts = [places for places in left if len(places)]
    steps = {int(step) for places in firsts for step in np.unique(np.diff(places))}
    if steps <= {1}:
        bounds = sorted({0, count, *(int(p[0]) for p in firsts), *(int(p[-1]) + 1 for p in firsts)})
        block = gcd(*np.diff(bounds).tolist())
        if 1 < block < count:
            options.append(
                Option(
                    "as many of each part", slabs[:-block].ravel(), slabs[block:].ravel(), NO_LABELS
                )
            )
        if len(bounds) == 3:
            middle = bounds[1]
            options += [
                _held(slabs[:middle], reasons.FIXED_PART),
                _held(slabs[middle:], reasons.FIXED_PART),
            ]
    elif len(steps) == 1 and not count % (step := steps.pop()):
        options.append(_blocks(slabs, step))
    return [*options, _held(slabs, reasons.FIXED_PART)]
