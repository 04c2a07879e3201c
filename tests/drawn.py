"""A grammar of random small networks: blocks in a row, drawn by the property-based tests."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import SqueezeExcitation

Block = Callable[[int, int], nn.Module]


class Residual(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x)


class Concat(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Tokens(nn.Module):
    """A module of tokens (N, T, C) on images (N, C, H, W)."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.inside(x.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape_as(x) if tokens.shape[-1] == x.shape[1] else tokens


class Scale(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(1, channels, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attend(nn.Module):
    """Two heads; q, k and v by one layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.project(mixed.transpose(1, 2).flatten(2))


def _conv(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c, out, 3, padding=1), nn.BatchNorm2d(out), nn.SiLU())


def _mobile(c: int, out: int) -> nn.Module:
    wide = 2 * c
    return nn.Sequential(
        nn.Conv2d(c, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
        nn.Conv2d(wide, wide, 3, padding=1, groups=wide), nn.BatchNorm2d(wide), nn.Hardswish(),
        nn.Conv2d(wide, out, 1), nn.BatchNorm2d(out),
    )  # fmt: skip


def _excited(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c, out, 1), nn.Sigmoid(), SqueezeExcitation(out, 4))


def _transposed(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(c, out, 3, padding=1), nn.PReLU(out))


def _grouped(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c, out, 3, padding=1, groups=2), nn.BatchNorm2d(out), nn.Tanh())


def _normed(norm: Callable[[int], nn.Module]) -> Block:
    return lambda c, out: nn.Sequential(nn.Conv2d(c, out, 1), norm(out), nn.GELU())


BLOCKS: dict[str, Block] = {
    "conv": _conv,
    "inverted bottleneck": _mobile,
    "squeeze and excitation": _excited,
    "transposed": _transposed,
    "grouped": _grouped,
    "layer norm": _normed(LayerNorm2d),
    "group norm": _normed(lambda c: nn.GroupNorm(2, c)),
    "instance norm": _normed(lambda c: nn.InstanceNorm2d(c, affine=True)),
    "scaled": _normed(Scale),
    "residual": lambda c, _: Residual(_mobile(c, c)),
    "residual with a scale": lambda c, _: Residual(nn.Sequential(_conv(c, c), Scale(c))),
    "concat": lambda c, out: nn.Sequential(Concat(_conv(c, out), nn.Identity()), nn.ReLU()),
    "branches": lambda c, out: Concat(_conv(c, out), _grouped(c, 4), nn.AvgPool2d(3, 1, 1)),
    "feed-forward on tokens": lambda c, _: Residual(
        Tokens(nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 12), nn.GELU(), nn.Linear(12, c)))
    ),
    "attention on tokens": lambda c, _: Residual(Tokens(nn.Sequential(nn.LayerNorm(c), Attend(c)))),
}


class Drawn(nn.Module):
    """Blocks in a row on 3x5x5 images, then a classifier."""

    def __init__(self, chosen: list[tuple[str, int]], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        channels, blocks = 8, [nn.Conv2d(3, 8, 3, padding=1)]
        probe = torch.zeros(1, 8, 5, 5)
        for name, width in chosen:
            block = BLOCKS[name](channels, width).eval()
            probe = block(probe)
            channels = probe.shape[1]
            blocks.append(block)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean((2, 3)))


def rows_of(names: list[str]) -> st.SearchStrategy[list[tuple[str, int]]]:
    """One to four blocks in a row, each with its number of channels."""
    return st.lists(
        st.tuples(st.sampled_from(names), st.sampled_from([4, 8, 12])), min_size=1, max_size=4
    )
