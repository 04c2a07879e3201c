"""Recipes for models that torch-pruning cannot prune as they are.

They are a comparison for a pruning by groups, which needs none. A recipe is what a user would
write: options of torch-pruning, a simpler forward for its tracer, and attributes to set on the
pruned model. No weight is changed.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torchvision.models import maxvit, shufflenetv2, swin_transformer
from torchvision.models.video import swin_transformer as video_swin

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How a family of models is pruned.

    Attributes:
        summary: the recipe in a sentence.
        options: model -> arguments of the pruner; ``ignored_layers`` join the output layers.
        finish: sets on the pruned model what its forward keeps as attributes.
    """

    summary: str
    options: Callable[[Any], dict[str, Any]]
    finish: Callable[[Any], None] = lambda model: None


def _of_type(model: nn.Module, *types: type[nn.Module]) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, types))


def _vision_transformer(model: Any) -> dict[str, Any]:
    attention = _of_type(model, nn.MultiheadAttention)
    return {"out_channel_groups": {layer: layer.num_heads for layer in attention}}


def _set_hidden_dim(model: Any) -> None:
    model.hidden_dim = model.conv_proj.out_channels


def _shuffle_net(model: Any) -> dict[str, Any]:
    blocks = list(_of_type(model, shufflenetv2.InvertedResidual))

    def between_shuffles(model: Any, images: Tensor) -> list[Tensor]:
        def empty(conv: nn.Conv2d) -> Tensor:
            return images.new_zeros(1, conv.in_channels, 8, 8)

        stem = model.maxpool(model.conv1(images))
        branches = [block.branch2(empty(block.branch2[0])) for block in blocks[1:]]
        last = model.conv5(empty(model.conv5[0])).mean([2, 3])
        return [blocks[0].branch1(stem), blocks[0].branch2(stem), *branches, model.fc(last)]

    shuffled = [blocks[0].branch1[2], *(block.branch2[5] for block in blocks)]
    return {"forward_fn": between_shuffles, "ignored_layers": shuffled}


_WINDOWS = (swin_transformer.ShiftedWindowAttention, video_swin.ShiftedWindowAttention3d)


def _shifted_windows(model: Any) -> dict[str, Any]:
    attention = _of_type(model, *_WINDOWS)
    return {
        "forward_fn": _without_windows,
        "num_heads": {layer.qkv: layer.num_heads for layer in attention},
    }


def _without_windows(model: nn.Module, images: Tensor) -> Any:
    """The forward pass with the same flow of channels and no windows."""

    def attention(layer: Any, x: Tensor) -> Tensor:
        q, k, v = layer.qkv(x).chunk(3, -1)
        product: Tensor = layer.proj(q * k * v)
        return product

    def four_of(x: Tensor) -> Tensor:
        return torch.cat([x * 1.0 for _ in range(4)], -1)

    def merging(layer: Any, x: Tensor) -> Tensor:
        merged: Tensor = layer.reduction(layer.norm(four_of(x)))
        return merged

    with ExitStack() as traced:
        for kind in (*_WINDOWS, swin_transformer.ShiftedWindowAttentionV2):
            traced.enter_context(mock.patch.object(kind, "forward", attention))
        traced.enter_context(mock.patch.object(swin_transformer, "_patch_merging_pad", four_of))
        traced.enter_context(mock.patch.object(video_swin.PatchMerging, "forward", merging))
        return model(images)


def _max_vit(model: Any) -> dict[str, Any]:
    attention = list(_of_type(model, maxvit.RelativePositionalMultiHeadAttention))
    return {
        "ignored_layers": [layer.relative_position_bias_table for layer in attention],
        "num_heads": {layer.to_qkv: layer.n_heads for layer in attention},
        "customized_pruners": {tp.ops._ReshapeOp: tp.ops.DummyPruner()},
    }


def _set_head_dim(model: Any) -> None:
    for layer in _of_type(model, maxvit.RelativePositionalMultiHeadAttention):
        layer.head_dim = layer.to_qkv.out_features // (3 * layer.n_heads)


def _multiscale(model: Any) -> dict[str, Any]:
    return {"ignored_layers": [block.attn.qkv for block in model.blocks]}


def _raft(model: Any) -> dict[str, Any]:
    update = model.update_block
    encoders = [model.feature_encoder.conv, model.context_encoder.conv]
    held = [*encoders, update.motion_encoder.conv, *update.recurrent_block.modules()]
    return {"ignored_layers": held}


RECIPES: dict[str, Recipe] = {
    "vit": Recipe(
        "every head of nn.MultiheadAttention loses the same channels (out_channel_groups); "
        "hidden_dim is set afterwards",
        _vision_transformer,
        _set_hidden_dim,
    ),
    "swin": Recipe(
        "traced without windows (forward_fn), as its index maps grow without end on them; "
        "num_heads of each qkv",
        _shifted_windows,
    ),
    "maxvit": Recipe(
        "reshapes pass channels through (customized_pruners), num_heads of each qkv, position "
        "tables stay; head_dim is set afterwards",
        _max_vit,
        _set_head_dim,
    ),
    "shufflenet": Recipe(
        "traced in the pieces between the channel shuffles (forward_fn), whose channels stay",
        _shuffle_net,
    ),
    "mvit": Recipe("the channels of q, k and v stay: its widths are attributes", _multiscale),
    "raft": Recipe("hidden state and correlated features stay: their widths are attributes", _raft),
}
"""By family; a family without an entry is pruned as it is."""
