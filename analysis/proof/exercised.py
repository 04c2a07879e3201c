"""Parts of a network that the example inputs do not use, and what earlier runs have kept on it."""

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from analysis.network.attributes import own_names
from analysis.network.copying import IMMUTABLE
from analysis.network.failures import Failure, locate_failure
from analysis.network.inference import (
    Inputs,
    aliased,
    as_arguments,
    forward,
    map_tensors,
    named_tensors,
    output_tensors,
    random_state_kept,
    relative_error,
    walk,
)
from analysis.network.modules import named_modules
from analysis.network.outputs import counted
from analysis.proof.leaves import is_tensor, is_what_is_left, leaves
from analysis.records import Cut

__all__ = [
    "Attribute",
    "Held",
    "fails_in_training",
    "forgetful",
    "forgetting",
    "kept_tensors",
    "run_keeping",
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


Attribute = tuple[str, str]
"""A module's name, and that of an attribute of its."""


def kept_tensors(model: nn.Module) -> frozenset[Attribute]:
    """Attributes that hold floating-point tensors which are no parameters or buffers."""
    return frozenset(
        (name, key)
        for name, module in named_modules(model).items()
        for key in own_names(module)
        if type(value := vars(module)[key]) not in IMMUTABLE
        and isinstance(value, Tensor | dict | list)
        and any(tensor.is_floating_point() for tensor in walk(value))
    )


@torch.no_grad()
def run_keeping(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The outputs of a model, on which everything stays that its forward keeps there.

    Args:
        model: a copy that is nobody else's, in eval or train mode.
        inputs: example inputs.
    """
    args, kwargs = as_arguments(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return output_tensors(counted(model, model(*args, **kwargs)))


@dataclass(frozen=True)
class Held:
    """What a dense network's attributes held when it was handed in, where that was forgotten since.

    Attributes:
        values: by attribute; containers are copies, whose entries are shared.
    """

    values: Mapping[Attribute, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> "Held":
        """What `analysis.proof.exercised.forgetful` may take away from a network."""
        values: dict[Attribute, Any] = {}
        for name, key in kept_tensors(model):
            value = getattr(model.get_submodule(name), key)
            values[name, key] = value if isinstance(value, Tensor) else copy(value)
        return cls(values)

    def put_back(self, model: nn.Module) -> None:
        """Give a copy of the dense network copies of what that has forgotten."""
        for (name, key), value in self.values.items():
            vars(model.get_submodule(name))[key] = map_tensors(value, Tensor.clone)

    def is_altered(self, attribute: Attribute, found: Any, cuts: Collection[Cut]) -> bool:
        """Whether another tensor was put in the place of one of these."""
        if attribute not in self.values or found is None:
            return False
        key = attribute[1]
        before, after = (dict(leaves(key, each)) for each in (self.values[attribute], found))
        return any(
            is_tensor(after.get(place)) and not is_what_is_left(value, after[place], cuts)
            for place, value in before.items()
            if is_tensor(value)
        )


def forgetful(model: nn.Module, inputs: Inputs) -> nn.Module:
    """The model, without what an earlier forward has kept on it and a forward makes anew.

    A table that is kept in single precision, or for another width, would make two networks differ
    that are one. What no forward makes again is none of these.

    Args:
        model: a copy that is nobody else's; changed.
        inputs: example inputs.
    """
    kept = kept_tensors(model)
    if not kept:
        return model
    try:
        outputs = run_keeping(aliased(model, requires_grad=False), inputs)
    except Exception:
        return model
    if not _forgotten(model, kept, inputs, outputs):
        # Beside a cache there may be a tensor that forward does not do without.
        alike = defaultdict(set)
        for name, key in kept:
            alike[type(model.get_submodule(name)), key].add((name, key))
        for some in alike.values() if len(alike) > 1 else ():
            _forgotten(model, some, inputs, outputs)
    return model


def _forgotten(
    model: nn.Module, kept: Collection[Attribute], inputs: Inputs, outputs: Sequence[Tensor]
) -> bool:
    """Whether a model computes the same without some tensors; it has forgotten them then."""
    for is_deleted in (False, True):
        trial = aliased(model, requires_grad=False)
        _forget(trial, kept, is_deleted)
        try:
            found = run_keeping(trial, inputs)
        except Exception:
            continue
        if _are_alike(outputs, found):
            _forget(model, kept_tensors(trial).intersection(kept), is_deleted)
            return True
    return False


def forgetting(
    pruned: nn.Module, dense: nn.Module, inputs: Inputs, held: Held, cuts: Collection[Cut]
) -> nn.Module:
    """The pruned network, without what a run of the dense one would have kept on it too.

    The weights have changed since a pruner ran it. As it is where it raises, or keeps nothing.

    Args:
        pruned: the network after the cuts; not changed.
        dense: the one before them; not changed.
        inputs: example inputs.
        held: what the dense network held before it forgot that. Where the pruner has put another
            tensor in its place, that stays.
        cuts: every axis that was cut.
    """
    kept, new = kept_tensors(pruned), named_tensors(pruned).keys() - named_tensors(dense).keys()
    if not (kept or new):
        return pruned
    if locate_failure(aliased(pruned, requires_grad=False), inputs) is not None:
        return pruned
    before, trial = kept_tensors(dense), aliased(dense, requires_grad=False)
    run_keeping(trial, inputs)
    modules = named_modules(pruned)
    made = {
        each
        for each in kept & (kept_tensors(trial) - before)
        if not held.is_altered(each, getattr(modules[each[0]], each[1]), cuts)
    }
    registered = [
        (owner, key)
        for owner, _, key in (name.rpartition(".") for name in new)
        if f"{owner}.{key}".lstrip(".") in named_tensors(trial)
    ]
    for is_deleted in (False, True) if made or registered else ():
        found = aliased(pruned, requires_grad=False)
        _forget(found, made, is_deleted)
        for name, key in registered:
            delattr(found.get_submodule(name), key)
        if locate_failure(aliased(found, requires_grad=False), inputs) is None:
            return found
    return pruned


def _forget(model: nn.Module, kept: Collection[Attribute], is_deleted: bool) -> None:
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


def _are_alike(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return len(before) == len(after) and all(
        one.shape == two.shape and relative_error(one, two) < _ROUNDED
        for one, two in zip(before, after, strict=True)
    )


_ROUNDED = 1e-4
"""Relative error of outputs that a table in single precision explains."""
