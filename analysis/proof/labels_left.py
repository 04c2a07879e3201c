"""The dense channels at the positions of a pruned network's tensors."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from analysis.network.inference import named_tensors
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Trace
from analysis.network.labels.tracing import state_of
from analysis.proof.comparing import Restriction
from analysis.proof.staying import Removed

__all__ = ["NotOneCutError", "labels_after"]


class NotOneCutError(Exception):
    """What is left of a tensor are not some positions of each axis."""


def labels_after(
    dense: nn.Module, pruned: nn.Module, restricted: Restriction, trace: Trace
) -> tuple[dict[tuple[str, int], Labels], Removed]:
    """The dense labels of each position of the pruned network's tensors, and which have gone."""
    named = named_tensors(dense)
    first: dict[int, str] = {}
    for name, tensor in named.items():
        first.setdefault(id(tensor), name)
    labels: dict[tuple[str, int], Labels] = {}
    removed = np.ones(trace.count, bool)
    removed[0] = False
    removed[trace.base :] = False
    rows: dict[tuple[str, int], Labels] = {}
    for name in filter(named.__contains__, state_of(pruned)):
        tensor = named[name]
        original = first[id(tensor)]
        left = _rows(restricted, name, tensor)
        for dim in range(tensor.dim()):
            if (original, dim) not in trace.starts:
                continue
            every = trace.labels(original, dim)
            own = every[left[dim]] if dim in left else every.copy()
            known = rows.setdefault((original, dim), own)
            if known is not own and not np.array_equal(known, own):
                raise NotOneCutError(f"`{name}` and `{original}` were tied and are cut differently")
            labels[name, dim] = own
            removed[own] = False
    return labels, removed


def _rows(restricted: Restriction, name: str, tensor: Tensor) -> dict[int, Labels]:
    """The positions that stay, for each dimension of a tensor that may have lost some."""
    shape, rows = tuple(tensor.shape), dict[int, Labels]()
    if not shape or not restricted.touches(name):
        return rows
    # One position of the taps of a kernel stands for all.
    sizes = (*shape[:2], *(1 for _ in shape[2:]))
    try:
        left = restricted(name, _places(sizes)).numpy()
    except (IndexError, RuntimeError):
        sizes = shape
        left = restricted(name, _places(sizes)).numpy()
    if left.ndim != len(shape) or not left.size:
        raise NotOneCutError(f"the dimensions of `{name}` are not those of its kept part")
    if len(shape) == 1:
        return {0: left}
    found = np.zeros((), np.int32)
    for dim in (dim for dim, size in enumerate(sizes) if size > 1):
        step = prod(sizes[dim + 1 :])
        others = (slice(None) if axis == dim else slice(0, 1) for axis in range(len(sizes)))
        along = left[tuple(others)] // step % sizes[dim]
        found = found + along * step
        rows[dim] = along.ravel()
    if not (found == left).all():
        raise NotOneCutError(f"each row of `{name}` has lost other positions")
    return rows


def _places(sizes: Sequence[int]) -> Tensor:
    """A tensor that holds for each of its places the number of that."""
    return torch.arange(prod(sizes), dtype=torch.int32).view(*sizes)
