"""What modules hold beside parameters and buffers, compared with what the dense network's do.

A tensor among it must be the dense one, or what is left of that along axes of a width that was cut.
What a forward pass of the dense network writes itself says nothing, as a counter or a cached table.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from inspect import isroutine
from typing import Any

import numpy as np
from torch import Tensor, nn

from analysis.errors import an
from analysis.network.attributes import own_attributes
from analysis.network.inference import Inputs, aliased, named_tensors, random_state_kept
from analysis.network.modules import named_modules
from analysis.proof.exercised import Attribute, Held, forgetful, run_keeping
from analysis.proof.leaves import is_tensor, is_what_is_left, leaves
from analysis.records import Cut

__all__ = ["changed_attributes", "written_tensors"]


def changed_attributes(
    dense: nn.Module, pruned: nn.Module, held: Held, cuts: Collection[Cut], inputs: Inputs
) -> list[str]:
    """Differences of modules beside parameters and buffers, in words.

    A number may follow a width of the network, or be a part of one of a tensor inside its module.

    Args:
        dense: the network before the cuts.
        pruned: the network after them, with all that it keeps.
        held: what the dense network has forgotten since.
        cuts: every axis that was cut.
        inputs: example inputs, on which the dense network runs if an attribute differs.
    """
    found = [*_differences(dense, pruned, held, cuts)]
    if any(key for _, key, _ in found):
        always, anew = _written_by_forward(dense, held, inputs)
        others = {name: own_attributes(module) for name, module in named_modules(pruned).items()}
        found = [
            (name, key, text)
            for name, key, text in found
            if (name, key) not in always
            and (
                (name, key) not in anew or held.is_altered((name, key), others[name].get(key), cuts)
            )
        ]
    return [text for _, _, text in found]


def _differences(
    dense: nn.Module, pruned: nn.Module, held: Held, cuts: Collection[Cut]
) -> Iterator[tuple[str, str, str]]:
    """The module, the attribute ("" where it is none) and what differs, in words."""
    modules, others = named_modules(dense), named_modules(pruned)
    widths = _widths(dense, pruned)
    forgotten: dict[str, dict[str, Any]] = defaultdict(dict)
    for (name, key), value in held.values.items():
        forgotten[name][key] = value
    for name, module in modules.items():
        other = others.get(name)
        if other is None:
            if not named_tensors(module):  # these are listed where they are missing
                yield name, "", f"`{name}` is gone"
            continue
        if type(other) is not type(module):
            kinds = an(type(other).__name__), an(type(module).__name__)
            yield name, "", f"`{name}` is {kinds[0]} and was {kinds[1]}"
            continue
        compared = _Compared(module, other, forgotten[name], cuts, (widths[name], widths[""]))
        where = f"of `{name}`" if name else "of the model"
        for key, what, now in (*compared.values(), *compared.functions(), *compared.kinds()):
            yield name, key, f"`{what}` {where} is {now}"
        if _hooks(module) != _hooks(other):
            yield name, "", f"the hooks {where} are others"
    for name, module in others.items():
        if name not in modules and name.rpartition(".")[0] in modules:
            yield name, "", f"`{name}` is new, {an(type(module).__name__)}"


@dataclass(frozen=True)
class _Compared:
    """Two modules of one name and type, and how their attributes differ."""

    module: nn.Module
    other: nn.Module
    forgotten: Mapping[str, Any]
    cuts: Collection[Cut]
    widths: tuple["Widths", "Widths"]

    def values(self) -> Iterator[tuple[str, str, str]]:
        """Numbers, words and tensors that differ: the attribute, the place in it, what is there."""
        before = own_attributes(self.module) | dict(self.forgotten)
        after = own_attributes(self.other)
        others = [
            (key, one, two)
            for key in dict.fromkeys((*before, *after))
            if (one := before.get(key, _NOTHING)) is not (two := after.get(key, _NOTHING))
        ]
        shared = {id(each) for each in named_tensors(self.module).values()} if others else ()
        for key, one, two in others:
            was, now = dict(leaves(key, one)), dict(leaves(key, two))
            for place in dict.fromkeys((*was, *now)):
                if id(was.get(place)) not in shared:
                    text = self._change(was.get(place, _NOTHING), now.get(place, _NOTHING))
                    if text:
                        yield key, place, text

    def _change(self, before: Any, after: Any) -> str:
        if after is _NOTHING:
            return "gone"
        if before is _NOTHING:
            return "new"
        if is_tensor(before) and is_tensor(after):
            return "" if is_what_is_left(before, after, self.cuts) else "another tensor"
        if is_tensor(before) or is_tensor(after):
            return f"{_said(after)} and was {_said(before)}"
        return "" if _follows(before, after, *self.widths) else f"{after!r} and was {before!r}"

    def functions(self) -> Iterator[tuple[str, str, str]]:
        """Attributes that are functions of other code, as a forward that one has by itself."""
        before, after = own_attributes(self.module), own_attributes(self.other)
        for key in dict.fromkeys((*before, *after)):
            one, two = before.get(key), after.get(key)
            if one is not two and (isroutine(one) or isroutine(two)) and _code(one) != _code(two):
                yield key, key, "another function"

    def kinds(self) -> Iterator[tuple[str, str, str]]:
        """Tensors that are kept in another way."""
        before, after = _kinds(self.module), _kinds(self.other)
        for key, kind in before.items():
            found = after.get(key, kind)
            if found != kind:  # whatever forward writes to it
                yield "", key, f"{found} and was {kind}"


_NOTHING = object()
"""In place of an attribute that there is not."""


def _said(value: Any) -> str:
    return "a tensor" if is_tensor(value) else repr(value)


def written_tensors(dense: nn.Module, held: Held, inputs: Inputs) -> frozenset[str]:
    """Names of parameters and buffers that each forward in eval mode writes to, as a counter.

    Args:
        dense: not changed.
        held: what it has forgotten.
        inputs: example inputs.
    """
    trial = aliased(dense, requires_grad=False)
    held.put_back(trial)
    return frozenset(f"{name}.{key}".lstrip(".") for name, key in _written(trial, inputs, (False,)))


def _written_by_forward(
    dense: nn.Module, held: Held, inputs: Inputs
) -> tuple[frozenset[Attribute], frozenset[Attribute]]:
    """What a forward of the dense network writes each time, and what it makes where it is not."""
    as_found = aliased(dense, requires_grad=False)
    held.put_back(as_found)
    empty = forgetful(aliased(dense, requires_grad=False), inputs)
    return _written(as_found, inputs), _written(empty, inputs)


def _written(
    trial: nn.Module, inputs: Inputs, modes: Collection[bool] = (False, True)
) -> frozenset[Attribute]:
    """Attributes and buffers that runs make, or write to: in eval mode, in train mode."""
    before = {name: _marks(module) for name, module in named_modules(trial).items()}
    with random_state_kept():
        for is_training in modes:
            try:
                run_keeping(trial.train(is_training), inputs)
            except Exception:
                continue  # a batch norm refuses a single value a channel
    return frozenset(
        (name, key)
        for name, module in named_modules(trial).items()
        for key, marks in _marks(module).items()
        if not _are_same(before.get(name, {}).get(key, []), marks)
    )


Marks = list[tuple[Any, Any]]
"""What tells whether an attribute was written to: each object in it, and a copy of what changes."""


def _marks(module: nn.Module) -> dict[str, Marks]:
    own = own_attributes(module) | module._buffers
    return {
        key: [(value, None), *((leaf, _copied(leaf)) for _, leaf in leaves(key, value))]
        for key, value in own.items()
    }


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.detach().clone()
    return leaf.copy() if isinstance(leaf, np.ndarray | list | set) else None


def _are_same(before: Marks, after: Marks) -> bool:
    """Whether all is the very same object; a number that was set anew is another one."""
    return len(before) == len(after) and all(
        one is two and (copied is None or _is_equal(copied, two))
        for (one, copied), (two, _) in zip(before, after, strict=True)
    )


def _is_equal(copied: Any, leaf: Any) -> bool:
    return is_what_is_left(copied, leaf, ()) if is_tensor(leaf) else bool(copied == leaf)


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
