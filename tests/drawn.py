"""A grammar of random small networks, and the part of them and of long rows that is drawn."""

import os
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import SqueezeExcitation

Block = Callable[[int, int], nn.Module]

SHARE = 1 if os.environ.get("DRAWN") == "all" else 5
"""One of so many is drawn, but in ``tox -e properties``."""


def draws(count: int) -> settings:
    """For a property that is held to so many networks, and to ten at the least."""
    return settings(
        max_examples=max(count // SHARE, min(count, 10)),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def part(members: Iterable[Any], of: object = "") -> list[Any]:
    """The members that are drawn: every fifth, or a single one of fewer.

    Args:
        members: what a test would look at, one as good as the other.
        of: what they are members of. Where that differs, so does the first that is drawn: tests
            that share a row look at other members of it.
    """
    row = list(members)
    step = min(SHARE, len(row))
    return row[zlib.crc32(repr(of).encode()) % step :: step] if row else []


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


class Over(nn.Module):
    """A function of what a convolution makes."""

    def __init__(self, c: int, out: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.make, self.function = nn.Conv2d(c, out, 1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.make(x))


class TwoNames(nn.Module):
    """One convolution under two names, called twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 1)
        self.other = self.one

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x).relu())


class Cached(nn.Module):
    """A table that the first forward makes, and each forward for another shape anew."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None or self.kept.shape != x.shape:
            self.kept = torch.arange(x.shape[2]).to(x).sin().view(1, 1, -1, 1).expand_as(x).clone()
        return x + self.kept


class Early(nn.Module):
    """A branch that values choose, which no drawn input takes, or the layer that they take."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.make, self.other = nn.Conv2d(c, out, 1), nn.Conv2d(c, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(x) if bool(x.detach().abs().amax() > 1e9) else self.make(x)


class Training(nn.Module):
    """Layers of train mode alone, and a layer that nothing calls."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.make, self.noise, self.idle = nn.Conv2d(c, out, 1), nn.Dropout(0.5), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.noise(self.make(x))


class Gate(nn.Module):
    """A gate for each channel, of which one is closed for good."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 1, groups=channels)
        with torch.no_grad():
            self.gate.bias[-1] = -torch.inf

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x).sigmoid()


class Spectrum(nn.Module):
    """A filter of the positions for each channel, by complex numbers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.rand(channels, 5, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x) * torch.view_as_complex(self.filter)
        return torch.fft.irfft2(spectrum, s=x.shape[-2:])


_BLUR = torch.tensor([0.25, 0.5, 0.25])


def _over(function: Callable[[Tensor], Tensor]) -> Block:
    return lambda c, out: Over(c, out, function)


MORE_BLOCKS: dict[str, Block] = {
    "two names": lambda c, _: TwoNames(c),
    "cache": lambda c, out: nn.Sequential(nn.Conv2d(c, out, 1), Cached()),
    "constant in single precision": _over(lambda x: x * _BLUR.sum() + _BLUR[0]),
    "greater of two": _over(lambda x: torch.max(x, 0.1 * x)),
    "scaled by the width": _over(lambda x: x / x.shape[1] ** 0.5),
    "root mean square": _over(lambda x: x * (x.pow(2).mean(1, keepdim=True) + 1e-5).rsqrt()),
    "norm over several axes": _over(lambda x: nn.functional.layer_norm(x, x.shape[1:])),
    "softmin": _over(lambda x: nn.functional.softmin(x, 1)),
    "sum over the width": _over(lambda x: x - x.sum(1, keepdim=True) / x.size(1)),
    "median": _over(lambda x: x - x.median(1, keepdim=True)[0]),
    "running sum": _over(lambda x: x.cumsum(1)),
    "a number of the width": _over(lambda x: x * (x.shape[1] / (x.shape[1] + 1))),
    "greatest half": _over(lambda x: x + x.topk(x.shape[1] // 2, 1)[0].mean(1, keepdim=True)),
    "count of the active": _over(lambda x: x * (x > 0).to(x).sum(1, keepdim=True)),
    "values taken out": _over(lambda x: x / (1 + x.detach().abs().mean().item())),
    "a branch by values": Early,
    "layers of train mode": Training,
    "a closed gate": _normed(Gate),
    "positions transformed": _over(lambda x: torch.fft.fft2(x).real),
}
"""Blocks that take functions over channels, or keep something: for the proof alone."""


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "a tensor": lambda scores: scores,
    "a dict": lambda scores: {"scores": scores, "shares": scores.softmax(1), "none": None},
    "nested": lambda scores: (scores, [{"scores": 2 * scores}, ("word", scores.shape[1], 0.5)]),
}


class Drawn(nn.Module):
    """Blocks in a row on 3x5x5 images, then a classifier."""

    def __init__(self, chosen: list[tuple[str, int]], seed: int, output: str = "a tensor") -> None:
        super().__init__()
        self.output = output
        torch.manual_seed(seed)
        channels, blocks = 8, [nn.Conv2d(3, 8, 3, padding=1)]
        probe = torch.zeros(1, 8, 5, 5)
        for name, width in chosen:
            block = (BLOCKS | MORE_BLOCKS)[name](channels, width).eval()
            probe = block(probe)
            channels = probe.shape[1]
            blocks.append(block)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Any:
        return OUTPUTS[self.output](self.head(self.blocks(x).mean((2, 3))))


def note_network(chosen: list[tuple[str, int]], seed: int, *output: str) -> None:
    """Print, with a failing example, the lines that build its network."""
    args = ", ".join(map(repr, (chosen, seed, *output)))
    note(f"from drawn import Drawn\nmodel = Drawn({args}).eval()")


def rows_of(names: list[str]) -> st.SearchStrategy[list[tuple[str, int]]]:
    """One to four blocks in a row, each with its number of channels."""
    return st.lists(
        st.tuples(st.sampled_from(names), st.sampled_from([4, 8, 12])), min_size=1, max_size=4
    )
