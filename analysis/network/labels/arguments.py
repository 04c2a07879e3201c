"""What an operator is given beside tensors, as it reads that.

The same is written in several ways: a dimension is counted from the front or from the back, a
reduction takes its dimensions in any order, and what is left out is the default. And some of it is
not read at all: a batch norm asks for its momentum only while it is training, and a kernel of one
tap for no dilation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from analysis.network.copying import IMMUTABLE
from analysis.network.labels import operators
from analysis.network.operands import leaves, tensors_in

__all__ = ["constant_of", "constants_of"]


def constants_of(func: Any, args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Numbers, words and constant tensors that an operator is given, in the order of its schema.

    Args:
        func: the operator.
        args: of the call.
        kwargs: of the call.

    Returns:
        One entry for each, those of lists too; None for a tensor of the network or of this pass.
    """
    reads = _reads(func)
    if reads.plainly:
        return _constants(leaves((*args, *kwargs.values())))
    placed = dict(zip(operators.arguments_of(func), args, strict=False))
    named = {**reads.defaults, **placed, **kwargs}
    name = reads.operator
    if reads.dims:
        rank = max((each.dim() for each in tensors_in(named.values())), default=0)
        rank += name in _ADDS_A_DIMENSION
        for argument in reads.dims:
            named[argument] = _dims(named[argument], rank)
            if name in _IN_ANY_ORDER and isinstance(named[argument], list):
                named[argument] = sorted(named[argument])
    if name == "transpose":
        named["dim0"], named["dim1"] = sorted((named["dim0"], named["dim1"]))
    if "dilation" in named:
        named["dilation"] = _dilation(named)
    if not named.get("training", False):
        for argument in reads.in_training:
            named[argument] = None
    return _constants(leaves(named.values()))


@dataclass(frozen=True)
class _Reads:
    """How an operator reads its arguments.

    Attributes:
        defaults: what each is that is left out, in the order of the schema.
        dims: those that say dimensions.
        in_training: those that it reads only while it is training.
        operator: its name.
        plainly: whether it reads all of them, as they are given.
    """

    defaults: dict[str, Any]
    dims: tuple[str, ...]
    in_training: tuple[str, ...]
    operator: str
    plainly: bool


@cache
def _reads(func: Any) -> _Reads:
    defaults = {each.name: each.default_value for each in func._schema.arguments}
    name = operators.name_of(func)
    is_norm = name in operators.PER_CHANNEL
    dims = tuple(each for each in defaults if each in _DIMS)
    in_training = tuple(each for each in defaults if is_norm and each in _OF_TRAINING)
    plainly = not (is_norm or dims or "dilation" in defaults)
    return _Reads(defaults, dims, in_training, name, plainly)


_DIMS = frozenset({"dim", "dim0", "dim1", "dim2", "dimension", "dims"})
"""Arguments that say dimensions, of the operand that has most."""

_ADDS_A_DIMENSION = frozenset({"stack", "unsqueeze"})

_IN_ANY_ORDER = frozenset({"flip", *operators.REDUCTIONS})

_OF_TRAINING = frozenset({"exponential_average_factor", "momentum"})
"""Arguments by which statistics follow a batch."""


def _dims(given: Any, rank: int) -> Any:
    """Dimensions counted from the front."""
    if isinstance(given, list | tuple):
        return [_dims(each, rank) for each in given]
    is_counted = isinstance(given, int) and not isinstance(given, bool) and given < 0
    return given + rank if is_counted else given


def _dilation(named: Mapping[str, Any]) -> Any:
    """Steps between the taps of a kernel; 1 where it has one tap."""
    weight, given = named.get("weight"), named["dilation"]
    kernel = list(named.get("kernel_size", ()) if weight is None else weight.shape[2:])
    if not isinstance(given, list | tuple) or len(kernel) not in (1, len(given)):
        return given
    taps = kernel * (len(given) // len(kernel))
    return [1 if count == 1 else step for count, step in zip(taps, given, strict=True)]


def _constants(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple([each if type(each) in IMMUTABLE else constant_of(each) for each in values])


def constant_of(value: Any) -> Any:
    """What an operator is given beside the tensors of this pass: of others what they hold."""
    if type(value) in IMMUTABLE:
        return value
    if not isinstance(value, Tensor):
        # Another generator draws the same.
        return constant_of(value.get_state()) if isinstance(value, torch.Generator) else value
    if hasattr(value, "_own") or value.is_meta or value.layout is not torch.strided:
        return None
    if value.numel() == 1:
        return value.item()
    held = value.detach().cpu().contiguous().flatten()
    return tuple(value.shape), hash(held.view(torch.uint8).numpy().tobytes())
