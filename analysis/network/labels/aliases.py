"""Tensors of one pass that lie in the same memory, so that a write to one is seen in all."""

from collections import defaultdict
from collections.abc import Sequence
from weakref import ref

import torch
from torch import Tensor

from analysis.network.labels.planes import Planes, compact

__all__ = ["Aliases"]


class Aliases:
    """Knows which tensors lie in the same memory."""

    def __init__(self) -> None:
        self._known: dict[int, list[ref[Tensor]]] = defaultdict(list)

    def note(self, value: Tensor) -> None:
        """A tensor that an operator has made."""
        if value.layout is torch.strided:
            self._known[_memory(value)].append(ref(value))

    def write(self, value: Tensor, planes: Planes) -> bool:
        """Have all tensors in the memory of one carry what was written to that.

        Returns:
            Whether that is known of all of them.
        """
        others = [each() for each in self._known[_memory(value)]]
        alive = [other for other in others if other is not None and other is not value]
        if not alive:
            return True
        root = next(filter(_is_whole, (value, *alive)), None)
        if root is None:
            return False
        wholes = _written(root, value, planes)
        for other in alive:
            views = (_as(whole, other) for whole in wholes)
            other._planes = tuple(each for each in map(compact, views) if each is not None)  # type: ignore[attr-defined]
        return True


def _memory(value: Tensor) -> int:
    found: int = value.untyped_storage()._cdata
    return found


def _is_whole(value: Tensor) -> bool:
    """Whether a tensor is all that its memory holds, in order."""
    size = value.numel() * value.element_size()
    return value.is_contiguous() and value.untyped_storage().nbytes() == size


def _as(whole: Tensor, value: Tensor) -> Tensor:
    """Labels of a memory as a tensor lies in it."""
    return whole.as_strided(value.shape, value.stride(), value.storage_offset())


def _written(root: Tensor, value: Tensor, planes: Sequence[Tensor]) -> list[Tensor]:
    """What a memory carries once a part of it was written to: a label for each element."""
    found = []
    own: list[Tensor] = list(getattr(root, "_planes", ())) if root is not value else []
    for plane in planes or [torch.zeros((1,) * value.dim(), dtype=torch.int32)]:
        whole = own.pop(0) if own else torch.zeros((1,) * root.dim(), dtype=torch.int32)
        whole = whole.expand(root.shape).clone(memory_format=torch.contiguous_format)
        _as(whole, value).copy_(plane)
        found.append(whole)
    return [*found, *(plane.expand(root.shape).contiguous() for plane in own)]
