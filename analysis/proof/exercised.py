"""Parts of a network that the example inputs do not use, and attributes that are not tensors."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from inspect import isroutine
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import an
from analysis.network.attributes import own_attributes
from analysis.network.copying import IMMUTABLE
from analysis.network.failures import Failure, locate_failure
from analysis.network.inference import (
    Inputs,
    aliased,
    as_arguments,
    forward,
    named_tensors,
    outputs_of,
    random_state_kept,
    relative_error,
    walk,
)
from analysis.network.modules import named_modules

__all__ = [
    "changed_attributes",
    "fails_in_training",
    "forgetful",
    "forgetting",
    "unexercised",
]


def fails_in_training(
    dense: nn.Module, pruned: nn.Module, inputs: Iterable[Inputs]
) -> Failure | None:
    """Where the pruned network raises in train mode, on the first inputs that the dense one takes.

    A batch norm refuses a single value a channel.
    """
    for each in inputs:
        with random_state_kept(), torch.no_grad():
            try:
                forward(aliased(pruned, requires_grad=False).train(), each)
                return None
            except Exception:
                after, before = (
                    locate_failure(aliased(network, requires_grad=False).train(), each)
                    for network in (pruned, dense)
                )
        if before is None:
            return after
    return None


def unexercised(model: nn.Module, used: Collection[str]) -> list[str]:
    """Modules with parameters of which none is used.

    Args:
        model: a network.
        used: names of the tensors that are used in eval mode; one of them for a tied tensor.
    """
    exercised = {id(each) for name, each in named_tensors(model).items() if name in used}
    return [
        name
        for name, module in named_modules(model).items()
        if (own := {id(each) for each in module._parameters.values() if each is not None})
        and own.isdisjoint(exercised)
    ]


_PLAIN = (bool, int, float, complex, str, type(None), Enum, torch.dtype)


def changed_attributes(dense: nn.Module, pruned: nn.Module) -> Iterator[str]:
    """Differences of modules beside their tensors, in words.

    A number may follow a width of the network, or be a part of one of a tensor inside its module.
    """
    others = named_modules(pruned)
    widths = _widths(dense, pruned)
    for name, module in named_modules(dense).items():
        other = others.get(name)
        if other is None:
            continue  # its tensors are listed
        where = f"of `{name}`" if name else "of the model"
        if type(other) is not type(module):
            yield f"`{name}` is {an(type(other).__name__)} and was {an(type(module).__name__)}"
            continue
        for key, value, found in _differing(module, other):
            if not _follows(value, found, widths[name], widths[""]):
                yield f"`{key}` {where} is {found!r} and was {value!r}"
        for key in _other_functions(module, other):
            yield f"`{key}` {where} is another function"
        if _hooks(module) != _hooks(other):
            yield f"the hooks {where} are others"
        kinds = _kinds(other)
        for key, kind in _kinds(module).items():
            found = kinds.get(key, kind)
            if found != kind:
                yield f"`{key}` {where} is {found} and was {kind}"


def _differing(module: nn.Module, other: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """Attributes that are no tensors and hold another value: what, and which of both."""
    before, after = own_attributes(module), own_attributes(other)
    for key in before:
        if key in after and before[key] is not after[key]:
            found = dict(_plain(key, after[key]))
            for place, value in _plain(key, before[key]):
                if place in found and value != found[place]:
                    yield place, value, found[place]


def _plain(place: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Numbers, words and lists of them that an attribute holds, by their place in it."""
    if _is_plain(value):
        yield place, value
    elif depth == _DEEPEST:
        return
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _plain(f"{place}[{key!r}]", inner, depth + 1)
    elif isinstance(value, partial):
        yield from _plain(f"{place}.args", value.args, depth + 1)
        yield from _plain(place, value.keywords, depth + 1)
    elif is_dataclass(value) or isinstance(value, SimpleNamespace):
        for key, inner in vars(value).items():
            yield from _plain(f"{place}.{key}", inner, depth + 1)


_DEEPEST = 3
"""Attributes of attributes that are looked at."""


def _other_functions(module: nn.Module, other: nn.Module) -> Iterator[str]:
    """Attributes that are functions of other code, as a forward that one of both has by itself."""
    before, after = own_attributes(module), own_attributes(other)
    for key in dict.fromkeys((*before, *after)):
        one, two = before.get(key), after.get(key)
        if one is not two and (isroutine(one) or isroutine(two)) and _code(one) != _code(two):
            yield key


def _hooks(module: nn.Module) -> list[Any]:
    """The code that runs around a module's forward."""
    return [
        _code(hook)
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
        for hook in hooks.values()
    ]


def _code(function: Any) -> Any:
    """What tells functions apart that were copied with the module that holds them."""
    return getattr(function, "__code__", (type(function), getattr(function, "__qualname__", "")))


def _kinds(module: nn.Module) -> dict[str, str]:
    """How a module keeps its tensors."""
    kinds = {key: "a parameter" for key, value in module._parameters.items() if value is not None}
    for key, value in module._buffers.items():
        if value is not None:
            is_saved = key not in module._non_persistent_buffers_set
            kinds[key] = "a buffer" if is_saved else "a buffer that is not saved"
    return kinds


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _widths(dense: nn.Module, pruned: nn.Module) -> dict[str, "Widths"]:
    """Sizes that a cut changed, by the module that holds the tensors; of all of them under ""."""
    found: dict[str, Widths] = defaultdict(set)
    after = named_tensors(pruned)
    for name, tensor in named_tensors(dense).items():
        shape = after[name].shape if name in after else ()
        pairs = {(one, two) for one, two in zip(tensor.shape, shape, strict=False) if one != two}
        found[""] |= pairs
        owner = name.rpartition(".")[0]
        while owner:
            found[owner] |= pairs
            owner = owner.rpartition(".")[0]
    return found


Widths = set[tuple[int, int]]


def _follows(value: Any, found: Any, widths: Widths, everywhere: Widths) -> bool:
    if value == found or (value != value and found != found):
        return True
    if isinstance(value, tuple | list):
        return (
            isinstance(found, tuple | list)
            and len(value) == len(found)
            and all(
                _follows(one, two, widths, everywhere)
                for one, two in zip(value, found, strict=True)
            )
        )
    if type(value) is not int or type(found) is not int:
        return False
    parts = any(value * after == found * before for before, after in widths)
    return parts or (value, found) in everywhere


def forgetful(model: nn.Module, inputs: Inputs) -> nn.Module:
    """The model, without what an earlier forward has kept on it where it makes that anew.

    A table that is kept in single precision, or for another width, would make two networks differ
    that are one.

    Args:
        model: a copy that is nobody else's; changed.
        inputs: example inputs.
    """
    kept = kept_tensors(model)
    for is_deleted in (False, True) if kept else ():
        trial = aliased(model, requires_grad=False)
        _forget(trial, kept, is_deleted)
        if _compute_alike(model, trial, inputs):
            _forget(model, kept, is_deleted)
            break
    return model


def forgetting(pruned: nn.Module, dense: nn.Module, inputs: Inputs) -> nn.Module:
    """The pruned network, without what a run of the dense one would have kept on it too.

    The weights have changed since a pruner ran it. As it is where it raises, or keeps nothing.
    """
    kept = kept_tensors(pruned)
    if not kept or locate_failure(pruned, inputs) is not None:
        return pruned
    before, trial = kept_tensors(dense), aliased(dense, requires_grad=False)
    args, kwargs = as_arguments(inputs)
    with torch.no_grad():
        trial(*args, **kwargs)
    made = kept & (kept_tensors(trial) - before)
    for is_deleted in (False, True) if made else ():
        trial = aliased(pruned, requires_grad=False)
        _forget(trial, made, is_deleted)
        if locate_failure(trial, inputs) is None:
            return trial
    return pruned


Kept = frozenset[tuple[str, str]]
"""Modules and their attributes that hold tensors which are none of PyTorch's own."""


def kept_tensors(model: nn.Module) -> Kept:
    """Modules and attributes that hold tensors which are no parameters or buffers."""
    return frozenset(
        (name, key)
        for name, module in named_modules(model).items()
        for key, value in own_attributes(module).items()
        if type(value) not in IMMUTABLE
        and isinstance(value, Tensor | dict | list)
        and any(tensor.is_floating_point() for tensor in walk(value))
    )


def _forget(model: nn.Module, kept: Kept, is_deleted: bool) -> None:
    """Empty what holds tensors; a tensor is None then, or its attribute is gone."""
    for name, key in kept:
        module = model.get_submodule(name)
        value = getattr(module, key)
        if isinstance(value, dict | list):
            value.clear()
        elif is_deleted:
            delattr(module, key)
        else:
            setattr(module, key, None)


def _compute_alike(model: nn.Module, other: nn.Module, inputs: Inputs) -> bool:
    try:
        before, after = outputs_of(model, inputs), outputs_of(other, inputs)
    except Exception:
        return False
    return len(before) == len(after) and all(
        one.shape == two.shape and relative_error(one, two) < _ROUNDED
        for one, two in zip(before, after, strict=True)
    )


_ROUNDED = 1e-4
"""Relative error of outputs that a table in single precision explains."""
