"""Planes of labels: which channel each element of a tensor carries.

A label is a positive integer, one for each position on each axis of a parameter; 0 is no channel.
A plane is an int32 tensor with as many dimensions as the tensor that it describes, of size 1 along
every dimension along which its labels do not vary. A tensor has a plane for each independent reason
why an element may go: a weight of shape (out, in) has one along ``out`` and one along ``in``. When
channels are removed, an element stays where no plane has a removed label.
"""

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "NO_LABELS",
    "Labels",
    "Planes",
    "axes_of",
    "axis_plane",
    "compact",
    "distinct",
    "is_full",
    "labels_of",
    "relaid",
    "reshaped",
    "rows_of",
    "spread",
    "varying",
    "without",
]

Planes = tuple[Tensor, ...]
Labels = NDArray[np.int32]

NO_LABELS: Labels = np.zeros(0, np.int32)


def axis_plane(labels: Labels, dims: int, axis: int) -> Tensor:
    """A channel for each position of an axis, as a plane of a tensor with so many dimensions."""
    shape = [1] * dims
    shape[axis] = labels.size
    plane = torch.from_numpy(labels.reshape(shape))
    plane._labels, plane._full = labels.squeeze(), True  # type: ignore[attr-defined]
    return plane


def relaid(plane: Tensor, shape: Sequence[int]) -> Tensor:
    """The plane in another shape, with what is known of its labels."""
    made = plane.reshape(shape)
    varying = [size for size in made.shape if size != 1]
    made._labels, made._full = labels_of(plane).reshape(varying), is_full(plane)  # type: ignore[attr-defined]
    return made


def axes_of(plane: Tensor) -> frozenset[int]:
    """The dimensions along which the labels vary."""
    known: frozenset[int] | None = getattr(plane, "_axes", None)
    if known is None:
        known = frozenset(dim for dim, size in enumerate(plane.shape) if size > 1)
        plane._axes = known  # type: ignore[attr-defined]
    return known


def labels_of(plane: Tensor) -> Labels:
    """The labels, one dimension for each along which they vary."""
    known: Labels | None = getattr(plane, "_labels", None)
    if known is None:
        known = plane.squeeze().numpy()
        plane._labels = known  # type: ignore[attr-defined]
    return known


def rows_of(plane: Tensor, over: Iterable[int]) -> Labels:
    """The labels that lie along some dimensions, a row for each place along the others."""
    columns = sorted(axes_of(plane) & frozenset(over))
    rest = [dim for dim in range(plane.dim()) if dim not in columns]
    size = prod(plane.shape[dim] for dim in columns)
    return plane.permute(*rest, *columns).reshape(-1, size).numpy()


def is_full(plane: Tensor) -> bool:
    """Whether every element carries a channel."""
    known: bool | None = getattr(plane, "_full", None)
    if known is None:
        labels = labels_of(plane)
        known = np.count_nonzero(labels) == labels.size
        plane._full = known  # type: ignore[attr-defined]
    return known


def distinct(labels: Labels) -> list[int]:
    """The different labels in order. Most often there is one, which needs no sorting."""
    if labels.size and (labels == labels.flat[0]).all():
        return [int(labels.flat[0])]
    return [int(label) for label in np.unique(labels)]


def varying(labels: Labels) -> Labels:
    """The labels along the dimensions along which they vary."""
    if not labels.size:
        return labels
    for axis in range(labels.ndim - 1, -1, -1):
        first = labels.take([0], axis)
        if (labels == first).all():
            labels = first.squeeze(axis)
    return labels


def spread(plane: Tensor, shape: Sequence[int]) -> Tensor:
    """One label for each element of a tensor of this shape."""
    return plane.expand(shape)


def compact(labels: Tensor) -> Tensor | None:
    """The plane of one label for each element; None where no element carries a channel."""
    for dim, size in enumerate(labels.shape):
        if not size:
            return None
        if size > 1:
            first = labels.narrow(dim, 0, 1)
            if labels.stride(dim) == 0 or bool((labels == first).all()):
                labels = first
    return labels if bool(labels.any()) else None


def reshaped(plane: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor | None:
    """The plane after the tensor was reshaped; only what varies is written out."""
    if prod(after) == 0:
        return None
    parts: list[int] = []
    shape: list[int] = []
    split = False
    for own, made in _segments(before, after):
        varies = any(plane.shape[dim] > 1 for dim in own)
        parts += [before[dim] if varies else 1 for dim in own]
        shape += [after[dim] if varies else 1 for dim in made]
        split |= varies and len(made) > 1
    flat = plane.expand(parts).reshape(shape)
    return compact(flat) if split else flat


def _segments(
    before: Sequence[int], after: Sequence[int]
) -> Iterable[tuple[Sequence[int], Sequence[int]]]:
    """Runs of dimensions of both shapes that hold the same elements."""
    i = j = 0
    while i < len(before) or j < len(after):
        own: list[int] = []
        made: list[int] = []
        left = right = 1
        while True:
            if i < len(before) and (left < right or not own):
                left *= before[i]
                own.append(i)
                i += 1
            elif j < len(after) and (right < left or not made):
                right *= after[j]
                made.append(j)
                j += 1
            elif left == right:
                break
            elif i < len(before):
                left *= before[i]
                own.append(i)
                i += 1
            else:
                right *= after[j]
                made.append(j)
                j += 1
        # What is left over has a single element.
        if i == len(before):
            made += range(j, len(after)) if all(size == 1 for size in after[j:]) else ()
            j = made[-1] + 1 if made else j
        if j == len(after):
            own += range(i, len(before)) if all(size == 1 for size in before[i:]) else ()
            i = own[-1] + 1 if own else i
        yield own, made


def without(labels: Labels, removed: NDArray[np.bool_]) -> Labels:
    """What should stay of a plane; in a row where that is no longer as many everywhere."""
    gone = removed[labels]
    kept = []
    for axis in range(labels.ndim):
        others = tuple(other for other in range(labels.ndim) if other != axis)
        # What is zero beside channels that went, as a padding of them, goes with them.
        kept.append((~gone & (labels > 0)).any(others) | ~gone.any(others))
    labels = labels[np.ix_(*kept)]
    gone = removed[labels]
    return labels[~gone] if gone.any() else labels
