"""What modules hold beside their tensors, and what a call of a model keeps on it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from analysis.network.modules import named_modules
from analysis.processes import budgets

__all__ = ["as_before", "own_attributes", "own_names"]


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Take away on the way out what a call keeps on a model: attributes, buffers and hooks."""
    modules = [*named_modules(model).values()]
    found = [(vars(module), vars(module).copy()) for module in modules]
    buffers = [(own, own.copy()) for own in map(_buffers_of, modules) if own]
    held = [
        (value, copy.copy(value))
        for module, (own, _) in zip(modules, found, strict=True)
        for value in map(own.__getitem__, own_names(module))
        # Others may refuse to be written, as a configuration does.
        if type(value) in (dict, list)
    ]
    # A model that installs hooks notes that it did: without the note, it would once more.
    hooks = [(own[name], {*own[name]}) for own, _ in found for name in _HOOKS if name in own]
    try:
        yield
    finally:
        with budgets.undisturbed():
            for attributes, own in found:
                attributes.update(own)
                if len(attributes) > len(own):
                    for key in attributes.keys() - own.keys():
                        del attributes[key]
            for owned, before in buffers:
                for key in owned.keys() - before.keys():
                    del owned[key]
                owned.update(before)  # another tensor may stand under the name
            for installed, known in hooks:
                if installed:
                    for handle in installed.keys() - known:
                        del installed[handle]
            for value, before in held:
                value.clear()
                (value.update if isinstance(value, dict) else value.extend)(before)


def _buffers_of(module: nn.Module) -> dict[str, Any]:
    """A module's buffers; those of TorchScript are kept elsewhere."""
    return {} if isinstance(module, torch.jit.ScriptModule) else module._buffers


def own_attributes(module: nn.Module) -> dict[str, Any]:
    """What a module holds beside what every `nn.Module` does."""
    return {key: value for key, value in vars(module).items() if key not in _OF_EVERY_MODULE}


def own_names(module: nn.Module) -> set[str]:
    """The names of `own_attributes`, in no order, in a third of the time."""
    return vars(module).keys() - _OF_EVERY_MODULE


_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Names of the attributes that PyTorch gives a module: its parameters, hooks and flags."""

_HOOKS = tuple(sorted(name for name in _OF_EVERY_MODULE if name.startswith("_forward_")))
"""Those that hold what is called around forward."""
