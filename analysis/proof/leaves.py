"""Numbers, words and tensors inside an attribute of a module, and what cuts leave of a tensor."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from inspect import isroutine
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.network.inference import indices
from analysis.proof.comparing import is_same
from analysis.records import Cut

__all__ = ["is_tensor", "is_what_is_left", "leaves"]


_PLAIN = (bool, int, float, complex, str, type(None), Enum, torch.dtype, np.generic)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor or an array."""
    return isinstance(value, Tensor | np.ndarray)


def leaves(place: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Numbers, words, lists of them, and tensors that an attribute holds, by their place in it."""
    if _is_plain(value) or is_tensor(value):
        yield place, value
    elif depth == _DEEPEST:
        return
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{place}[{key!r}]", inner, depth + 1)
    elif isinstance(value, tuple | list):
        for key, inner in enumerate(value):
            yield from leaves(f"{place}[{key}]", inner, depth + 1)
    elif isinstance(value, partial):
        yield from leaves(f"{place}.args", value.args, depth + 1)
        yield from leaves(place, value.keywords, depth + 1)
    else:
        for key, inner in _attributes(value).items():
            yield from leaves(f"{place}.{key}", inner, depth + 1)


_DEEPEST = 3
"""Attributes of attributes that are looked at."""


def _attributes(value: Any) -> dict[str, Any]:
    """What an object holds, of whatever class; modules and code are compared in other ways."""
    if isinstance(value, nn.Module | type | ModuleType) or isroutine(value):
        return {}
    if is_dataclass(value):  # which may have slots
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return getattr(value, "__dict__", {})


def is_what_is_left(before: Any, after: Any, cuts: Collection[Cut]) -> bool:
    """Whether a tensor is the dense one, or that without the channels that a cut removes.

    Which of its axes are channels, nothing says: of each that has another size, a cut of that width
    must explain it.
    """
    one, two = _as_tensor(before), _as_tensor(after)
    if one is None or two is None:
        return type(before) is type(after)
    two = two.detach().to(one.device)
    return any(is_same(each, two) for each in _restrictions(one.detach(), two.shape, cuts))


def _restrictions(tensor: Tensor, shape: Sequence[int], cuts: Collection[Cut]) -> Iterator[Tensor]:
    if tensor.dim() != len(shape):
        return
    sizes = enumerate(zip(tensor.shape, shape, strict=True))
    cut = next(((dim, *pair) for dim, pair in sizes if pair[0] != pair[1]), None)
    if cut is None:
        yield tensor
        return
    dim, width, left = cut
    kept = {each.kept for each in cuts if (each.width, len(each.kept)) == (width, left)}
    for each in kept:
        yield from _restrictions(tensor.index_select(dim, indices(each, tensor)), shape, cuts)


def _as_tensor(value: Any) -> Tensor | None:
    """A tensor, or an array as one; None of an array that holds no numbers."""
    if isinstance(value, Tensor):
        return value
    return torch.from_numpy(value.copy()) if value.dtype.kind in "biufc" else None
