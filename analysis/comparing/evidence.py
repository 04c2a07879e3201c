"""Evidence of a single tensor on its kept positions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Nearest", "Positions", "assigned", "located", "nearest", "values_of"]

Array = NDArray[np.floating]

Positions = NDArray[np.int64]
"""For each position of a pruned axis, the dense position; -1 if not known."""


def values_of(tensor: Tensor) -> Array:
    """A tensor as NumPy has it: half precision in single, a complex number as two."""
    tensor = tensor.detach().cpu()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return tensor.numpy()


def located(dense: Array, pruned: Array) -> list[Positions] | None:
    """The positions of a pruned tensor's values in the dense one, for each axis.

    A value that the dense tensor holds once identifies the positions of all axes. -1 if no value of
    a position does; None if the pruned tensor holds values that the dense one does not.
    """
    places = _looked_up(pruned.shape)
    asked, which = np.unique(pruned.ravel()[places], return_inverse=True)
    likely = _likely(dense.ravel(), asked)
    found = np.minimum(np.searchsorted(asked, dense.ravel()[likely]), len(asked) - 1)
    is_held = asked[found] == dense.ravel()[likely]
    found, held = found[is_held], likely[is_held]
    times = np.bincount(found, minlength=len(asked))
    if not times.all():
        return None
    where = np.zeros(len(asked), np.int64)
    where[found] = held
    once = times[which] == 1
    here = np.unravel_index(places[once], pruned.shape)
    there = np.unravel_index(where[which[once]], dense.shape)
    return [
        _agreed(own, other, size)
        for own, other, size in zip(here, there, pruned.shape, strict=True)
    ]


def _likely(values: Array, asked: Array) -> NDArray[np.int64]:
    """Where values stand that may be among those asked for: their hashes separate most."""
    may_be = np.zeros(2**_BITS, bool)
    may_be[_hashed(asked)] = True
    return np.flatnonzero(may_be[_hashed(values)])


def _hashed(values: Array) -> NDArray[np.uint64]:
    values = np.ascontiguousarray(values + 0)  # minus zero is zero
    bits = values.view(f"u{values.itemsize}").astype(np.uint64)
    return np.asarray((bits * _ODD) >> np.uint64(64 - _BITS))


_BITS, _ODD = 22, np.uint64(0x9E3779B97F4A7C15)
"""Of a hash; and the multiplier, by the golden ratio, that spreads values over all of them."""


def _looked_up(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Places of a tensor, several in each position of each axis; all of a small one."""
    if np.prod(shape, dtype=np.int64) <= _SMALL:
        return np.arange(np.prod(shape, dtype=np.int64))
    draws, found = np.random.default_rng(0), []
    for dim, size in enumerate(shape):
        at = [draws.integers(0, other, (1, _LINES)) for other in shape]
        at[dim] = np.arange(size)[:, None]
        found.append(np.ravel_multi_index(tuple(np.broadcast_arrays(*at)), shape).ravel())
    return np.unique(np.concatenate(found))


_SMALL, _LINES = 4096, 16
"""Values that are all looked up; how many of each position are where there are more."""


def _agreed(here: Positions, there: Positions, size: int) -> Positions:
    """For each position, the dense one of all its values; -1 if they do not agree."""
    agreed = np.full(size, -1, np.int64)
    agreed[here] = there
    agreed[here[agreed[here] != there]] = -1
    return agreed


@dataclass(frozen=True, eq=False)
class Nearest:
    """For each slice of a pruned tensor, the nearest dense slice.

    Attributes:
        best: its position.
        second: the position of the second nearest.
        distance: squared distance of the nearest.
        further: squared distance of the second nearest.
        clear: whether it is unlikely that the nearest is so near by chance.
    """

    best: Positions
    second: Positions
    distance: NDArray[np.float64]
    further: NDArray[np.float64]
    clear: NDArray[np.bool_]


def nearest(dense: Array, pruned: Array) -> Nearest:
    """The dense slice that each slice of a pruned tensor is nearest to.

    Args:
        dense: shape (positions, values).
        pruned: shape (positions left, values).
    """
    most = int(np.clip(_PRODUCTS // (len(dense) * len(pruned) + 1), 64, _SMALL))
    dense, pruned = _sampled(dense, most), _sampled(pruned, most)
    blocks = -(-len(dense) * len(pruned) // _AT_ONCE)
    found = [_two_nearest(dense, rows) for rows in np.array_split(pruned, max(blocks, 1))]
    best, second = (np.concatenate(each) for each in zip(*found, strict=True))
    distance = _apart(pruned, dense[best])
    further = np.where(best == second, np.inf, _apart(pruned, dense[second]))
    if pruned.shape[1] < 2:  # single numbers are near many others
        return Nearest(best, second, distance, further, np.zeros(len(best), bool))
    share = min(_CLEAR, (_CHANCE / len(dense)) ** (2 / pruned.shape[1]))
    return Nearest(best, second, distance, further, (distance <= share * further) & (further > 0))


_PRODUCTS, _AT_ONCE = 2**32, 2**22
"""Products that are taken to compare two tensors, at the most; pairs of slices that are held."""

_CLEAR, _CHANCE = 0.5, 1e-6
"""The greatest ratio of squared distances, and the greatest probability by chance.

The probability of a ratio r of squared distances of n random values is about r^(n/2).
"""


def _two_nearest(
    dense: NDArray[np.float64], pruned: NDArray[np.float64]
) -> tuple[Positions, Positions]:
    """The nearest dense slice of each, and the next, which is the same where there is one."""
    squares = _distances(dense, pruned)
    best = squares.argmin(1)
    squares[np.arange(len(pruned)), best] = np.inf
    return best, squares.argmin(1)


def assigned(dense: Array, pruned: Array) -> Positions:
    """A dense slice of its own for each slice of a pruned tensor, the nearest pairs first.

    Args:
        dense: shape (positions, values).
        pruned: shape (positions left, values).
    """
    squares = _distances(_sampled(dense, _SMALL), _sampled(pruned, _SMALL))
    found = np.full(len(pruned), -1, np.int64)
    while (found < 0).any():
        left = np.flatnonzero(found < 0)
        best = squares[left].argmin(1)
        nearest_first = left[np.argsort(squares[left, best], kind="stable")]
        claimed, first = np.unique(squares[nearest_first].argmin(1), return_index=True)
        found[nearest_first[first]] = claimed
        squares[:, claimed] = np.inf
    return found


def _sampled(rows: Array, most: int) -> NDArray[np.float64]:
    """Some values of each slice where there are many."""
    step = max(-(-rows.shape[1] // most), 1)
    return rows[:, ::step].astype(np.float64)


def _distances(dense: NDArray[np.float64], pruned: NDArray[np.float64]) -> NDArray[np.float64]:
    both = (pruned**2).sum(1)[:, None] + (dense**2).sum(1)[None]
    return np.asarray(both - 2 * pruned @ dense.T)


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(((one - other) ** 2).sum(1))
