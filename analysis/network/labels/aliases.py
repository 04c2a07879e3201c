"""Tensors of one pass that lie in the same memory, so that a write to one is seen in all."""

from collections import defaultdict
from itertools import zip_longest
from weakref import ref

import torch
from torch import Tensor

from analysis.network.labels.planes import Planes, compact

__all__ = ["Aliases"]


class Aliases:
    """Knows which tensors lie in the same memory."""

    def __init__(self) -> None:
        self._known: dict[int, dict[int, ref[Tensor]]] = defaultdict(dict)

    def note(self, value: Tensor) -> None:
        """A tensor that an operator has made, or has written to."""
        if value.layout is torch.strided:
            self._known[_memory(value)][id(value)] = ref(value)

    def write(self, value: Tensor, planes: Planes) -> None:
        """Have all tensors in the memory of one carry what was written to that."""
        others = (each() for each in self._known[_memory(value)].values())
        alive = [other for other in others if other is not None and other is not value]
        if not alive:
            return
        size = value.untyped_storage().nbytes() // value.element_size()
        written = torch.zeros(size, dtype=torch.bool)
        _put(written, value, torch.ones((1,) * value.dim(), dtype=torch.bool))
        for other in alive:
            if _as(written, other).any():
                other._planes = _overwritten(other, value, planes, size)  # type: ignore[attr-defined]


def _memory(value: Tensor) -> int:
    found: int = value.untyped_storage()._cdata
    return found


def _overwritten(other: Tensor, value: Tensor, planes: Planes, size: int) -> Planes:
    """What a tensor carries once another one in its memory, of so many numbers, is written."""
    found = []
    for own, plane in zip_longest(getattr(other, "_planes", ()), planes):
        whole = torch.zeros(size, dtype=torch.int32)
        for each, labels in ((other, own), (value, plane)):
            none = torch.zeros((1,) * each.dim(), dtype=torch.int32)
            _put(whole, each, none if labels is None else labels)
        found.append(compact(_as(whole, other)))
    return tuple(each for each in found if each is not None)


def _as(whole: Tensor, value: Tensor) -> Tensor:
    """What a memory holds as a tensor lies in it."""
    return whole.as_strided(value.shape, value.stride(), value.storage_offset())


def _put(whole: Tensor, value: Tensor, plane: Tensor) -> None:
    """Write a plane of a tensor where that lies; what is expanded is there once."""
    labels, shape = plane.expand(value.shape), list(value.shape)
    for dim, step in enumerate(value.stride()):
        if step == 0 and shape[dim]:
            labels, shape[dim] = labels.narrow(dim, 0, 1), 1
    whole.as_strided(shape, value.stride(), value.storage_offset()).copy_(labels)
