"""Copies of networks, made as `copy.deepcopy` does in a fifth of its time.

Most of what a module holds are numbers and a dozen empty dicts for hooks; copying each by the
general way takes longer than running the network.
"""

import copy
import copyreg
from collections import OrderedDict
from functools import cache
from typing import Any, cast

from torch import nn

__all__ = ["IMMUTABLE", "duplicated"]


def duplicated(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """What ``copy.deepcopy(module, memo)`` returns.

    A class with its own way of copying uses that.
    """
    if id(module) in memo:
        return memo[id(module)]
    state = _state_of(module)
    if state is None:
        return copy.deepcopy(module, memo)
    made = memo[id(module)] = type(module).__new__(type(module))
    made.__setstate__(_each(state, memo))
    return made


def _state_of(module: nn.Module) -> dict[Any, Any] | None:
    """The attributes of a copy; None if the class has its own way of copying."""
    own: Any = type(module)
    if own in copyreg.dispatch_table:
        return None
    if _is_plain(own):
        return module.__getstate__()
    if hasattr(own, "__deepcopy__"):
        return None
    make, args, state, *more = cast("tuple[Any, ...]", module.__reduce_ex__(4))
    is_plain = make is copyreg.__newobj__ and args == (own,) and not any(more)  # type: ignore[attr-defined]
    return state if is_plain and type(state) is dict else None


@cache
def _is_plain(own: type[Any]) -> bool:
    """Whether a class has the default way of copying, so that its attributes are all of it."""
    return not (
        any(hasattr(own, name) for name in ("__deepcopy__", "__getnewargs__", "__getnewargs_ex__"))
        or any(getattr(own, name) is not getattr(nn.Module, name) for name in _SAID_BY_MODULE)
        or copyreg._slotnames(own)  # type: ignore[attr-defined]
    )


_SAID_BY_MODULE = ("__reduce_ex__", "__reduce__", "__getstate__")
"""Methods by which a class defines how it is copied; PyTorch's own leave out what was compiled."""


def _each(values: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    made = values.copy() if type(values) is dict else dict(values)
    for key, value in values.items():
        if type(key) is not str:
            return {copy.deepcopy(key, memo): _copied(each, memo) for key, each in values.items()}
        kind = type(value)
        if kind in IMMUTABLE:
            continue
        if kind in _CONTAINERS and key in _OF_EVERY_MODULE and not value:
            made[key] = kind()  # a dozen in each module, which no other holds
        else:
            found = memo.get(id(value))
            made[key] = _copied(value, memo) if found is None else found
    return made


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if id(value) in memo:
        return memo[id(value)]
    kind = type(value)
    if kind is tuple and IMMUTABLE.issuperset(map(type, value)):
        return value
    if kind is dict:
        made = memo[id(value)] = {}
        made.update(_each(value, memo))
        return made
    return duplicated(value, memo) if isinstance(value, nn.Module) else copy.deepcopy(value, memo)


IMMUTABLE = frozenset({bool, int, float, str, type(None)})
"""What most attributes are: no copy of theirs is another one, and no tensor is in them."""
_CONTAINERS = frozenset({OrderedDict, dict, set})
_OF_EVERY_MODULE = frozenset(
    name for name, value in vars(nn.Module()).items() if type(value) in _CONTAINERS
)
"""Names under which a module holds what is empty in most: hooks, buffers, inner modules."""
