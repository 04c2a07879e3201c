"""The blocks that people prune, each in a network small enough to prove in milliseconds.

Every network takes ``size`` inputs and ends in ``head``, whose outputs stay.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch_pruning.pruner import MagnitudePruner
from torch_pruning.pruner.importance import MagnitudeImportance
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import SqueezeExcitation

from analysis.records import Verdict

Factory = Callable[[], nn.Module]


class Stack(nn.Module):
    """Layers in a row, the mean over positions, a classifier."""

    def __init__(self, size: tuple[int, ...], *layers: nn.Module) -> None:
        super().__init__()
        self.size = size
        self.body = nn.Sequential(*layers[:-1])
        self.head = layers[-1]

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x.flatten(2).mean(2) if x.dim() > 2 else x)


class Between(nn.Module):
    """Two convolutions, 3 -> 8 -> 6 channels, with a function of the first one's output between.

    ``parts`` are the modules, parameters and buffers that the function uses.
    """

    def __init__(self, function: Callable[["Between", Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        self.size = (3, 6, 6)
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 2)
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.function(self, self.first(x))).mean((2, 3)))


class Attention(nn.Module):
    """Two heads over tokens; q, k and v by one layer or three, in torch's way or written out."""

    def __init__(self, *, fused: bool, scale: str, heads: int = 2) -> None:
        super().__init__()
        self.size = (5, 12)
        self.embed = nn.Linear(12, 8)
        self.norm = nn.LayerNorm(8)
        self.heads, self.scale = heads, scale
        if fused:
            self.qkv = nn.Linear(8, 24)
        else:
            self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.project = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    @property
    def num_heads(self) -> dict[nn.Module, int]:
        made = [self.qkv] if hasattr(self, "qkv") else [self.q, self.k, self.v]
        return dict.fromkeys(made, self.heads)

    def _heads_of(self, x: Tensor) -> list[Tensor]:
        made = (
            self.qkv(x).chunk(3, -1) if hasattr(self, "qkv") else (self.q(x), self.k(x), self.v(x))
        )
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in made]

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = self._heads_of(self.norm(x))
        if self.scale == "torch":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            width = 4 if self.scale == "fixed" else q.shape[-1]
            mixed = (q @ k.transpose(-2, -1) / width**0.5).softmax(-1) @ v
        return self.head((x + self.project(mixed.transpose(1, 2).flatten(2))).mean(1))


class Encoder(nn.Module):
    """A transformer's layer around nn.MultiheadAttention, with a position parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.size = (5, 12)
        self.embed = nn.Linear(12, 8)
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.expand = nn.Linear(8, 16)
        self.reduce = nn.Linear(16, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.reduce(self.expand(x).relu())
        return self.head(x.mean(1))


class ChannelsLast(nn.Module):
    """A ConvNeXt-like block: linear layers on (N, H, W, C), a scale for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.size = (3, 6, 6)
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.LayerNorm(8)
        self.expand = nn.Linear(8, 12)
        self.reduce = nn.Linear(12, 8)
        self.scale = nn.Parameter(torch.full((8,), 1e-6))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.reduce(self.expand(self.norm(x.permute(0, 2, 3, 1))).relu()) * self.scale
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class FlattenedChannelsLast(nn.Module):
    """A linear layer on the flattened (N, H, W, C), which torch-pruning takes for (N, C, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.size = (3, 6, 6)
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Linear(8 * 16, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).permute(0, 2, 3, 1).flatten(1)).relu())


class OtherLayerNorm2d(nn.LayerNorm):
    """A layer norm over the channels of images by another forward than torchvision's."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class RootMeanSquare(nn.Module):
    """An RMS norm written out, with a parameter that no layer of torch's owns."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights are standardised first, as in big transfer networks."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, self.weight - mean, self.bias, self.stride, self.padding)


class ConvOfNormalisedWeights(nn.Conv2d):
    """A convolution whose weights a batch norm standardises, a filter as a channel.

    As in networks without norms of activations.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, len(self.weight), -1)
        weight = F.batch_norm(rows, None, None, training=True).reshape_as(self.weight)
        return self._conv_forward(x, weight, self.bias)


class SequenceFirst(nn.Module):
    """A softmax over channels on (T, N, C): the items of a batch are not on the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.size = (5, 12)
        self.first = nn.Linear(12, 8)
        self.second = nn.Linear(8, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.transpose(0, 1)).softmax(-1)
        return self.head(self.second(x).mean(0))


def _shuffle(x: Tensor) -> Tensor:
    return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


def _around(norm: Callable[[int], nn.Module]) -> Factory:
    image = (3, 6, 6)
    return lambda: Stack(
        image, nn.Conv2d(3, 8, 3), norm(8), nn.GELU(), nn.Conv2d(8, 6, 1), nn.Linear(6, 2)
    )


IMAGE = (3, 6, 6)

PROVED: dict[str, tuple[Factory, Verdict]] = {
    "conv1d, dilated": (
        lambda: Stack(
            (3, 16), nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU(),
            nn.Conv1d(8, 6, 3, dilation=2), nn.Linear(6, 2),
        ),
        Verdict.EXACT,
    ),
    "conv3d": (
        lambda: Stack(
            (3, 6, 6, 6), nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.ReLU(),
            nn.Conv3d(8, 6, 3, stride=2), nn.Linear(6, 2),
        ),
        Verdict.EXACT,
    ),
    "transposed": (
        lambda: Stack(
            IMAGE, nn.ConvTranspose2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sigmoid(),
            nn.ConvTranspose2d(8, 6, 2, stride=2), nn.Sigmoid(), nn.Linear(6, 2),
        ),
        Verdict.EXACT,
    ),
    "transposed, depthwise": (
        lambda: Stack(
            IMAGE, nn.Conv2d(3, 8, 3), nn.Sigmoid(),
            nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8), nn.Linear(8, 2),
        ),
        Verdict.EXACT,
    ),
    "batch norm without affine": (
        _around(lambda n: nn.BatchNorm2d(n, affine=False)), Verdict.EXACT,
    ),
    "batch norm without statistics": (
        _around(lambda n: nn.BatchNorm2d(n, track_running_stats=False)), Verdict.EXACT,
    ),
    "frozen batch norm": (
        _around(lambda n: nn.BatchNorm2d(n).requires_grad_(False)), Verdict.EXACT,
    ),
    "instance norm": (_around(lambda n: nn.InstanceNorm2d(n, affine=True)), Verdict.EXACT),
    "prelu": (_around(nn.PReLU), Verdict.EXACT),
    "squeeze and excitation": (_around(lambda n: SqueezeExcitation(n, 4)), Verdict.EXACT),
    "dropout": (_around(lambda n: nn.Dropout2d(0.5)), Verdict.EXACT),
    "layer norm over channels of images": (_around(LayerNorm2d), Verdict.RENORMALIZED),
    "group norm": (_around(lambda n: nn.GroupNorm(2, n)), Verdict.RENORMALIZED),
    "group norm of one group": (_around(lambda n: nn.GroupNorm(1, n)), Verdict.RENORMALIZED),
    "channels last": (ChannelsLast, Verdict.RENORMALIZED),
    "transformer layer": (Encoder, Verdict.RENORMALIZED),
    "scale parameter": (
        lambda: Between(lambda m, x: x * m.scale, scale=nn.Parameter(torch.rand(1, 8, 1, 1))),
        Verdict.EXACT,
    ),
    "shift parameter": (
        lambda: Between(lambda m, x: x + m.shift, shift=nn.Parameter(torch.zeros(8, 1, 1))),
        Verdict.EXACT,
    ),
    "shared layer": (
        lambda: Between(lambda m, x: m.twice(m.twice(x).relu()), twice=nn.Conv2d(8, 8, 1)),
        Verdict.EXACT,
    ),
    "skip over an hourglass": (
        lambda: Between(
            lambda m, x: m.up(torch.cat([x, F.interpolate(m.down(x), size=x.shape[2:])], 1)),
            down=nn.Conv2d(8, 10, 2, stride=2),
            up=nn.Conv2d(18, 8, 1),
        ),
        Verdict.EXACT,
    ),
    "broadcast over positions": (
        lambda: Between(lambda m, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))),
        Verdict.EXACT,
    ),
    "cast to single precision": (
        lambda: Between(lambda m, x: x.float().relu().to(torch.float32)), Verdict.EXACT,
    ),
    "softmax over channels": (lambda: Between(lambda m, x: x.softmax(1)), Verdict.MIXED),
    "mean over channels": (
        lambda: Between(lambda m, x: x - x.mean(1, keepdim=True)), Verdict.MIXED,
    ),
    "direction of the channels": (
        lambda: Between(lambda m, x: F.normalize(x, dim=1)), Verdict.MIXED,
    ),
    "response norm": (_around(lambda n: nn.LocalResponseNorm(3)), Verdict.MIXED),
    "softmax with the sequence first": (SequenceFirst, Verdict.MIXED),
    "weights standardised": (_around(lambda n: StandardisedConv(n, n, 1)), Verdict.MIXED),
    "weights normalised over 3 x 3": (
        _around(lambda n: ConvOfNormalisedWeights(n, n, 3, padding=1)), Verdict.RENORMALIZED,
    ),
    "layer norm by another forward": (_around(OtherLayerNorm2d), Verdict.RENORMALIZED),
    "divisor for each channel": (
        lambda: Between(lambda m, x: x / m.divisor, divisor=nn.Parameter(torch.rand(8, 1, 1) + 1)),
        Verdict.EXACT,
    ),
    "flip": (lambda: Between(lambda m, x: x.flip(1)), Verdict.WRONG),
    "roll": (lambda: Between(lambda m, x: x.roll(3, 1)), Verdict.WRONG),
    "shuffle": (lambda: Between(lambda m, x: _shuffle(x)), Verdict.WRONG),
    "flip behind a softmax": (lambda: Between(lambda m, x: x.softmax(1).flip(1)), Verdict.WRONG),
    "flattened with channels last": (FlattenedChannelsLast, Verdict.WRONG),
    "channels of two places added": (lambda: Between(lambda m, x: x + x.flip(1)), Verdict.WRONG),
    "buffer for each channel": (
        lambda: Between(lambda m, x: x * m.scale, scale=torch.rand(1, 8, 1, 1)), Verdict.BROKEN,
    ),
    "functional batch norm": (
        lambda: Between(
            lambda m, x: F.batch_norm(x, m.mean, m.var), mean=torch.zeros(8), var=torch.ones(8)
        ),
        Verdict.BROKEN,
    ),
    "chunks put in another order": (
        lambda: Between(lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1)), Verdict.UNPRUNABLE,
    ),
    "pixel shuffle": (
        lambda: Between(lambda m, x: m.wide(F.pixel_shuffle(x, 2)), wide=nn.Conv2d(2, 8, 1)),
        Verdict.UNPRUNABLE,
    ),
    "zero-padded shortcut": (
        lambda: Between(
            lambda m, x: m.narrow(m.wide(x) + F.pad(x, (0, 0, 0, 0, 0, 2))),
            wide=nn.Conv2d(8, 10, 1),
            narrow=nn.Conv2d(10, 8, 1),
        ),
        Verdict.UNPRUNABLE,
    ),
    "depthwise with a multiplier": (
        lambda: Stack(IMAGE, nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, groups=4), nn.Linear(8, 2)),
        Verdict.UNPRUNABLE,
    ),
    **{
        f"attention, {'fused' if fused else 'separate'}, {scale} scale": (
            lambda fused=fused, scale=scale: Attention(fused=fused, scale=scale),
            Verdict.RENORMALIZED,
        )
        for fused in (True, False)
        for scale in ("fixed", "torch", "width's")
    },
}  # fmt: skip
"""What the proof says of each when half of its channels go, ranked in each group."""


def half_pruner(model: nn.Module, inputs: tuple[Tensor, ...], kind=MagnitudePruner, **options):
    """The pruner for half of each group, with the heads given as in torch-pruning's examples."""
    common = {
        "importance": MagnitudeImportance(p=1),
        "pruning_ratio": 0.5,
        "ignored_layers": [model.head],
        "num_heads": model.num_heads if isinstance(model, Attention) else {},
        "out_channel_groups": {model.attention: 2} if isinstance(model, Encoder) else {},
        "in_channel_groups": {},
    }
    return kind(model, inputs, **common | options)


def build(name: str, seed: int = 0) -> nn.Module:
    factory, _ = PROVED[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory().eval()
