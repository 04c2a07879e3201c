"""Faults outside of weights: what a module is given, is, and returns, and what runs around it.

Numbers and flags that forward uses, types of modules, tables that no checkpoint holds, hooks,
branches, outputs. Only a module that forward calls has one, but for tables.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from analysis.network.layers import kind_of
from analysis.proof.faults.sites import Fault, Site

__all__ = ["FAULTS_ELSEWHERE"]


def _numbers(module: nn.Module) -> Iterator[tuple[str, float]]:
    """Those that eval mode may use; not zero, which no factor changes."""
    for name, value in vars(module).items():
        plain = isinstance(value, float) and isfinite(value) and value != 0
        if plain and not name.startswith("_") and name not in _IDLE:
            yield name, value


_IDLE = frozenset({"dropout", "init", "momentum", "p"})
"""Numbers of torch's layers that eval mode does not use."""


def _greater_epsilon(site: Site) -> bool:
    """What a norm adds to the variance is ten times as much."""
    return _scaled_number(site, {"eps"} & dict(_numbers(site.pruned)).keys(), 10)


def _greater_number(site: Site) -> bool:
    """A slope, a bound or a factor is half as great again."""
    return _scaled_number(site, dict(_numbers(site.pruned)).keys() - {"eps"}, 1.5)


def _scaled_number(site: Site, names: Any, factor: float) -> bool:
    for name in sorted(names)[:1]:
        setattr(site.pruned, name, factor * getattr(site.pruned, name))
    return bool(names)


def _padded_otherwise(site: Site) -> bool:
    """A convolution repeats the border where it added zeros."""
    layer = site.pruned
    if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros" or layer.padding == (0, 0):
        return False
    layer.padding_mode = "replicate"
    return True


def _dilated(site: Site) -> bool:
    """A convolution reads positions that lie farther apart, with a wider border."""
    layer = site.pruned
    if not isinstance(layer, nn.Conv2d) or isinstance(layer.padding, str):
        return False
    if layer.kernel_size == (1, 1) or any(size % 2 == 0 for size in layer.kernel_size):
        return False
    wider = zip(layer.padding, layer.kernel_size, strict=True)
    layer.padding = tuple(border + size // 2 for border, size in wider)
    layer.dilation = tuple(step + 1 for step in layer.dilation)
    return True


def _one_group(site: Site) -> bool:
    """A group norm is taken over all channels."""
    if not isinstance(site.pruned, nn.GroupNorm) or site.pruned.num_groups == 1:
        return False
    site.pruned.num_groups = 1
    return True


def _flag_off(site: Site) -> bool:
    """The first flag that a module of the user's own has set is cleared."""
    module = site.pruned
    if kind_of(module) is not None or type(module).__module__.startswith("torch.nn."):
        return False
    flags = [name for name, value in vars(module).items() if value is True and name != "training"]
    public = [name for name in flags if not name.startswith("_")]
    for name in public[:1]:
        setattr(module, name, False)
    return bool(public)


def _put(site: Site, module: nn.Module) -> bool:
    owner, _, own = site.name.rpartition(".")
    setattr(site.network.get_submodule(owner), own, module)
    return True


def _another_activation(site: Site) -> bool:
    """One activation replaces another."""
    module = site.pruned
    if type(module).__module__ != nn.ReLU.__module__ or any(True for _ in module.parameters()):
        return False
    return _put(site, nn.SiLU() if isinstance(module, nn.GELU) else nn.GELU())


def _passes_on(site: Site) -> bool:
    """A module that keeps the shape, such as a norm or a block, is replaced by the identity."""
    given, made = site.given, site.made
    if given is None or not isinstance(made, Tensor) or made.shape != given.shape or not site.name:
        return False
    if isinstance(site.pruned, nn.Identity | nn.modules.dropout._DropoutNd):
        return False
    return _put(site, nn.Identity())


def _shifted_table(site: Site) -> bool:
    """A buffer that no checkpoint holds is shifted by one position along its longest axis."""
    for name in sorted(site.pruned._non_persistent_buffers_set):
        table = getattr(site.pruned, name)
        if isinstance(table, Tensor) and table.dim():
            moved = table.roll(1, max(range(table.dim()), key=lambda axis: table.shape[axis]))
            if not torch.equal(moved, table):
                table.copy_(moved)
                return True
    return False


def _scaled_table(site: Site) -> bool:
    """A tensor that is a plain attribute is half as great again."""
    for name, value in vars(site.pruned).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            setattr(site.pruned, name, 1.5 * value)
            return True
    return False


def _hooked(change: Callable[[Tensor], Tensor]) -> Fault:
    """A hook changes what a module returns."""

    def plant(site: Site) -> bool:
        if not _is_channels(site.made):
            return False
        site.pruned.register_forward_hook(lambda _module, _args, output: change(output))
        return True

    return plant


def _is_channels(value: Any) -> bool:
    several = isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] > 1
    return several and bool(value.is_floating_point())


def _hooked_before(site: Site) -> bool:
    """A hook changes what a module is given."""
    if not _is_channels(site.given):
        return False
    site.pruned.register_forward_pre_hook(lambda _module, args: (1.5 * args[0], *args[1:]))
    return True


def _on_outputs(change: Callable[[dict[Any, Any], Any, Any], None]) -> Fault:
    """A hook changes two outputs that look alike, of several."""

    def plant(site: Site) -> bool:
        alike = next(_alike(site.made), None)
        if alike is None:
            return False

        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            items = _items(output)
            change(items, *alike)
            return items if isinstance(output, Mapping) else type(output)(items.values())

        site.pruned.register_forward_hook(hook)
        return True

    return plant


def _items(output: Any) -> dict[Any, Any]:
    return dict(output) if isinstance(output, Mapping) else dict(enumerate(output))


def _alike(output: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of outputs that are tensors of one shape and type."""
    if isinstance(output, Mapping | list | tuple):
        for (one, first), (other, second) in combinations(_items(output).items(), 2):
            both = isinstance(first, Tensor) and isinstance(second, Tensor)
            if both and (first.shape, first.dtype) == (second.shape, second.dtype):
                yield one, other


def _swap(items: dict[Any, Any], one: Any, other: Any) -> None:
    items[one], items[other] = items[other], items[one]


def _repeat(items: dict[Any, Any], one: Any, other: Any) -> None:
    items[other] = items[one]


def _drop(items: dict[Any, Any], _one: Any, other: Any) -> None:
    del items[other]


def _if_called(fault: Fault) -> Fault:
    return lambda site: site.made is not None and fault(site)


FAULTS_ELSEWHERE: dict[str, Fault] = {
    "a table that is not saved shifted by one": _shifted_table,
    **{
        kind: _if_called(fault)
        for kind, fault in {
            "a greater epsilon of a norm": _greater_epsilon,
            "a greater slope, bound or factor": _greater_number,
            "a plain tensor of a module scaled": _scaled_table,
            "another padding of a convolution": _padded_otherwise,
            "a convolution dilated": _dilated,
            "a group norm of one group": _one_group,
            "a flag cleared": _flag_off,
            "another activation": _another_activation,
            "a module replaced by the identity": _passes_on,
            "an input scaled by a hook": _hooked_before,
            "an output scaled by a hook": _hooked(lambda output: 1.5 * output),
            "an output flipped by a hook": _hooked(lambda output: output.flip(1)),
            "an output put to zero by a hook": _hooked(torch.zeros_like),
            "two outputs swapped": _on_outputs(_swap),
            "an output given twice": _on_outputs(_repeat),
            "an output dropped": _on_outputs(_drop),
        }.items()
    },
}
"""Kinds of fault: each takes a site, and says whether it could be planted there."""
