"""How each kind of layer holds its channels: a new kind is one row of `KINDS`.

The proof asks four things of a layer: on which axis its inputs and outputs hold their channels,
the kept part of its tensors, its output if a statistic over channels is taken over the kept ones
only, and its weights while removed channels are masked inside it. Nothing here knows the pruner.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.errors import InputError, an

__all__ = [
    "KINDS",
    "ROOTS",
    "Kind",
    "axis_of",
    "blocks_cut_alike",
    "filters_alone",
    "has_own_forward",
    "is_depthwise",
    "is_normalisation",
    "is_pointwise",
    "kind_of",
    "makes_channels",
    "masked_part",
    "name_of_kind",
    "per_channel",
    "query_scale",
    "register_layer",
]

Kept = Tensor | None
"""Indices of the kept channels of an axis, shape (kept,); None if it was not cut."""


@dataclass(frozen=True)
class Kind:
    """One kind of layer.

    Attributes:
        axis: (layer) -> the axis of inputs and outputs that holds the channels; negative ones
            count from the end.
        restrict: (layer, name, tensor, out, into) -> the part of a parameter or buffer for the
            output channels ``out`` and the input channels ``into``.
        mixes: whether an output channel depends on more than one input channel.
        over_kept: for a layer with a statistic over channels: (layer, input, kept) -> its output
            for the kept channels, the statistic taken over them alone.
        masked: for a layer that reads its own output: (layer, name, tensor, removed) -> the tensor
            without the removed channels in every inner sum.
        coupled: whether its inputs and outputs are the same channels, and it scales by their
            number.
    """

    axis: Callable[[Any], int]
    restrict: Callable[[Any, str, Tensor, Kept, Kept], Tensor]
    mixes: bool = False
    over_kept: Callable[[Any, Tensor, Tensor], Tensor] | None = None
    masked: Callable[[Any, str, Tensor, Tensor], Tensor] | None = None
    coupled: bool = False

    @property
    def renormalizes(self) -> bool:
        """Whether a cut changes the layer's output on the kept channels."""
        return self.over_kept is not None or self.coupled


def kind_of(layer: nn.Module | None) -> Kind | None:
    """The row of a layer; None if its kind has none."""
    own: Any = type(layer)
    return _row_of(own)


@cache
def _row_of(layer: type) -> Kind | None:
    return next((kind for types, kind in KINDS.items() if any(_bases(layer, types))), None)


def _bases(layer: type, types: Collection[type | str]) -> Iterator[Any]:
    """Of the classes that one derives from, those among these, given as such or by name.

    A class of torchvision is known by its name, so that nobody imports torchvision who does not
    use it.
    """
    for base in layer.__mro__:
        if base in types or f"{base.__module__}.{base.__qualname__}" in types:
            yield base


def is_depthwise(layer: Any) -> bool:
    """Whether a convolution treats every channel alone."""
    return (
        isinstance(layer, nn.modules.conv._ConvNd)
        and layer.groups == layer.in_channels == layer.out_channels > 1
    )


def is_pointwise(layer: Any) -> bool:
    """Whether a convolution looks at one position alone."""
    is_dense = isinstance(layer, nn.modules.conv._ConvNd) and not filters_alone(layer)
    return is_dense and all(size == 1 for size in layer.kernel_size)


def filters_alone(layer: Any) -> bool:
    """Whether torch-pruning treats a convolution as depthwise: each channel has its group."""
    return isinstance(layer, nn.modules.conv._ConvNd) and layer.groups == layer.out_channels > 1


def name_of_kind(layer: Any) -> str:
    """A layer's class, or ``parameter``; depthwise convolutions have a kind of their own."""
    kind = "Parameter" if isinstance(layer, nn.Parameter) else type(layer).__name__
    return f"depthwise {kind}" if filters_alone(layer) else kind


def blocks_cut_alike(layer: Any) -> int:
    """Blocks of channels that torch-pruning cuts alike, as its pruner registers them."""
    if isinstance(layer, nn.modules.conv._ConvNd) and not filters_alone(layer):
        return layer.groups
    return layer.num_groups if isinstance(layer, nn.GroupNorm) else 1


def is_normalisation(layer: nn.Module) -> bool:
    """Whether a statistic over channels is what a layer is for."""
    kind = kind_of(layer)
    return kind is not None and kind.over_kept is not None


def has_own_forward(layer: nn.Module) -> bool:
    """Whether a layer computes what its row says; a derived class may not."""
    own: Any = type(layer)
    return _is_forward_of_row(own)


@cache
def _is_forward_of_row(layer: type[nn.Module]) -> bool:
    computed_by = next(base for base in layer.__mro__ if not _COMPUTE.isdisjoint(vars(base)))
    # A row may name what several of PyTorch's own classes derive from.
    is_known = computed_by.__module__.startswith("torch.nn.")
    return is_known or any(computed_by in _bases(layer, types) for types in KINDS)


_COMPUTE = frozenset({"forward", "_conv_forward"})
"""Methods by which a layer computes its output."""


def makes_channels(layer: Any) -> bool:
    """Whether a layer's output channels are new ones, sums over what it reads."""
    kind = kind_of(layer)
    return kind is not None and kind.mixes and not is_depthwise(layer)


def axis_of(layer: Any, tensor: Tensor, dim: int) -> str:
    """Which axis of a layer a dimension of its tensor has, as its class uses it.

    ``out`` is what it makes or treats alone, ``in`` what it reads; empty for neither, and for a
    kind that has several of one.
    """
    kind = kind_of(layer)
    if kind is None or kind.masked is not None:
        return ""
    if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) and tensor.dim() > 1:
        turned = getattr(layer, "transposed", False)
        return ("in", "out")[(dim == 0) is not turned] if dim < 2 else ""
    return "out" if dim == tensor.dim() - 1 else ""


def _last(layer: nn.Module) -> int:
    """(..., C)."""
    return -1


def _second(layer: nn.Module) -> int:
    """(N, C, *positions)."""
    return 1


def _before_positions(layer: Any) -> int:
    """(N, C, *positions) or (C, *positions)."""
    return -1 - len(layer.kernel_size)


def _each_channel(layer: nn.Module, name: str, tensor: Tensor, out: Kept, into: Kept) -> Tensor:
    """One value a channel on the last axis; a counter has no axis, one slope serves all."""
    if out is None or not tensor.dim() or tensor.shape[-1] == 1:
        return tensor
    return tensor.index_select(-1, out)


def _linear(layer: Any, name: str, tensor: Tensor, out: Kept, into: Kept) -> Tensor:
    kept = _each_output(layer.out_features, tensor, out)
    if into is None or not _is_read(layer.in_features, tensor):
        return kept
    return kept.index_select(1, into)


def _each_output(width: int, tensor: Tensor, out: Kept) -> Tensor:
    """A class of the user's own may hold other tensors beside: a gain, factors of low rank."""
    if out is None or tensor.shape[:1] != (width,):
        return tensor
    return tensor.index_select(0, out)


def _is_read(width: int, tensor: Tensor) -> bool:
    return tensor.dim() > 1 and tensor.shape[1] == width


def _convolution(layer: Any, name: str, tensor: Tensor, out: Kept, into: Kept) -> Tensor:
    if is_depthwise(layer) or tensor.dim() == 1:
        return _each_output(layer.out_channels, tensor, out)
    made, read = (layer.out_channels, out), (layer.in_channels, into)
    # A transposed one holds (in, out / groups, *taps), any other (out, in / groups, *taps).
    (height, rows), (width, columns) = (read, made) if layer.transposed else (made, read)
    if not _is_read(width // layer.groups, tensor):
        return _each_output(height, tensor, rows)
    if len(tensor) != height and columns is not None:
        # Weight norm's scale, or a factor of low rank, is the same for all that is made.
        return tensor.index_select(1, columns[columns < tensor.shape[1]])
    return _grouped(tensor, rows if len(tensor) == height else None, columns, layer.groups)


def _grouped(weight: Tensor, rows: Kept, columns: Kept, groups: int) -> Tensor:
    """Rows and columns of a block-diagonal matrix of which only the blocks are stored."""
    height, width = weight.shape[0] // groups, weight.shape[1]
    if columns is None or groups == 1:
        kept = weight if rows is None else weight.index_select(0, rows)
        return kept if columns is None else kept.index_select(1, columns)
    stays = torch.arange(len(weight), device=weight.device) if rows is None else rows
    blocks = [columns[columns // width == group] - group * width for group in range(groups)]
    if len({len(block) for block in blocks}) > 1:
        return weight  # blocks of several widths make no weight: whatever was cut, is not this
    return torch.stack([weight[row][blocks[int(row) // height]] for row in stays])


def _attention(layer: Any, name: str, tensor: Tensor, out: Kept, into: Kept) -> Tensor:
    """nn.MultiheadAttention: q, k and v stacked, then the output projection."""
    if out is None:
        return tensor
    if name.startswith("in_proj"):
        rows = tensor[torch.cat([out + part * layer.embed_dim for part in range(3)])]
        return rows if tensor.dim() == 1 else rows[:, out]
    kept = tensor[out] if name.startswith("out_proj") else tensor[..., out]
    return kept[:, out] if name == "out_proj.weight" else kept


def _masked_attention(layer: Any, name: str, tensor: Tensor, removed: Tensor) -> Tensor:
    """Removed channels take no part in q.k and in the output projection.

    The scale 1/sqrt(channels of a head) is that of the channels that stay.
    """
    width = layer.embed_dim
    if name.startswith("in_proj"):
        masked = tensor.index_fill(0, torch.cat([removed + part * width for part in range(3)]), 0.0)
        masked[:width] *= (width / max(width - len(removed), 1)) ** 0.5
        return masked
    return tensor.index_fill(1, removed, 0.0) if name == "out_proj.weight" else tensor


def _recurrent(layer: Any, name: str, tensor: Tensor, out: Kept, into: Kept) -> Tensor:
    """nn.LSTM, nn.GRU, nn.RNN and their cells: rows of all gates stacked, each of hidden channels.

    All layers and directions of one module have the same hidden size, and are cut alike.
    """
    if out is not None:
        out = _of_direction(layer, name, out)
        is_projected = bool(getattr(layer, "proj_size", 0))
        if name.startswith("weight_hr"):
            return tensor[out]
        if not is_projected:
            tensor = tensor[_in_blocks(out, len(tensor) // layer.hidden_size, layer.hidden_size)]
        if name.startswith("weight_hh"):
            return tensor[:, out]
        if name.startswith("weight_ih") and _is_above(name):
            width = layer.proj_size if is_projected else layer.hidden_size
            return tensor[:, _in_blocks(out, tensor.shape[1] // width, width)]
    if into is not None and name.startswith("weight_ih") and not _is_above(name):
        return tensor[:, into]
    return tensor


def _masked_recurrent(layer: Any, name: str, tensor: Tensor, removed: Tensor) -> Tensor:
    """Removed channels of the step before, and of the layer below, take no part in any gate."""
    width = getattr(layer, "proj_size", 0) or layer.hidden_size
    removed = _of_direction(layer, name, removed)
    if name.startswith("weight_hh") or (name.startswith("weight_ih") and _is_above(name)):
        return tensor.index_fill(1, _in_blocks(removed, tensor.shape[1] // width, width), 0.0)
    return tensor


def _of_direction(layer: Any, name: str, channels: Tensor) -> Tensor:
    """Channels of one direction; they may be numbered over both, as they are in the output."""
    width = getattr(layer, "proj_size", 0) or layer.hidden_size
    second = channels >= width
    if not bool(second.any()):
        return channels
    return channels[second] - width if name.endswith("_reverse") else channels[~second]


def _in_blocks(channels: Tensor, blocks: int, width: int) -> Tensor:
    """The positions of channels in each of several blocks of so many."""
    return torch.cat([channels + block * width for block in range(blocks)])


def _is_above(name: str) -> bool:
    """Whether a tensor is of a layer that reads what another layer of the module makes."""
    return "_l" in name and "_l0" not in name


def _layer_norm(layer: Any, inputs: Tensor, kept: Tensor) -> Tensor:
    shape = (*layer.normalized_shape[:-1], len(kept))
    return functional.layer_norm(inputs[..., kept], shape, *_affine(layer, kept), eps=layer.eps)


def _layer_norm_2d(layer: Any, inputs: Tensor, kept: Tensor) -> Tensor:
    return _layer_norm(layer, inputs.movedim(1, -1), kept).movedim(-1, 1)


def _rms_norm(layer: Any, inputs: Tensor, kept: Tensor) -> Tensor:
    shape = (*layer.normalized_shape[:-1], len(kept))
    weight, _ = _affine(layer, kept)
    return functional.rms_norm(inputs[..., kept], shape, weight, layer.eps)


def _group_norm(layer: Any, inputs: Tensor, kept: Tensor) -> Tensor:
    """A group's statistics are those of its own kept channels."""
    size = layer.num_channels // layer.num_groups
    parts = []
    for group in range(layer.num_groups):
        members = kept[kept // size == group]
        if len(members):
            affine = _affine(layer, members)
            parts.append(functional.group_norm(inputs[:, members], 1, *affine, eps=layer.eps))
    return torch.cat(parts, 1)


def _affine(layer: Any, kept: Tensor) -> tuple[Tensor | None, Tensor | None]:
    weight, bias = layer.weight, getattr(layer, "bias", None)
    return (
        None if weight is None else weight[..., kept],
        None if bias is None else bias[..., kept],
    )


def masked_part(
    kind: Kind,
    layer: nn.Module,
    name: str,
    tensor: Tensor,
    out: Kept,
    into: Kept,
    value: float = 0.0,
) -> Tensor:
    """A tensor of a layer with ``value`` for the channels that are not made or read any more.

    For a layer whose tensors another forward than its kind's uses, so that no hook sees what is
    read.
    """
    places = torch.arange(tensor.numel(), device=tensor.device).view(tensor.shape)
    out, into = (None if kept is None else kept.to(tensor.device) for kept in (out, into))
    kept = kind.restrict(layer, name, places, out, into).flatten()
    masked = torch.full_like(tensor, value).flatten()
    masked[kept] = tensor.flatten()[kept]
    return masked.view(tensor.shape)


def per_channel(axis: int, dim: int = -1) -> Kind:
    """The row of a layer that treats every channel alone, with one value a channel.

    Args:
        axis: the axis of inputs and outputs that holds the channels.
        dim: the dimension of parameters and buffers that does.
    """

    def restrict(layer: nn.Module, name: str, tensor: Tensor, out: Kept, into: Kept) -> Tensor:
        if out is None or not tensor.dim() or tensor.shape[dim] == 1:
            return tensor
        return tensor.index_select(dim, out)

    return Kind(lambda layer: axis, restrict)


def register_layer(layer: type[nn.Module], kind: Kind) -> None:
    """Describe your own layer to the proof; torch-pruning also needs a pruner for it.

    Args:
        layer: the class; classes that derive from it, with their own forward or not, are known too.
        kind: how it holds its channels, see `Kind`, or `per_channel` for the simplest.

    Raises:
        InputError: ``layer`` is not a class of modules, or ``kind`` is not a `Kind`.
    """
    if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
        raise InputError(f"register_layer was given {layer!r}; expected a class of torch.nn.Module")
    if not isinstance(kind, Kind):
        raise InputError(
            f"register_layer was given {an(type(kind).__name__)} for {layer.__name__}; expected an "
            "analysis.layers.Kind, such as analysis.layers.per_channel(axis=1)"
        )
    rows = {types: row for types, row in KINDS.items() if types != (layer,)}
    KINDS.clear()  # what is derived from a known layer is found first
    KINDS.update({(layer,): kind} | rows)
    _row_of.cache_clear()
    _is_forward_of_row.cache_clear()


KINDS: dict[tuple[type[nn.Module] | str, ...], Kind] = {
    (nn.modules.conv._ConvNd,): Kind(_before_positions, _convolution, mixes=True),
    (nn.Linear,): Kind(_last, _linear, mixes=True),
    (nn.Embedding,): Kind(_last, _each_channel, mixes=True),
    (nn.MultiheadAttention,): Kind(
        _last, _attention, mixes=True, masked=_masked_attention, coupled=True
    ),
    (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell): Kind(
        _last, _recurrent, mixes=True, masked=_masked_recurrent
    ),
    (nn.modules.batchnorm._BatchNorm, "torchvision.ops.misc.FrozenBatchNorm2d"): Kind(
        _second, _each_channel
    ),
    (nn.modules.instancenorm._InstanceNorm, nn.PReLU): Kind(_second, _each_channel),
    (nn.GroupNorm,): Kind(_second, _each_channel, over_kept=_group_norm),
    ("torchvision.models.convnext.LayerNorm2d",): Kind(
        _second, _each_channel, over_kept=_layer_norm_2d
    ),
    (nn.LayerNorm,): Kind(_last, _each_channel, over_kept=_layer_norm),
    (nn.RMSNorm,): Kind(_last, _each_channel, over_kept=_rms_norm),
}
"""Every kind of layer that can be proved; the first row that fits is used."""

_SCALED_BY_WIDTH = (
    "torchvision.models.swin_transformer.ShiftedWindowAttention",
    "torchvision.models.video.swin_transformer.ShiftedWindowAttention3d",
)
"""Attention whose forward divides by the root of its input's width; ``qkv`` makes q, k and v
stacked. (torchvision's second version, which compares directions, derives from the first and
divides by nothing.)"""

_SCALED_BY_NOTHING = ("torchvision.models.swin_transformer.ShiftedWindowAttentionV2",)


def query_scale(parent: nn.Module | None, part: str, kept: int, width: int) -> float:
    """What the queries that ``part`` of ``parent`` makes are multiplied by once it has been cut."""
    scaled = part == "qkv" and any(_bases(type(parent), _SCALED_BY_WIDTH))
    if not scaled or any(_bases(type(parent), _SCALED_BY_NOTHING)):
        return 1.0
    return float((width / kept) ** 0.5)


ROOTS = (nn.modules.conv._ConvNd, nn.Linear, nn.LSTM)
"""Layers by which torch-pruning finds the groups that it cuts."""
