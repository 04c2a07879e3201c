"""Tensors that a layer's forward does not read, and layers whose weight makes other channels."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import inspect_groups, lint_ignored_layers, prune
from analysis.groups.by_class import is_turned
from analysis.groups.policies import ignored_layers
from analysis.records import Verdict


class Bare(nn.Linear):
    """Has a bias that its forward leaves out."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight)


class Merged(nn.Linear):
    """Factors of low rank, which are read in train mode alone."""

    def __init__(self, read: int, made: int) -> None:
        super().__init__(read, made)
        self.down, self.up = nn.Parameter(torch.randn(3, read)), nn.Parameter(torch.randn(made, 3))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight + self.up @ self.down if self.training else self.weight
        return functional.linear(x, weight, self.bias)


class MergedTaps(nn.Conv2d):
    """The same of a convolution."""

    def __init__(self, read: int, made: int, groups: int = 1) -> None:
        super().__init__(read, made, 1, groups=groups)
        self.down = nn.Parameter(torch.randn(3, read // groups))
        self.up = nn.Parameter(torch.randn(made, 3))

    def forward(self, x: Tensor) -> Tensor:
        more = (self.up @ self.down)[..., None, None] if self.training else 0
        return functional.conv2d(x, self.weight + more, self.bias, groups=self.groups)


class MergedTurned(nn.ConvTranspose2d):
    """The same of a transposed one."""

    def __init__(self, read: int, made: int) -> None:
        super().__init__(read, made, 1)
        self.down, self.up = nn.Parameter(torch.randn(3, made)), nn.Parameter(torch.randn(read, 3))

    def forward(self, x: Tensor) -> Tensor:
        more = (self.up @ self.down)[..., None, None] if self.training else 0
        return functional.conv_transpose2d(x, self.weight + more, self.bias)


class Unscaled(nn.BatchNorm2d):
    """Has a scale and a shift that its forward leaves out."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, self.running_mean, self.running_var)


def rows(layer: type[nn.Module]) -> nn.Module:
    return nn.Sequential(layer(5, 12), nn.ReLU(), layer(12, 8), nn.ReLU(), nn.Linear(8, 2))


def taps(layer: nn.Module) -> nn.Module:
    return nn.Sequential(MergedTaps(5, 12), nn.ReLU(), layer, nn.ReLU(), nn.Conv2d(8, 2, 1))


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(5, 8, 1), Unscaled(8), nn.ReLU(), nn.Conv2d(8, 2, 1))


UNREAD: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, tuple[int, ...]]]] = {
    "a bias": (lambda: rows(Bare), (3, 5), {"0.bias": (6,), "2.bias": (4,)}),
    "factors": (
        lambda: rows(Merged), (3, 5),
        {"0.up": (6, 3), "0.down": (3, 5), "2.up": (4, 3), "2.down": (3, 6)},
    ),
    "factors of a convolution": (
        lambda: taps(MergedTaps(12, 8)), (2, 5, 3, 3),
        {"0.up": (6, 3), "0.down": (3, 5), "2.up": (4, 3), "2.down": (3, 6)},
    ),
    "factors of groups": (
        lambda: taps(MergedTaps(12, 8, 2)), (2, 5, 3, 3),
        {"0.up": (6, 3), "2.up": (4, 3), "2.down": (3, 3)},
    ),
    "factors of a transposed convolution": (
        lambda: taps(MergedTurned(12, 8)), (2, 5, 3, 3), {"2.up": (6, 3), "2.down": (3, 4)},
    ),
    "a scale": (normed, (2, 5, 3, 3), {"1.weight": (4,), "1.bias": (4,)}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_what_a_forward_does_not_read_is_cut_with_its_layer(name: str) -> None:
    make, size, expected = UNREAD[name]
    found = prune(make(), torch.randn(size), 0.5)
    assert found.verification.verdict is Verdict.EXACT, found.verification.reason
    shapes = {key: tuple(each.shape) for key, each in found.model.state_dict().items()}
    assert {key: shapes[key] for key in expected} == expected


class Tied(nn.Module):
    """An autoencoder whose decoder transposes the weights of its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, 16), nn.Linear(16, 6)
        self.shift, self.last = nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x).relu())
        x = functional.linear(x, self.two.weight.t(), self.shift).relu()
        return functional.linear(x, self.one.weight.t(), self.last)


class TiedFilters(nn.Module):
    """The same of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x).relu()).relu()
        x = functional.conv_transpose2d(x, self.two.weight).relu()
        return functional.conv_transpose2d(x, self.one.weight, stride=2)


class Words(nn.Module):
    """Scores by the table itself, without a layer for them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Embedding(30, 16), nn.Linear(16, 10)
        self.back = nn.Linear(10, 16)

    def forward(self, words: Tensor) -> Tensor:
        x = self.back(self.two(self.one(words)).relu())
        return functional.linear(x, self.one.weight)


TURNED: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (Tied, torch.randn(3, 12)),
    "convolutions": (TiedFilters, torch.randn(2, 3, 4, 4)),
    "a table": (Words, torch.arange(6).view(2, 3)),
}


@pytest.mark.parametrize("name", TURNED)
def test_a_layer_whose_weight_also_makes_the_output_keeps_none_of_its_own(name: str) -> None:
    make, inputs = TURNED[name]
    model = make().eval()
    groups = inspect_groups(model, inputs, "classifier")
    assert ignored_layers("classifier", model, groups) == ()
    (output,) = (group for group in groups if group.is_output)
    assert (output.name, output.held) == ("one.weight", "the model's output")
    found = prune(model, inputs, 0.5).verification
    assert found.verdict is Verdict.EXACT, found.reason
    lost = {group.root: group.removed for group in found.groups}
    assert lost["one"] == model.one.weight.shape[name == "a table"] // 2
    assert lost["one.weight"] == 0
    # No pruner cuts the output by a layer, so that none has to be excluded.
    assert lint_ignored_layers(model, inputs, []).passed


def test_only_the_axis_that_a_class_makes_channels_along_is_its_own() -> None:
    linear, table, free = nn.Linear(3, 5), nn.Embedding(7, 4), nn.Parameter(torch.zeros(3, 5))
    axes = [(linear, linear.weight), (table, table.weight), (None, free)]
    found = [[is_turned(layer, tensor, dim) for dim in (0, 1)] for layer, tensor in axes]
    assert found == [[False, True], [True, False], [False, False]]
