"""A network without some positions of its tensors' axes: the cut itself, by index."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.network.labels.records import Trace
from analysis.network.labels.tracing import state_of

__all__ = ["cut_axes", "cut_labels"]

_SIZES: dict[str, tuple[tuple[str, int], ...]] = {
    "in_features": (("weight", 1),),
    "out_features": (("weight", 0),),
    "in1_features": (("weight", 1),),
    "in2_features": (("weight", 2),),
    "num_features": (("running_mean", 0), ("weight", 0)),
    "num_channels": (("weight", 0),),
    "num_parameters": (("weight", 0),),
    "num_embeddings": (("weight", 0),),
    "embedding_dim": (("weight", 1),),
    "input_size": (("weight_ih_l0", 1), ("weight_ih", 1)),
    "hidden_size": (("weight_hh_l0", 1), ("weight_hh", 1)),
    "embed_dim": (("in_proj_weight", 1), ("q_proj_weight", 1)),
    "kdim": (("in_proj_weight", 1), ("k_proj_weight", 1)),
    "vdim": (("in_proj_weight", 1), ("v_proj_weight", 1)),
}
"""Attributes in which PyTorch's layers repeat a size: that of the first tensor that they have."""


def cut_labels(model: nn.Module, trace: Trace, gone: NDArray[np.bool_]) -> None:
    """Take the positions that labels of a pass over a model stand for from it, in place; see below.

    Args:
        model: changed.
        trace: a pass over it.
        gone: for each label whether its position goes.
    """
    rows = {axis: gone[trace.labels(*axis)] for axis in trace.starts}
    stays = {axis: np.flatnonzero(~row) for axis, row in rows.items() if row.any()}
    cut_axes(model, {axis: torch.from_numpy(row) for axis, row in stays.items()})


def cut_axes(model: nn.Module, kept: Mapping[tuple[str, int], Tensor]) -> None:
    """Keep these positions of a model's parameters and buffers, in place.

    What PyTorch's own layers repeat of their tensors' sizes in attributes follows.

    Args:
        model: changed.
        kept: by name and dimension, the indices that stay.
    """
    touched = set()
    for name, tensor in state_of(model).items():
        value = tensor.data
        for dim in range(value.dim()):
            if (name, dim) in kept:
                value = value.index_select(dim, kept[name, dim].to(value.device))
        if value.shape != tensor.shape:
            tensor.data, tensor.grad = value, None
            owner = name.rpartition(".")[0]
            # A parametrized layer has its tensors in a module below it.
            touched |= {owner, f".{owner}".partition(".parametrizations")[0].removeprefix(".")}
    for name, layer in model.named_modules():
        if name in touched and _is_torchs(layer):
            _say_sizes(layer)


def _is_torchs(layer: nn.Module) -> bool:
    """Whether it is one of PyTorch's layers, or made of one."""
    return any(
        base is not nn.Module and base.__module__.startswith("torch.nn.")
        for base in type(layer).__mro__
    )


def _say_sizes(layer: Any) -> None:
    if isinstance(layer, nn.modules.conv._ConvNd):
        _say_channels(layer)
        return
    for name, places in _SIZES.items():
        if isinstance(getattr(layer, name, None), int):
            for tensor, dim in places:
                value = getattr(layer, tensor, None)
                if isinstance(value, Tensor) and value.dim() > dim:
                    setattr(layer, name, value.shape[dim])
                    break
    if isinstance(getattr(layer, "normalized_shape", None), tuple) and layer.weight is not None:
        layer.normalized_shape = tuple(layer.weight.shape)
    if isinstance(layer, nn.MultiheadAttention):
        layer.head_dim = layer.embed_dim // layer.num_heads


def _say_channels(layer: Any) -> None:
    """Groups that read one channel each go with it; any others stay, each with fewer channels."""
    out_axis, in_axis = (1, 0) if layer.transposed else (0, 1)
    made, read = layer.weight.shape[out_axis], layer.weight.shape[in_axis]
    if layer.in_channels == layer.groups > 1:
        layer.groups = read if layer.transposed else made * layer.groups // layer.out_channels
    layer.in_channels = read if layer.transposed else read * layer.groups
    layer.out_channels = made * layer.groups if layer.transposed else made
