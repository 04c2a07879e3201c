"""The oracle: the dense network with the removed channels silenced where they are read.

It is built from the cuts alone and knows nothing of the pruner. Silencing a channel where it is
*made* would leave what batch norm and activations turn a zero into alive, and accuse sound
prunings; so the channel is set to zero at the input of each layer that mixes channels, and
statistics over channels are taken over the kept ones.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.errors import UnsupportedLayerError
from analysis.layers import (
    ATTENTION,
    KINDS,
    PRODUCTS,
    READS,
    Kind,
    kind_of,
    query_scale,
    silent_part,
)
from analysis.records import Cut

__all__ = ["Contractions", "masked", "renormalizes", "tagged"]


@contextmanager
def masked(model: nn.Module, cuts: Iterable[Cut], inside: Collection[str] = ()) -> Iterator[None]:
    """Silence the removed channels of ``model`` inside the block.

    Args:
        model: the dense network; it is as before after the block.
        cuts: every axis that was cut, with indices of the dense network.
        inside: layers whose tensors another layer's forward uses without calling them; they are
            silenced in their tensors.

    Raises:
        UnsupportedLayerError: a layer was cut that has no row in `analysis.layers.KINDS`.
    """
    located = list(_located(model, cuts))
    with ExitStack() as until_done:
        for cut, layer, kind in located:
            removed = torch.tensor(cut.removed, dtype=torch.long)
            if layer is None:
                parameter = dict(model.named_parameters(remove_duplicate=False))[cut.layer]
                value = parameter.data.index_fill(-1 if cut.dim is None else cut.dim, removed, 0.0)
                until_done.enter_context(_replaced(parameter, value))
            elif cut.layer in inside:
                continue
            elif cut.axis == "in":
                hook = _silent_input(kind.axis(layer), removed)
                handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
                until_done.callback(handle.remove)
            elif kind.over_kept is not None:
                hook = _over_kept(kind, torch.tensor(cut.kept, dtype=torch.long))
                handle = layer.register_forward_hook(hook, with_kwargs=True)
                until_done.callback(handle.remove)
            elif kind.silenced is not None:
                hook = _silent_input(kind.axis(layer), removed, ("query", "key", "value"))
                handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
                until_done.callback(handle.remove)
                for name, parameter in layer.named_parameters():
                    value = kind.silenced(layer, name, parameter.data, removed)
                    until_done.enter_context(_replaced(parameter, value))
        for name in inside:
            own = {cut.axis: cut for cut, _, _ in located if cut.layer == name}
            _silence_inside(model, name, own.get("out"), own.get("in"), until_done)
        yield


@contextmanager
def _replaced(parameter: nn.Parameter, value: Tensor) -> Iterator[None]:
    before, parameter.data = parameter.data, value
    try:
        yield
    finally:
        parameter.data = before


def _silence_inside(
    model: nn.Module, name: str, out: Cut | None, into: Cut | None, until_done: ExitStack
) -> None:
    """Zero what a layer's tensors make and read of removed channels, and scale its queries."""
    layer = model.get_submodule(name)
    kind = kind_of(layer)
    if kind is None or (out is None and into is None):
        return
    owner, _, part = name.rpartition(".")
    kept, width = (len(into.kept), into.width) if into else (1, 1)
    scale = query_scale(model.get_submodule(owner), part, kept, width)
    indices = [
        None if cut is None else torch.tensor(cut.kept, dtype=torch.long) for cut in (out, into)
    ]
    for own_name, parameter in layer.named_parameters(recurse=False):
        value = silent_part(kind, layer, own_name, parameter.data, *indices)
        value[: len(value) // 3] *= scale
        until_done.enter_context(_replaced(parameter, value))


@contextmanager
def tagged(model: nn.Module, cuts: Iterable[Cut]) -> Iterator[None]:
    """Make the removed channels NaN where layers make them, so that they are known on their way.

    What treats channels alone keeps the tag; `Contractions` silences it where a product of two
    activations, as in attention, reads it. Readers that are layers are silenced by `masked`.
    """
    handles = []
    try:
        for cut, layer, kind in _located(model, cuts):
            if layer is not None and cut.axis == "out" and not kind.renormalizes:
                removed = torch.tensor(cut.removed, dtype=torch.long)
                hook = _tag_output(kind.axis(layer), removed)
                handles.append(layer.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def renormalizes(model: nn.Module, cuts: Iterable[Cut]) -> bool:
    """Whether a layer was cut that takes a statistic over channels, or scales by their number."""
    return any(
        kind.renormalizes or _is_scaled(model, cut)
        for cut, layer, kind in _located(model, cuts)
        if layer is not None and cut.removed
    )


def _is_scaled(model: nn.Module, cut: Cut) -> bool:
    owner, _, part = cut.layer.rpartition(".")
    width = max(len(cut.kept), 1)
    return query_scale(model.get_submodule(owner), part, width, cut.width) != 1.0


def _located(model: nn.Module, cuts: Iterable[Cut]) -> Iterator[tuple[Cut, nn.Module | None, Kind]]:
    """Each cut with its layer and how that holds channels; no layer for a parameter outside one."""
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for cut in cuts:
        if cut.dim is not None and cut.layer in parameters:
            yield cut, None, _OUTSIDE
            continue
        layer = modules.get(cut.layer)
        kind = kind_of(layer)
        if kind is None:
            raise UnsupportedLayerError(_unsupported(layer, cut))
        yield cut, layer, kind


_OUTSIDE = Kind(lambda layer: -1, lambda layer, name, tensor, out, into: tensor)


def _unsupported(layer: nn.Module | None, cut: Cut) -> str:
    known = ", ".join(kind.__name__.lstrip("_") for kinds in KINDS for kind in kinds)
    return (
        f"cannot prove this pruning: it cut `{cut.layer}`, a {type(layer).__name__}, which has no "
        f"row in analysis.layers.KINDS; it knows {known}"
    )


def _silent_input(axis: int, removed: Tensor, named: tuple[str, ...] = ("input",)) -> Any:
    """A hook that sets the removed channels of a layer's inputs to zero."""

    def silent(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        return tensor.index_fill(axis, removed.to(tensor.device), 0.0)

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        count = len(named)
        silent_args = (*map(silent, args[:count]), *args[count:])
        return silent_args, {
            name: silent(value) if name in named else value for name, value in kwargs.items()
        }

    return hook


def _over_kept(kind: Kind, kept: Tensor) -> Any:
    """A hook that puts a layer's output over the kept channels in place; the others are zero."""

    def hook(layer: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        inputs = args[0] if args else kwargs["input"]
        place = kept.to(inputs.device)
        assert kind.over_kept is not None
        part = kind.over_kept(layer, inputs, place)
        return torch.zeros_like(output).index_copy(kind.axis(layer), place, part)

    return hook


def _tag_output(axis: int, removed: Tensor) -> Any:
    def hook(_layer: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return output.index_fill(axis, removed.to(output.device), torch.nan)

    return hook


class Contractions(TorchFunctionMode):
    """Inside the block, functions that sum over channels leave the tagged ones out.

    Args:
        rescale: whether the product of queries and keys is scaled as if its width had always been
            that of the channels that stay: a network that derives 1/sqrt(width) from the shape
            does so once it is pruned.
    """

    def __init__(self, *, rescale: bool) -> None:
        super().__init__()
        self._rescale = rescale
        self.rescaled = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not (func in PRODUCTS or func in READS) or not any(map(_is_tagged, args)):
            return func(*args, **kwargs)
        silent = [torch.nan_to_num(arg) if _is_tagged(arg) else arg for arg in args]
        by_width = func is ATTENTION and kwargs.get("scale") is None and len(args) < 7
        if by_width or (self._rescale and func in PRODUCTS and func is not ATTENTION):
            first = next(index for index, arg in enumerate(args) if isinstance(arg, Tensor))
            scale = _width_ratio(args[first])
            silent[first] = silent[first] * scale
            self.rescaled |= scale != 1.0
        return func(*silent, **kwargs)


def _is_tagged(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _width_ratio(queries: Any) -> float:
    """Square root of the width of the last axis over the part of it that is not tagged."""
    if not _is_tagged(queries):
        return 1.0
    width = queries.shape[-1]
    gone = int(queries.isnan().flatten(0, -2).all(0).sum())
    return (width / max(width - gone, 1)) ** 0.5
