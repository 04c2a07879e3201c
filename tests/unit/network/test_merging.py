"""Batch norms merged into the layers before them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pairs import distinct
from torch import Tensor, nn

from analysis.network.merging import merged, norms_lacking


class Before(nn.Module):
    """A norm behind a layer of each kind, and one that stands before its layer."""

    def __init__(self, kind: Callable[[], nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.layer, self.norm, self.first = kind(), norm, nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(self.first(x))).relu()


LAYERS = {
    "convolution": (lambda: nn.Conv1d(8, 6, 3), nn.BatchNorm1d(6)),
    "convolution by groups": (lambda: nn.Conv1d(8, 6, 3, groups=2, bias=False), nn.BatchNorm1d(6)),
    "transposed": (lambda: nn.ConvTranspose1d(8, 6, 3, bias=False), nn.BatchNorm1d(6)),
    "linear": (lambda: nn.Linear(8, 6), nn.BatchNorm1d(6)),
    "without scale": (lambda: nn.Conv1d(8, 6, 1), nn.BatchNorm1d(6, affine=False)),
}


def given(kind: str) -> Tensor:
    return torch.randn(5, 8) if kind == "linear" else torch.randn(5, 8, 9)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_merged_norm_is_in_the_weights_of_its_layer(kind: str) -> None:
    build, norm = LAYERS[kind]
    model: Any = distinct(Before(build, norm)).eval()
    inputs = given(kind)
    found = merged(model, inputs, ["norm"])
    assert found is not None
    copied, layers = found
    assert layers == {"norm": "layer"}
    torch.testing.assert_close(copied(inputs), model(inputs), rtol=1e-4, atol=1e-5)
    # By hand: the first output channel is scaled by gamma / sqrt(variance + eps).
    gamma = 1.0 if model.norm.weight is None else model.norm.weight[0].item()
    factor = gamma / (model.norm.running_var[0].item() + 1e-5) ** 0.5
    if kind != "transposed":
        now: Any = copied
        torch.testing.assert_close(now.layer.weight[0], model.layer.weight[0] * factor)


def test_a_norm_that_stands_before_its_layer_is_not_merged() -> None:
    model = distinct(Before(*LAYERS["convolution"])).eval()
    assert merged(model, torch.randn(5, 8, 9), ["first"]) is None


class ReadTwice(nn.Module):
    """What the layer makes is read by its norm, and by an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x + self.norm(x)


def test_a_layer_that_is_read_elsewhere_is_not_merged() -> None:
    assert merged(distinct(ReadTwice()).eval(), torch.randn(3, 4), ["norm"]) is None


def test_a_norm_of_which_any_tensor_is_named_is_not_lacking() -> None:
    model = ReadTwice()
    assert norms_lacking(model, ["layer.weight"]) == ("norm",)
    assert norms_lacking(model, ["layer.weight", "norm.bias"]) == ()
