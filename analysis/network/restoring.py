"""Put back what a run of somebody's code has written to, where no copy is run in its place.

That is all that a model holds, or what a copy of a function shares with it: cells of closures,
globals that it names, attributes of classes. Tensors and arrays get their values, containers and
objects what they held, generators their state.
"""

import copyreg
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import CellType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.network.attributes import own_attributes
from analysis.network.copying import IMMUTABLE
from analysis.processes import budgets

__all__ = ["restored", "restored_around"]


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Put back on the way out all that a model holds, to the byte."""
    with _put_back(_State().of(model, is_shared=True)):
        yield


@contextmanager
def restored_around(function: Any, model: nn.Module) -> Iterator[None]:
    """Put back on the way out what a function writes to a model, or to what its copies share.

    Args:
        function: a function, or an object that holds some, of which a deep copy is called.
        model: the network that it is called on.
    """
    own = (*model.modules(), *model.parameters(), *model.buffers())
    # Nothing of a library writes to the network.
    around = nullcontext() if _package(function) in _LIBRARIES else restored(model)
    with around, _put_back(_State(own).of(function, is_shared=False)):
        yield


@contextmanager
def _put_back(state: "_State") -> Iterator[None]:
    try:
        yield
    finally:
        with budgets.undisturbed(), torch.no_grad():
            for put_back in state.found:
                put_back()


class _State:
    """Walks through objects, and notes for each that is shared what puts it back.

    Args:
        known: objects that are left out.
    """

    def __init__(self, known: Collection[Any] = ()) -> None:
        self.found: list[Callable[[], None]] = []
        self._held: list[Any] = [*known]  # so that no other object gets the id of one
        self._seen: dict[int, bool] = {id(each): True for each in known}

    def of(self, value: Any, *, is_shared: bool) -> "_State":
        """Note an object and all that it holds.

        Args:
            value: the object.
            is_shared: whether it is written to itself; a copy is otherwise, but for functions.
        """
        pending = [(value, is_shared)]
        while pending:
            value, is_shared = pending.pop()
            if type(value) in IMMUTABLE or self._seen.get(id(value), is_shared - 1) >= is_shared:
                continue
            self._seen[id(value)] = is_shared
            self._held.append(value)
            inside: Iterable[Any]
            if isinstance(value, FunctionType | type):
                inside = self._inside_code(value)
                is_shared = True
            else:
                inside = _inside(value)
                if is_shared:
                    self.found += _values_of(value)
            pending += [(each, is_shared) for each in inside]
        return self

    def _inside_code(self, code: FunctionType | type) -> list[Any]:
        """What a user's function reads beside its arguments, or a class keeps for all its own."""
        if _package(code) in _LIBRARIES:
            return []
        if isinstance(code, type):
            own = {key: each for key, each in vars(code).items() if not key.startswith("__")}
            self.found += [partial(_set_on, code, key, each) for key, each in own.items()]
            return [*own.values(), *code.__bases__]
        cells = [(cell, cell.cell_contents) for cell in code.__closure__ or () if _is_filled(cell)]
        names = [name for name in code.__code__.co_names if name in code.__globals__]
        read = {name: code.__globals__[name] for name in names}
        self.found += [partial(setattr, cell, "cell_contents", value) for cell, value in cells]
        self.found.append(partial(code.__globals__.update, read))
        return [
            *(value for _, value in cells),
            *read.values(),
            *(code.__defaults__ or ()),
            *vars(code).values(),
        ]


def _set_on(kind: type, key: str, value: Any) -> None:
    if vars(kind).get(key) is not value:
        setattr(kind, key, value)


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", "") or "").partition(".")[0]


_OPAQUE = sys.stdlib_module_names - {"__main__"} | {"numpy", "torch", "analysis"}
"""Packages whose objects are not looked into."""

_LIBRARIES = _OPAQUE | {"torch_pruning", "torchvision"}
"""Packages whose functions and classes keep nothing that a run writes to."""

_CONTAINERS = (list, set, deque, dict, OrderedDict, defaultdict, Counter)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, nn.Module):
        parts = (value._parameters, value._buffers, value._modules, own_attributes(value))
        return [each for part in parts for each in part.values()]
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset | deque):
        return value
    if isinstance(value, MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    return [*_attributes(value).values(), type(value)] if _is_looked_into(value) else ()


def _is_looked_into(value: Any) -> bool:
    if isinstance(value, SimpleNamespace):
        return True
    return not isinstance(value, Tensor) and _package(type(value)) not in _OPAQUE


def _attributes(value: Any) -> dict[str, Any]:
    slots: Iterable[str] = copyreg._slotnames(type(value))  # type: ignore[attr-defined]
    of_slots = {key: getattr(value, key) for key in slots if hasattr(value, key)}
    return dict(getattr(value, "__dict__", {})) | of_slots


def _values_of(value: Any) -> Iterator[Callable[[], None]]:
    """What puts an object's own values back."""
    if isinstance(value, torch.jit.ScriptModule):
        return  # it keeps its tensors elsewhere, each of which is put back
    if isinstance(value, nn.Module):
        yield partial(_refill, value._buffers, value._buffers.copy())
        yield partial(_set_all, value, own_attributes(value))
    elif isinstance(value, Tensor):
        if value.layout is torch.strided and not value.is_meta:
            yield partial(_fill, value, value.detach().clone(), value.data)
    elif isinstance(value, np.ndarray):
        if value.flags.writeable and not value.dtype.hasobject:
            yield partial(np.copyto, value, value.copy())
    elif type(value) in _CONTAINERS:
        yield partial(_refill, value, value.copy())
    elif isinstance(value, random.Random):
        yield partial(value.setstate, value.getstate())
    elif isinstance(value, np.random.Generator):
        yield partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    elif isinstance(value, torch.Generator):
        yield partial(_set_state, value, value.get_state())
    elif _is_looked_into(value):
        yield partial(_set_all, value, _attributes(value))


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _fill(tensor: Tensor, values: Tensor, data: Tensor) -> None:
    """Give a tensor its values, in the memory that it had."""
    if tensor.data_ptr() != data.data_ptr() or tensor.shape != data.shape:
        tensor.data = data
    if not torch.equal(data, values):
        data.copy_(values)


def _refill(container: Any, before: Any) -> None:
    if type(container) in (list, deque):
        is_same = len(container) == len(before) and all(map(_is, container, before))
    elif type(container) is set:
        is_same = container == before
    else:
        is_same = [*container] == [*before] and all(map(_is, container.values(), before.values()))
    if not is_same:
        container.clear()
        (container.extend if type(container) in (list, deque) else container.update)(before)


def _is(one: Any, other: Any) -> bool:
    return one is other


def _set_all(value: Any, before: dict[str, Any]) -> None:
    """Give an object the attributes that it had, and no others."""
    now = own_attributes(value) if isinstance(value, nn.Module) else _attributes(value)
    for key in now.keys() - before.keys():
        object.__delattr__(value, key)
    for key, each in before.items():
        if now.get(key) is not each:
            object.__setattr__(value, key, each)
