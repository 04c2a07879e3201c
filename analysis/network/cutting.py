"""Cut positions of a network's tensors by index."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Trace
from analysis.network.labels.tracing import state_of
from analysis.network.own_sizes import sizes_followed
from analysis.records import Attribute

__all__ = ["Repeated", "cut_axes", "cut_labels", "recut"]


@dataclass(frozen=True, eq=False)
class Repeated:
    """An attribute that repeats a size, which a module's forward reads.

    Attributes:
        module: name of the module.
        path: names of attributes and places in tuples, from the module to the number.
        value: the number in the dense network.
        labels: the labels of the size that it repeats, or of a multiple or a divisor of it.
    """

    module: str
    path: tuple[str | int, ...]
    value: int
    labels: Labels

    @property
    def name(self) -> str:
        """The path as Python code."""
        return Attribute(self.module, self.path, self.value, self.value).name

    def left(self, gone: NDArray[np.bool_]) -> int | None:
        """The number once labels are removed; None if it is not a whole number."""
        stay = self.value * int(np.count_nonzero(~gone[self.labels]))
        return None if stay % len(self.labels) else stay // len(self.labels)


def _set_attributes(model: nn.Module, attributes: Iterable[Attribute]) -> None:
    """Set attributes of a model to their values in the pruned network."""
    modules = dict(model.named_modules())
    for each in attributes:
        first, *rest = each.path
        module = modules[each.module]
        setattr(module, str(first), _with(getattr(module, str(first)), rest, each.after))


def _with(held: Any, path: Sequence[str | int], value: int) -> Any:
    """The held value with another number at the end of a path."""
    if not path:
        return value
    first, *rest = path
    if isinstance(first, int):
        inner = list(held)
        inner[first] = _with(held[first], rest, value)
        return type(held)(inner)
    setattr(held, first, _with(getattr(held, first), rest, value))
    return held


def cut_labels(
    model: nn.Module, trace: Trace, gone: NDArray[np.bool_], repeated: Iterable[Repeated] = ()
) -> list[Attribute]:
    """Remove the positions of some labels from a model, in place.

    Args:
        model: changed.
        trace: a pass over it.
        gone: for each label, whether its position is removed.
        repeated: attributes that repeat sizes.

    Returns:
        the attributes that were set, and to what.
    """
    found = [
        Attribute(each.module, each.path, each.value, left)
        for each in repeated
        for left in [each.left(gone)]
        if left is not None and left != each.value
    ]
    _set_attributes(model, found)
    rows = {axis: gone[trace.labels(*axis)] for axis in trace.starts}
    stays = {axis: np.flatnonzero(~row) for axis, row in rows.items() if row.any()}
    cut_axes(model, {axis: torch.from_numpy(row) for axis, row in stays.items()})
    return found


def recut(
    model: nn.Module,
    axes: Mapping[tuple[str, int], Sequence[int]],
    attributes: Iterable[Attribute],
) -> None:
    """Cut a network like another one of its structure, in place.

    Args:
        model: changed.
        axes: by name of a tensor and dimension, the kept indices.
        attributes: the attributes that were set.
    """
    _set_attributes(model, attributes)
    cut_axes(model, {axis: torch.tensor(left) for axis, left in axes.items()})


def cut_axes(model: nn.Module, kept: Mapping[tuple[str, int], Tensor]) -> None:
    """Keep these positions of a model's parameters and buffers, in place.

    Attributes of PyTorch's own layers that repeat sizes of their tensors follow.

    Args:
        model: changed.
        kept: by name and dimension, the kept indices.
    """
    tensors = state_of(model)
    left = {
        name: value
        for name, tensor in tensors.items()
        for value in [_left_of(name, tensor, kept)]
        if value.shape != tensor.shape
    }
    with sizes_followed(_holders(model, {id(tensors[name]) for name in left})):
        for name, value in left.items():
            tensors[name].data, tensors[name].grad = value, None


def _left_of(name: str, tensor: Tensor, kept: Mapping[tuple[str, int], Tensor]) -> Tensor:
    value = tensor.data
    for dim in range(value.dim()):
        if (name, dim) in kept:
            value = value.index_select(dim, kept[name, dim].to(value.device))
    return value


def _holders(model: nn.Module, tensors: Collection[int]) -> Iterator[nn.Module]:
    """Modules that hold any of these tensors, or have one that does below them.

    Layers may share a tensor, and a parametrized one has its own in a module below it.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    holding = {
        ".".join(parts[:depth])
        for path, module in modules.items()
        if any(
            id(own) in tensors for own in (*module._parameters.values(), *module._buffers.values())
        )
        for parts in [path.split(".")]
        for depth in range(len(parts) + 1)
    }
    yield from {id(modules[name]): modules[name] for name in holding}.values()
