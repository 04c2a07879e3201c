"""Which positions of every tensor of a dense network are left, told by the tensors themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.comparing.evidence import Array, Nearest, Positions, assigned, located, nearest
from analysis.groups.coupling import partition
from analysis.groups.inspecting import Labelled
from analysis.network.labels.planes import Labels
from analysis.network.labels.tracing import OUTPUT

__all__ = ["Axis", "Recovered", "is_turned", "recovered"]

Axis = tuple[str, int]
"""Name of a tensor, and a dimension of it."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recovered:
    """The positions that are left of each axis, in the order in which they are.

    Attributes:
        positions: by tensor and dimension.
        known: the same, whether the tensor itself tells each beyond doubt.
        untold: axes that lost positions of which some are told by nothing.
        fixed: axes of which no position may go, as they are the network's inputs or outputs.
        margins: of axes told by the nearest slices, how many times as far the next ones are.
        trained: tensors that do not hold values of the dense network.
        unexplained: axes of these with slices that are nearer to another one, if not clearly.
        alike: axes of these that lost positions, and have slices that two dense ones explain alike.
    """

    positions: Mapping[Axis, Positions]
    known: Mapping[Axis, Mask]
    untold: tuple[Axis, ...]
    fixed: frozenset[Axis]
    margins: Mapping[Axis, float]
    trained: tuple[str, ...]
    unexplained: tuple[Axis, ...]
    alike: tuple[Axis, ...]

    def left_of(self, name: str, dense: Array) -> Array:
        """The part of a dense tensor that is left."""
        return _left(dense, [self.positions[name, dim] for dim in range(dense.ndim)])


def recovered(
    followed: Labelled,
    dense: Mapping[str, Array],
    pruned: Mapping[str, Array],
    first: Mapping[str, str],
) -> Recovered:
    """Find what is left of every tensor.

    Args:
        followed: the dense network with its channels followed.
        dense: its tensors by name, a tied one under each.
        pruned: those of the pruned network, none larger along any dimension.
        first: by name of a tensor that which it has in the pass over the dense network.
    """
    return _Recovery(followed, dense, pruned, first).answer()


def _left(dense: Array, positions: list[Positions]) -> Array:
    return np.asarray(dense[np.ix_(*positions)]) if positions else dense


class _Recovery:
    """Evidence is gathered tensor by tensor, and held together by what operators couple.

    Channels that meet stay or go at once, so each axis that tells which of them are left tells it
    of every axis that they are on.
    """

    def __init__(
        self,
        followed: Labelled,
        dense: Mapping[str, Array],
        pruned: Mapping[str, Array],
        first: Mapping[str, str],
    ) -> None:
        trace = followed.trace
        self._dense, self._pruned = dense, pruned
        of = partition(trace, [])
        leaving = [of[hold.labels] for hold in trace.holds if hold.why == OUTPUT]
        stays = np.isin(of, np.concatenate([np.zeros(1, np.int32), *leaving]))
        stays |= followed.group_of < 0
        self._classes: dict[Axis, Labels] = {}
        self._fixed: set[Axis] = set()
        for name, tensor in dense.items():
            for dim in range(tensor.ndim):
                axis, labelled = (name, dim), (first[name], dim)
                own = trace.labels(*labelled) if labelled in trace.starts else np.zeros(1, np.int32)
                self._classes[axis] = of[own]
                if tensor.shape[dim] == pruned[name].shape[dim] and stays[own].all():
                    self._fixed.add(axis)
        self._votes = np.zeros(len(of), np.int64)
        self._evidence: dict[Axis, Positions] = {}
        self._known: dict[Axis, Mask] = {}
        self._ordered: dict[tuple[bytes, int], Positions] = {}
        self._margins: dict[Axis, float] = {}
        self._clear: dict[Axis, float] = {}
        self._is_assumed = False

    def answer(self) -> Recovered:
        """All that the tensors tell."""
        inferred = [name for name in self._dense if not self._locate(name)]
        axes = [axis for name in inferred for axis in self._axes_of(name)]
        axes = [axis for axis in axes if self._values_each(axis) > 1]
        axes.sort(key=self._values_each, reverse=True)
        while self._infer(axes):
            pass
        self._is_assumed = True  # what lost nothing kept its order, where nothing tells better
        while self._infer(axes):
            pass
        found = {axis: self._filled(axis) for axis in self._classes}
        positions = {axis: own for axis, (own, _) in found.items()}
        untold = tuple(
            axis
            for axis, (own, told) in found.items()
            if not told and len(own) < self._dense[axis[0]].shape[axis[1]]
        )
        trained = tuple(name for name in self._dense if not self._is_original(name, positions))
        unexplained, alike = self._looked_at_again(trained, positions)
        return Recovered(
            positions=positions,
            known={axis: self._known.get(axis, own < 0) for axis, own in positions.items()},
            untold=untold,
            fixed=frozenset(self._fixed),
            margins=self._margins,
            trained=trained,
            unexplained=tuple(unexplained),
            alike=tuple(alike),
        )

    def _axes_of(self, name: str) -> list[Axis]:
        return [(name, dim) for dim in range(self._dense[name].ndim)]

    def _locate(self, name: str) -> bool:
        """Whether a tensor holds values of the dense one, which tell where they were."""
        dense, pruned = self._dense[name], self._pruned[name]
        if not pruned.ndim or not pruned.size:
            return True
        found = located(dense, pruned)
        if found is None:
            return False
        for axis, positions in zip(self._axes_of(name), found, strict=True):
            self._note(axis, positions)
            self._known[axis] = positions >= 0
        return True

    def _note(self, axis: Axis, positions: Positions) -> None:
        """Take what a tensor tells of one of its axes."""
        known = positions[positions >= 0]
        if not known.size:
            return
        self._evidence[axis] = positions
        classes = self._classes[axis]
        if len(classes) <= known.max():
            return  # a dimension of size 1 has no labels
        stay = np.unique(classes[known])
        self._votes[stay] += 1
        if known.size == positions.size:
            self._votes[np.setdiff1d(classes, stay)] -= 1
            self._ordered.setdefault((classes.tobytes(), positions.size), positions)

    def _filled(self, axis: Axis) -> tuple[Positions, bool]:
        """The positions left of an axis, and whether its tensor or its group tells them all."""
        name, dim = axis
        width, size = self._dense[name].shape[dim], self._pruned[name].shape[dim]
        own = self._evidence.get(axis, np.full(size, -1, np.int64))
        if (own >= 0).all():
            return own, True
        if axis in self._fixed and (own < 0).all():
            return np.arange(size), True
        classes = self._classes[axis]
        like = self._ordered.get((classes.tobytes(), size))
        if like is not None:
            return np.where(own < 0, like, own), True
        if width == 1:
            return np.zeros(size, np.int64), True
        votes = self._votes[classes]
        votes = np.where(np.isin(np.arange(width), own), np.iinfo(np.int64).min, votes)
        slots = int((own < 0).sum())
        likely = np.argsort(-np.sign(votes), kind="stable")
        filled = own.copy()
        filled[own < 0] = np.sort(likely[:slots])
        is_whole = size == width and self._is_assumed
        return filled, is_whole or (int((votes > 0).sum()) == slots)

    def _settled(self, axis: Axis) -> Positions | None:
        positions, is_told = self._filled(axis)
        return positions if is_told else None

    def _values_each(self, axis: Axis) -> int:
        """Values of each slice along an axis, by which it is told from others."""
        return self._pruned[axis[0]].size // self._pruned[axis[0]].shape[axis[1]]

    def _infer(self, axes: list[Axis]) -> bool:
        """Whether one more of these axes is told by what is nearest, the clearest first.

        Where a tensor's other axis is scrambled its slices are near to none, and what they would
        tell of a group is better told by another tensor. What is told is taken from the list.
        """
        axes[:] = [axis for axis in axes if self._settled(axis) is None]
        clearest, share = None, -1.0
        for axis in axes:
            known = self._known_beside(axis)
            if known is None:
                continue
            if axis not in self._clear:
                self._clear[axis] = float(nearest(*self._slices(axis, known)).clear.mean())
            if self._clear[axis] > share:
                clearest, share = axis, self._clear[axis]
            if share == 1:
                break
        if clearest is None:
            return False
        known = self._known_beside(clearest) or {}
        self._note(clearest, assigned(*self._slices(clearest, known)))
        return True

    def _known_beside(self, axis: Axis) -> dict[Axis, Positions] | None:
        """What is left of a tensor's other axes; None where that is not told yet."""
        others = [other for other in self._axes_of(axis[0]) if other != axis]
        known: dict[Axis, Positions] = {}
        for other in others:
            positions = self._settled(other)
            if positions is None:
                return None
            known[other] = positions
        return known

    def _slices(self, axis: Axis, positions: Mapping[Axis, Positions]) -> tuple[Array, Array]:
        name, dim = axis
        dense, pruned = self._dense[name], self._pruned[name]
        kept = [
            np.arange(dense.shape[dim]) if other == axis else positions[other]
            for other in self._axes_of(name)
        ]
        rows = np.moveaxis(_left(dense, kept), dim, 0).reshape(dense.shape[dim], -1)
        return rows, np.moveaxis(pruned, dim, 0).reshape(pruned.shape[dim], -1)

    def _is_original(self, name: str, positions: Mapping[Axis, Positions]) -> bool:
        kept = [positions[axis] for axis in self._axes_of(name)]
        return np.array_equal(_left(self._dense[name], kept), self._pruned[name], equal_nan=True)

    def _looked_at_again(
        self, trained: tuple[str, ...], positions: dict[Axis, Positions]
    ) -> tuple[list[Axis], list[Axis]]:
        """Hold every axis of trained tensors against what is now known of their others.

        A slice that is clearly another one than its group says is what it is.
        """
        every = [axis for name in trained for axis in self._axes_of(name) if self._is_many(axis)]
        axes = [axis for axis in every if self._values_each(axis) > 1]
        for _ in range(_ROUNDS):
            nearests = [self._corrected(axis, positions) for axis in axes]
            if not any(is_other for _, is_other in nearests):
                break
        else:
            nearests = [(nearest(*self._slices(axis, positions)), False) for axis in axes]
        vectors = [axis for axis in every if self._values_each(axis) == 1]
        unexplained = [axis for axis in vectors if self._is_turned(axis, positions)]
        alike = []
        for axis, (near, _) in zip(axes, nearests, strict=True):
            rows, own = self._slices(axis, positions)[0], positions[axis]
            is_other = near.best != own
            if (is_other & ~_alike(rows, near.best, own)).any():
                unexplained.append(axis)
            if len(own) < len(rows) and _alike(rows, near.best, near.second).any():
                alike.append(axis)
            self._known[axis] = near.clear & ~is_other
            if not is_other.all():
                ratios = near.further[~is_other] / np.maximum(near.distance[~is_other], _LEAST)
                self._margins[axis] = float(np.sqrt(ratios.min()))
        return unexplained, alike

    def _is_many(self, axis: Axis) -> bool:
        return self._dense[axis[0]].shape[axis[1]] > 1

    def _is_turned(self, axis: Axis, positions: Mapping[Axis, Positions]) -> bool:
        """Whether numbers are by far nearer to what they should be in another order."""
        rows, found = self._slices(axis, positions)
        return is_turned(rows[positions[axis], 0].astype(np.float64), found[:, 0])

    def _corrected(self, axis: Axis, positions: dict[Axis, Positions]) -> tuple[Nearest, bool]:
        """What slices are nearest to, and whether that is clearly not what they were taken for."""
        near = nearest(*self._slices(axis, positions))
        is_other = near.clear & (near.best != positions[axis])
        if is_other.any():
            positions[axis] = np.where(is_other, near.best, positions[axis])
        return near, bool(is_other.any())


def is_turned(before: Array, after: Array) -> bool:
    """Whether numbers are by far nearer to what they were in another order."""
    apart = ((after - before) ** 2).sum()
    sorted_apart = ((np.sort(after) - np.sort(before)) ** 2).sum()
    return bool(apart > max(_TURNED, len(after)) * sorted_apart)


def _alike(rows: Array, one: Positions, other: Positions) -> Mask:
    """Whether slices are as good as equal, or dead."""
    apart = ((rows[one] - rows[other]) ** 2).sum(1)
    return np.asarray(apart <= _ALIKE * (rows**2).sum(1).mean())


_ROUNDS = 3
"""How often axes are held against each other, at the most."""

_ALIKE = 1e-2
"""Squared distance of two slices, of the mean square of all, that counts as none."""

_TURNED = 100
"""How many times less another order must leave unexplained; their count, where that is more.

Of n numbers that moved by as much as they differ, the best order leaves about the n-th part.
"""

_LEAST = 1e-300
"""Stands for a distance of zero."""
