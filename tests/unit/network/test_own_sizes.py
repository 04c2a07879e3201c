"""The sizes that PyTorch's layers state, where a forward pass reads their tensors by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import Pruned, prune
from analysis.network.cutting import cut_axes
from analysis.records import Verdict

KEPT = torch.tensor([0, 2, 3, 5])

Function = Callable[["ByHand", Tensor], Tensor]


class ByHand(nn.Module):
    """A layer whose tensors a function reads, between two layers that may lose channels."""

    def __init__(self, function: Function, layer: nn.Module, made: int) -> None:
        super().__init__()
        self.make = nn.Linear(5, 8)
        self.layer: Any = layer
        self.read = nn.Linear(made, 6)
        self.head = nn.Linear(6, 3)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.head(self.read(self.function(self, self.make(x))))


def pruned(function: Function, layer: nn.Module, made: int, ratio: float = 0.5) -> Pruned:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ByHand(function, layer, made).eval()
        found = prune(net, torch.randn(2, 4, 5), ratio, ignore=["head"])
    assert (found.verification.verdict, found.verification.structure) == (Verdict.EXACT, "proved")
    assert found.kept["make"]["out"] != tuple(range(8))
    return found


def values(net: ByHand, x: Tensor) -> Tensor:
    """What each position would give to the others, as dense features of CLIP are taken."""
    weight, bias = net.layer.in_proj_weight[16:], net.layer.in_proj_bias[16:]
    out: Tensor = net.layer.out_proj(functional.linear(x, weight, bias))
    return out


def values_by_width(net: ByHand, x: Tensor) -> Tensor:
    start = 2 * net.layer.embed_dim
    weight, bias = net.layer.in_proj_weight[start:], net.layer.in_proj_bias[start:]
    out: Tensor = net.layer.out_proj(functional.linear(x, weight, bias))
    return out


@pytest.mark.parametrize("heads", [2, 8])
@pytest.mark.parametrize("ratio", [0.35, 0.5])
@pytest.mark.parametrize("function", [values, values_by_width])
def test_an_attention_of_which_values_alone_are_read_keeps_the_sizes_of_its_heads(
    function: Function, ratio: float, heads: int
) -> None:
    layer: Any = pruned(function, nn.MultiheadAttention(8, heads), 8, ratio).model.layer
    # Queries and keys have lost no row, so no single width is that of this layer.
    assert (layer.embed_dim, layer.num_heads, layer.head_dim) == (8, heads, 8 // heads)
    assert layer.vdim == layer.in_proj_weight.shape[1] < 8
    assert layer.out_proj.in_features == layer.in_proj_weight.shape[0] - 16 < 8


def attention(net: ByHand, x: Tensor) -> Tensor:
    """What the layer computes, whose number of heads is read and the width of one is not."""
    layer = net.layer
    parts = functional.linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
    query, key, value = (
        part.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for part in parts
    )
    mixed = functional.scaled_dot_product_attention(query, key, value)
    out: Tensor = layer.out_proj(mixed.transpose(1, 2).flatten(2))
    return out


@pytest.mark.parametrize("ratio", [0.35, 0.5])
def test_the_width_of_a_head_is_that_of_its_queries_where_whole_heads_went(ratio: float) -> None:
    layer: Any = pruned(attention, nn.MultiheadAttention(8, 2), 8, ratio).model.layer
    assert layer.num_heads == 1
    assert layer.head_dim == layer.in_proj_weight.shape[0] // 3 == 4


def test_a_convolution_keeps_its_groups_where_its_filters_do_not_divide_into_them() -> None:
    for rows, sizes in ((KEPT, (4, 2, 2)), (torch.arange(5), (5, 4, 4))):
        layer = nn.Conv1d(4, 8, 3, groups=4)  # a group is two filters
        cut_axes(layer, {("weight", 0): rows, ("bias", 0): rows})
        assert (layer.out_channels, layer.in_channels, layer.groups) == sizes


def test_a_recurrent_layer_of_which_one_weight_is_read_keeps_its_hidden_size() -> None:
    def gates(net: ByHand, x: Tensor) -> Tensor:
        return functional.linear(x, net.layer.weight_ih_l0, net.layer.bias_ih_l0).relu()

    def states(net: ByHand, x: Tensor) -> Tensor:
        return functional.linear(x, net.layer.weight_hh_l0, net.layer.bias_hh_l0).relu()

    layer: Any = pruned(gates, nn.LSTM(8, 6), 24).model.layer
    assert (layer.input_size, layer.hidden_size) == (4, 6)
    layer = pruned(states, nn.LSTM(3, 8), 32).model.layer
    assert layer.weight_hh_l0.shape == (16, 4)
    assert (layer.input_size, layer.hidden_size) == (3, 8)


def test_a_size_that_two_tensors_of_a_layer_do_not_share_is_left() -> None:
    norm = nn.BatchNorm1d(6)
    cut_axes(norm, {(name, 0): KEPT for name in ("weight", "bias")})
    assert norm.num_features == 6

    deep = nn.GRU(6, 6, num_layers=2)
    cut_axes(deep, {("weight_ih_l1", 1): KEPT, ("weight_hh_l1", 1): KEPT})
    assert (deep.input_size, deep.hidden_size) == (6, 6)


def test_a_number_of_a_container_is_no_size_of_a_layer() -> None:
    class Block(nn.Sequential):
        embed_dim, in_features, head_dim = 6, 6, 6

    block = Block(nn.Linear(6, 6))
    cut_axes(block, {("0.weight", 1): KEPT})
    assert (block.embed_dim, block.in_features, block.head_dim) == (6, 6, 6)
    assert block[0].in_features == 4


def test_the_classes_of_an_adaptive_softmax_read_what_is_left() -> None:
    softmax = nn.AdaptiveLogSoftmaxWithLoss(6, 8, [4])
    cut_axes(softmax, {("head.weight", 1): KEPT, ("tail.0.0.weight", 1): KEPT})
    assert softmax.in_features == softmax.head.in_features == 4
    assert softmax(torch.randn(3, 4), torch.tensor([0, 5, 7])).output.shape == (3,)
