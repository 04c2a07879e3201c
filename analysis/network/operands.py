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
        elif isinstance(value, _LISTS) and not _are_plain(value):
            found.extend(tensors_in(value))
    return found


def leaves(values: Iterable[Any]) -> list[Any]:
    """The values themselves, and what lists of them hold."""
    found: list[Any] = []
    for value in values:
        if type(value) in IMMUTABLE or not isinstance(value, _LISTS):
            found.append(value)
        else:
            found.extend(value if _are_plain(value) else leaves(value))
    return found


def _are_plain(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list holds nothing but numbers and words, as a stride does."""
    return IMMUTABLE.issuperset(map(type, values))


_LISTS = (list, tuple)
