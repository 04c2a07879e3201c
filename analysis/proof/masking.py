"""The oracle: the dense network with the removed channels masked where they are read.

It is built from the cuts alone and knows nothing of the pruner. Masking a channel where it is
*made* would leave what batch norm and activations turn a zero into alive, and accuse sound
prunings; so the channel is set to zero at the input of each layer that mixes channels, and
statistics over channels are taken over the kept ones.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from analysis.network.inference import (
    indices,
    map_tensors,
    named_tensors,
)
from analysis.network.layers import (
    Kind,
    has_own_forward,
    kind_of,
    masked_part,
    query_scale,
)
from analysis.network.modules import named_modules
from analysis.proof.recurrent_tags import is_recurrent, recurrent_tagged
from analysis.records import Cut

__all__ = ["masked", "renormalizes", "tagged"]


@contextmanager
def masked(model: nn.Module, cuts: Collection[Cut], inside: Collection[str] = ()) -> Iterator[None]:
    """Mask the removed channels of ``model`` inside the block.

    Args:
        model: the dense network; it is as before after the block.
        cuts: every axis that was cut, with indices of the dense network.
        inside: layers whose tensors another layer's forward uses without calling them; they are
            masked in their tensors.
    """
    located = list(_located(model, cuts))
    with ExitStack() as until_done:
        # What a tensor makes of a removed channel is not read; what it reads is masked in it.
        until_done.enter_context(_filled(model, [cut for cut in cuts if cut.axis == "in"], 0.0))
        for cut, layer, kind in located:
            if cut.layer in inside:
                continue
            if cut.axis == "in":
                hook = _masked_input(kind.axis(layer), cut.removed)
                handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
                until_done.callback(handle.remove)
            elif kind.over_kept is not None and has_own_forward(layer):
                hook = _over_kept(kind, cut.kept)
                handle = layer.register_forward_hook(hook, with_kwargs=True)
                until_done.callback(handle.remove)
            elif kind.masked is not None:
                hook = (
                    _masked_input(kind.axis(layer), cut.removed, ("query", "key", "value"))
                    if kind.coupled
                    else _masked_state(cut.removed, cut.width)
                )
                handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
                until_done.callback(handle.remove)
                for name, parameter in layer.named_parameters():
                    removed = indices(cut.removed, parameter)
                    value = kind.masked(layer, name, parameter.data, removed)
                    until_done.enter_context(_replaced(parameter, value))
        for name in inside:
            own = {cut.axis: cut for cut, _, _ in located if cut.layer == name}
            _mask_inside(model, name, own.get("out"), own.get("in"), until_done)
        yield


@contextmanager
def _filled(model: nn.Module, cuts: Iterable[Cut], value: float) -> Iterator[None]:
    """A value at the removed positions of tensors that are cut alone."""
    tensors = named_tensors(model)
    with ExitStack() as until_done:
        for cut in cuts:
            tensor = tensors.get(cut.layer)
            if cut.dim is not None and tensor is not None and _holds_values(tensor):
                filled = tensor.data.index_fill(cut.dim, indices(cut.removed, tensor), value)
                until_done.enter_context(_replaced(tensor, filled))
        yield


def _holds_values(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


@contextmanager
def _replaced(parameter: Tensor, value: Tensor) -> Iterator[None]:
    before, parameter.data = parameter.data, value
    try:
        yield
    finally:
        parameter.data = before


def _mask_inside(
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
    made, read = (
        None if cut is None else torch.tensor(cut.kept, dtype=torch.long) for cut in (out, into)
    )
    for own_name, parameter in layer.named_parameters(recurse=False):
        value = masked_part(kind, layer, own_name, parameter.data, made, read)
        value[: len(value) // 3] *= scale
        until_done.enter_context(_replaced(parameter, value))


@contextmanager
def tagged(model: nn.Module, cuts: Collection[Cut]) -> Iterator[None]:
    """Make the removed channels NaN where layers make them, so that they are known on their way.

    What treats channels alone keeps the tag; `analysis.proof.kept_channels` acts where a
    function combines channels. Readers that are layers are masked by `masked`.
    """
    with ExitStack() as until_done:
        others = [cut for cut in cuts if cut.dim is None or not is_recurrent(model, cut.layer)]
        until_done.enter_context(_filled(model, others, torch.nan))
        until_done.enter_context(recurrent_tagged(model, cuts))
        for cut, layer, kind in _located(model, cuts):
            if cut.axis == "in" and not has_own_forward(layer):
                # As in a weight-standardised convolution, whose weights are normalised first.
                for name, parameter in layer.named_parameters(recurse=False):
                    kept = indices(cut.kept, parameter)
                    value = masked_part(kind, layer, name, parameter.data, None, kept, torch.nan)
                    until_done.enter_context(_replaced(parameter, value))
            elif cut.axis == "out" and not kind.renormalizes:
                hook = _tag_output(kind.axis(layer), cut.removed, cut.width)
                until_done.callback(layer.register_forward_hook(hook).remove)
        yield


def renormalizes(model: nn.Module, cuts: Iterable[Cut]) -> bool:
    """Whether a layer was cut that takes a statistic over channels, or scales by their number."""
    return any(
        kind.renormalizes or _is_scaled(model, cut)
        for cut, layer, kind in _located(model, cuts)
        if cut.removed
    )


def _is_scaled(model: nn.Module, cut: Cut) -> bool:
    owner, _, part = cut.layer.rpartition(".")
    width = max(len(cut.kept), 1)
    return query_scale(model.get_submodule(owner), part, width, cut.width) != 1.0


def _located(model: nn.Module, cuts: Iterable[Cut]) -> Iterator[tuple[Cut, nn.Module, Kind]]:
    """Each cut of a layer of a known kind, with how that holds channels.

    A layer of another kind is covered by the cuts of its tensors.
    """
    modules = named_modules(model)
    for cut in cuts:
        layer = modules.get(cut.layer) if cut.dim is None else None
        kind = kind_of(layer)
        if layer is not None and kind is not None:
            yield cut, layer, kind


def _masked_input(axis: int, removed: Sequence[int], named: tuple[str, ...] = ("input",)) -> Any:
    """A hook that sets the removed channels of a layer's inputs to zero."""

    def zeroed(tensor: Any) -> Any:
        if isinstance(tensor, PackedSequence):
            return tensor._replace(data=zeroed(tensor.data))
        if not isinstance(tensor, Tensor):
            return tensor
        return tensor.index_fill(axis, indices(removed, tensor), 0.0)

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        count = len(named)
        masked_args = (*map(zeroed, args[:count]), *args[count:])
        return masked_args, {
            name: zeroed(value) if name in named else value for name, value in kwargs.items()
        }

    return hook


def _masked_state(removed: Sequence[int], width: int) -> Any:
    """A hook that sets the removed channels of a recurrent layer's first state to zero."""

    def zeroed(tensor: Tensor) -> Tensor:
        has_them = tensor.shape[-1] == width
        return tensor.index_fill(-1, indices(removed, tensor), 0.0) if has_them else tensor

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (*args[:1], *map_tensors(args[1:], zeroed)), {
            name: map_tensors(value, zeroed) if name == "hx" else value
            for name, value in kwargs.items()
        }

    return hook


def _over_kept(kind: Kind, kept: Sequence[int]) -> Any:
    """A hook that puts a layer's output over the kept channels in place; the others are zero."""

    def hook(layer: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        if not kept:  # of no channel at all there is no statistic
            return torch.zeros_like(output)
        inputs = args[0] if args else kwargs["input"]
        place = indices(kept, inputs)
        assert kind.over_kept is not None
        part = kind.over_kept(layer, inputs, place)
        return torch.zeros_like(output).index_copy(kind.axis(layer), place, part)

    return hook


def _tag_output(axis: int, channels: Sequence[int], width: int) -> Any:
    """A hook that makes the removed channels NaN; a recurrent layer puts out several tensors."""

    def tagged(output: Tensor) -> Tensor:
        # Both directions are side by side.
        blocks, removed = range(output.shape[axis] // width), indices(channels, output)
        places = torch.cat([removed[:0], *(removed + block * width for block in blocks)])
        return output.index_fill(axis, places, torch.nan)

    def hook(_layer: nn.Module, _args: Any, output: Any) -> Any:
        return map_tensors(output, tagged)

    return hook
