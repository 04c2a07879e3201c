"""Recover the kept positions of every tensor of a dense network from the values of the tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.comparing.evidence import Array, Nearest, Positions, assigned, located, nearest
from analysis.groups.coupling import partition
from analysis.groups.inspecting import Labelled
from analysis.network.labels.planes import Labels
from analysis.network.labels.reasons import OUTPUT

__all__ = ["Axis", "Recovered", "is_turned", "recovered"]

Axis = tuple[str, int]
"""Name of a tensor, and a dimension of it."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recovered:
    """The kept positions of each axis, in their order in the pruned network.

    Attributes:
        positions: by tensor and dimension.
        known: for each of them, whether the tensor itself identifies it for certain.
        unknown: axes with positions that nothing identifies.
        fixed: axes that cannot lose positions, because they are inputs or outputs of the network.
        margins: for axes identified by the nearest slices, the ratio of the distances of the second
            nearest and the nearest.
        trained: tensors that do not hold values of the dense network.
        unexplained: axes of these with slices that are slightly nearer to another one.
        alike: axes of these that lost positions and have slices that two dense ones explain alike.
    """

    positions: Mapping[Axis, Positions]
    known: Mapping[Axis, Mask]
    unknown: tuple[Axis, ...]
    fixed: frozenset[Axis]
    margins: Mapping[Axis, float]
    trained: tuple[str, ...]
    unexplained: tuple[Axis, ...]
    alike: tuple[Axis, ...]

    def left_of(self, name: str, dense: Array) -> Array:
        """The kept part of a dense tensor."""
        return _left(dense, [self.positions[name, dim] for dim in range(dense.ndim)])


def recovered(
    followed: Labelled,
    dense: Mapping[str, Array],
    pruned: Mapping[str, Array],
    first: Mapping[str, str],
) -> Recovered:
    """Find the kept positions of every tensor.

    Args:
        followed: the labelled pass of the dense network.
        dense: its tensors by name; a tied one has an entry for each of its names.
        pruned: those of the pruned network, none larger along any dimension.
        first: the name of each tensor in the labelled pass of the dense network.
    """
    return _Recovery(followed, dense, pruned, first).answer()


def _left(dense: Array, positions: list[Positions]) -> Array:
    return np.asarray(dense[np.ix_(*positions)]) if positions else dense


class _Recovery:
    """Collects evidence tensor by tensor, and combines it over coupled axes.

    Coupled channels are kept or removed together, so an axis that identifies them does so for every
    axis that they are on.
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
        """The kept positions of all axes."""
        inferred = [name for name in self._dense if not self._locate(name)]
        axes = [axis for name in inferred for axis in self._axes_of(name)]
        axes = [axis for axis in axes if self._values_each(axis) > 1]
        axes.sort(key=self._values_each, reverse=True)
        while self._infer(axes):
            pass
        self._is_assumed = (
            True  # an axis that lost nothing kept its order, unless a tensor says otherwise
        )
        while self._infer(axes):
            pass
        found = {axis: self._filled(axis) for axis in self._classes}
        positions = {axis: own for axis, (own, _) in found.items()}
        unknown = tuple(
            axis
            for axis, (own, is_known) in found.items()
            if not is_known and len(own) < self._dense[axis[0]].shape[axis[1]]
        )
        trained = tuple(name for name in self._dense if not self._is_original(name, positions))
        unexplained, alike = self._looked_at_again(trained, positions)
        return Recovered(
            positions=positions,
            known={axis: self._known.get(axis, own < 0) for axis, own in positions.items()},
            unknown=unknown,
            fixed=frozenset(self._fixed),
            margins=self._margins,
            trained=trained,
            unexplained=tuple(unexplained),
            alike=tuple(alike),
        )

    def _axes_of(self, name: str) -> list[Axis]:
        return [(name, dim) for dim in range(self._dense[name].ndim)]

    def _locate(self, name: str) -> bool:
        """Whether a tensor holds values of the dense one, which identify its positions."""
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
        """Record the positions that a tensor identifies on one of its axes."""
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
        """The kept positions of an axis, and whether all of them are known."""
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
        positions, is_known = self._filled(axis)
        return positions if is_known else None

    def _values_each(self, axis: Axis) -> int:
        """The values of each slice along an axis."""
        return self._pruned[axis[0]].size // self._pruned[axis[0]].shape[axis[1]]

    def _infer(self, axes: list[Axis]) -> bool:
        """Whether the nearest slices identify one more of these axes, the clearest first.

        If another axis of a tensor is scrambled, its slices are near to none, and another tensor of
        the group identifies it better. An identified axis is removed from the list.
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
        """The kept positions of a tensor's other axes; None if one is not identified yet."""
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
        """Compare every axis of trained tensors with what is now known of their other axes.

        A slice that is clearly another dense slice than its group says is taken as that one.
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
        """Whether values are by far nearer to the expected ones in another order."""
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
    """Whether slices are nearly equal, or zero."""
    apart = ((rows[one] - rows[other]) ** 2).sum(1)
    return np.asarray(apart <= _ALIKE * (rows**2).sum(1).mean())


_ROUNDS = 3
"""The greatest number of rounds of comparing axes."""

_ALIKE = 1e-2
"""Squared distance of two slices, relative to the mean square of all, that counts as zero."""

_TURNED = 100
"""How many times less another order must leave unexplained; at least the number of values.

If n values moved as far as they differ, the best order leaves about the n-th part.
"""

_LEAST = 1e-300
"""The value used for a distance of zero."""
