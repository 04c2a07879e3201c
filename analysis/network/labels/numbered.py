"""Tensors that hold positions of channels, and what operators do with these."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from analysis.network.labels import operators
from analysis.network.labels.calls import is_fresh
from analysis.network.labels.records import Step

__all__ = ["calculates", "keep_numbers", "says_where", "wraps"]


def keep_numbers(value: Tensor, made: Sequence[Tensor]) -> None:
    """Positions of channels are such in other places as well."""
    for noted in ("_numbers", "_ranks"):
        labels = getattr(value, noted, None)
        for moved in made if labels is not None else ():
            setattr(moved, noted, labels)


def calculates(func: Any, name: str, value: Tensor) -> bool:
    """Whether an operator calculates with an operand that holds positions of channels."""
    is_number = value.is_floating_point() or name == "sum" or operators.is_pointwise(func, name)
    return is_number and name not in _COUNT_OR_MOVE


def says_where(step: Step, value: Tensor, operands: Sequence[Tensor]) -> bool:
    """Whether an operator takes positions of channels as such, or passes them on."""
    name, count = step.place.operator, value._numbers.shape[1]  # type: ignore[attr-defined]
    if name in _SAY_WHERE or wraps(step, value):
        return True
    # As one-hot vectors are made.
    others = [each for each in operands if each is not value]
    are_all = [is_fresh(each) and each.numel() == count for each in others]
    return name == "eq" and are_all == [True]


def wraps(step: Step, value: Tensor) -> bool:
    """Whether positions of channels are taken modulo their number, as where some are negative."""
    labels = getattr(value, "_numbers", None)
    if labels is None or step.place.operator != "remainder":
        return False
    return labels.shape[1] in step.constants


_COUNT_OR_MOVE = operators.MOVED | {"histc"}
"""Operators that are given positions of channels, and calculate nothing with these."""

_SAY_WHERE = operators.MOVED | operators.AT_PLACES
"""Operators that take positions as such, or pass them on."""
