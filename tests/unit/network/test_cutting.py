"""A network without some positions, against networks made smaller from the start."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from analysis.network.cutting import cut_axes

KEPT = torch.tensor([0, 2, 3, 5])
IN = torch.tensor([1, 4])

LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], dict[Any, Tensor]]] = {
    "linear": (
        lambda: nn.Linear(6, 6), lambda: nn.Linear(2, 4),
        {("weight", 0): KEPT, ("bias", 0): KEPT, ("weight", 1): IN},
    ),
    "convolution": (
        lambda: nn.Conv2d(6, 6, 3), lambda: nn.Conv2d(2, 4, 3),
        {("weight", 0): KEPT, ("bias", 0): KEPT, ("weight", 1): IN},
    ),
    "grouped": (
        lambda: nn.Conv2d(12, 6, 3, groups=2), lambda: nn.Conv2d(4, 4, 3, groups=2),
        {("weight", 0): torch.tensor([0, 1, 3, 4]), ("bias", 0): torch.tensor([0, 1, 3, 4]),
         ("weight", 1): IN},
    ),
    "depthwise": (
        lambda: nn.Conv2d(6, 6, 3, groups=6), lambda: nn.Conv2d(4, 4, 3, groups=4),
        {("weight", 0): KEPT, ("bias", 0): KEPT},
    ),
    "depthwise with a multiplier": (
        lambda: nn.Conv2d(3, 6, 3, groups=3), lambda: nn.Conv2d(2, 4, 3, groups=2),
        {("weight", 0): torch.tensor([0, 1, 4, 5]), ("bias", 0): torch.tensor([0, 1, 4, 5])},
    ),
    "transposed": (
        lambda: nn.ConvTranspose2d(6, 6, 3), lambda: nn.ConvTranspose2d(2, 4, 3),
        {("weight", 1): KEPT, ("bias", 0): KEPT, ("weight", 0): IN},
    ),
    "transposed, grouped": (
        lambda: nn.ConvTranspose2d(6, 12, 3, groups=2),
        lambda: nn.ConvTranspose2d(4, 8, 3, groups=2),
        {("weight", 0): torch.tensor([0, 1, 3, 4]), ("weight", 1): KEPT,
         ("bias", 0): torch.cat([KEPT, KEPT + 6])},
    ),
    "transposed, depthwise": (
        lambda: nn.ConvTranspose2d(6, 6, 3, groups=6),
        lambda: nn.ConvTranspose2d(4, 4, 3, groups=4),
        {("weight", 0): KEPT, ("bias", 0): KEPT},
    ),
    "batch norm": (
        lambda: nn.BatchNorm2d(6), lambda: nn.BatchNorm2d(4),
        {(name, 0): KEPT for name in ("weight", "bias", "running_mean", "running_var")},
    ),
    "batch norm without affine": (
        lambda: nn.BatchNorm2d(6, affine=False), lambda: nn.BatchNorm2d(4, affine=False),
        {(name, 0): KEPT for name in ("running_mean", "running_var")},
    ),
    "instance norm": (
        lambda: nn.InstanceNorm2d(6, affine=True), lambda: nn.InstanceNorm2d(4, affine=True),
        {("weight", 0): KEPT, ("bias", 0): KEPT},
    ),
    "layer norm": (
        lambda: nn.LayerNorm(6), lambda: nn.LayerNorm(4), {("weight", 0): KEPT, ("bias", 0): KEPT},
    ),
    "RMS norm": (lambda: nn.RMSNorm(6), lambda: nn.RMSNorm(4), {("weight", 0): KEPT}),
    "group norm": (
        lambda: nn.GroupNorm(2, 6), lambda: nn.GroupNorm(2, 4),
        {("weight", 0): KEPT, ("bias", 0): KEPT},
    ),
    "PReLU": (lambda: nn.PReLU(6), lambda: nn.PReLU(4), {("weight", 0): KEPT}),
    "embedding": (
        lambda: nn.Embedding(6, 6), lambda: nn.Embedding(4, 2),
        {("weight", 0): KEPT, ("weight", 1): IN},
    ),
    "bilinear": (
        lambda: nn.Bilinear(6, 6, 6), lambda: nn.Bilinear(2, 4, 4),
        {("weight", 0): KEPT, ("bias", 0): KEPT, ("weight", 1): IN, ("weight", 2): KEPT},
    ),
    "GRU": (
        lambda: nn.GRU(6, 6), lambda: nn.GRU(2, 4),
        {("weight_ih_l0", 1): IN, ("weight_hh_l0", 1): KEPT}
        | {(name, 0): torch.cat([KEPT + 6 * gate for gate in range(3)])
           for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")},
    ),
    "LSTM cell": (
        lambda: nn.LSTMCell(6, 6), lambda: nn.LSTMCell(2, 4),
        {("weight_ih", 1): IN, ("weight_hh", 1): KEPT}
        | {(name, 0): torch.cat([KEPT + 6 * gate for gate in range(4)])
           for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    ),
    "attention": (
        lambda: nn.MultiheadAttention(6, 2), lambda: nn.MultiheadAttention(4, 2),
        {("in_proj_weight", 0): torch.cat([KEPT + 6 * part for part in range(3)]),
         ("in_proj_bias", 0): torch.cat([KEPT + 6 * part for part in range(3)]),
         ("in_proj_weight", 1): KEPT, ("out_proj.weight", 0): KEPT, ("out_proj.weight", 1): KEPT,
         ("out_proj.bias", 0): KEPT},
    ),
}  # fmt: skip


def numbers(layer: nn.Module) -> dict[str, Any]:
    """What a layer says of its own sizes."""
    plain = int | float | tuple | bool | str
    return {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, plain) and not name.startswith("_")
    }


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_says_the_sizes_of_one_made_smaller(name: str) -> None:
    whole, small, kept = LAYERS[name]
    layer, wanted = whole(), small()
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    cut_axes(layer, kept)
    assert numbers(layer) == numbers(wanted)
    assert repr(layer) == repr(wanted)
    for key, value in layer.state_dict().items():
        assert value.shape == wanted.state_dict()[key].shape
        expected = state[key]
        for dim in range(expected.dim()):
            if (key, dim) in kept:
                rows = [expected.select(dim, int(at)) for at in kept[key, dim]]
                expected = torch.stack(rows, dim)
        assert torch.equal(value, expected)
    wanted.load_state_dict(layer.state_dict())


def test_what_is_not_named_stays() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6))
    before = copy.deepcopy(model)
    cut_axes(model, {("0.weight", 1): IN})
    assert repr(model[1:]) == repr(before[1:])
    assert torch.equal(model[2].weight, before[2].weight)
    assert model[0].in_features == 2


def test_a_shared_tensor_is_cut_once() -> None:
    table, head = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
    head.weight = table.weight
    model = nn.ModuleDict({"table": table, "head": head})
    cut_axes(model, {("table.weight", 1): KEPT})
    assert head.weight is table.weight
    assert table.weight.shape == (10, 4)
    assert table.embedding_dim == 4


def test_the_size_of_a_shared_tensor_is_set_on_all_its_layers() -> None:
    table, head = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
    head.weight = table.weight
    cut_axes(nn.ModuleDict({"table": table, "head": head}), {("table.weight", 1): KEPT})
    assert head.in_features == 4


def test_the_sizes_of_a_parametrized_layer_are_set() -> None:
    layer = parametrizations.weight_norm(nn.Conv2d(6, 6, 1))
    cut_axes(
        layer,
        {("parametrizations.weight.original1", 0): KEPT, ("bias", 0): KEPT,
         ("parametrizations.weight.original0", 0): KEPT,
         ("parametrizations.weight.original1", 1): IN},
    )  # fmt: skip
    assert (layer.in_channels, layer.out_channels) == (2, 4)
    assert layer(torch.randn(1, 2, 3, 3)).shape == (1, 4, 3, 3)


def test_a_layer_of_ones_own_keeps_its_numbers() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 6))
            self.in_features = self.out_features = 6

    class Derived(nn.Linear):
        pass

    own, derived = Own(), Derived(6, 6)
    for layer in (own, derived):
        cut_axes(layer, {("weight", 0): KEPT})
    assert own.out_features == 6
    assert derived.out_features == 4


def test_gradients_switch_and_identity_stay() -> None:
    layer = nn.Linear(6, 6).requires_grad_(False)
    before = layer.weight
    cut_axes(layer, {("weight", 0): KEPT})
    assert layer.weight is before
    assert not layer.weight.requires_grad
