"""What an operator is given or returns: tensors, numbers and words, and lists of them."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from analysis.network.copying import IMMUTABLE

__all__ = ["leaves", "tensors_in"]


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among values, and in lists of them."""
    found: list[Tensor] = []
    for value in values:
        if type(value) in IMMUTABLE:
            continue
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, _LISTS):
            found.extend(tensors_in(value))
    return found


def leaves(values: Iterable[Any]) -> list[Any]:
    """The values themselves, and what lists of them hold."""
    found: list[Any] = []
    for value in values:
        if type(value) not in IMMUTABLE and isinstance(value, _LISTS):
            found.extend(leaves(value))
        else:
            found.append(value)
    return found


_LISTS = (list, tuple)
