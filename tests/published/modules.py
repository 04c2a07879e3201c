"""Small definitions of published networks that torchvision does not have."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import MNASNet, MobileNetV2, ShuffleNetV2

__all__ = [
    "Bert",
    "CifarResNet",
    "ConvHead",
    "ConvNet",
    "Pooled",
    "Summed",
    "VisionTransformer",
    "concat",
    "eltwise",
    "expand_first",
    "mobilenet_v1",
    "shared",
    "shufflenet",
]


def cbr(read: int, made: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias, its norm and an activation."""
    conv = nn.Conv2d(read, made, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(made), nn.ReLU()]


_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def mobilenet_v1(widths: Sequence[int], classes: int = 1000, *, called: bool = False) -> nn.Module:
    """A stem, then depthwise and pointwise convolutions in turn, whose ReLU may be called."""
    layers = cbr(3, widths[0], stride=2)
    for (read, made), stride in zip(pairwise(widths), _STRIDES, strict=True):
        block = cbr(read, read, stride=stride, groups=read) + cbr(read, made, 1)
        if called:
            block[2], block[5] = Called(), Called()
        layers += block
    head = nn.Linear(widths[-1], classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


class Summed(nn.Module):
    """A network whose outputs are added up, so that they may be cut as other channels."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).sum(1)


class Pooled(MNASNet):
    """MNASNet with pooling at its end, where torchvision takes a mean.

    Args:
        alpha: multiplier of the widths.
        last: width of the last convolution, which torchvision does not multiply.
    """

    def __init__(self, alpha: float, last: int = 1280) -> None:
        super().__init__(alpha)
        read = self.layers[14].in_channels
        self.layers[14], self.layers[15], _ = cbr(read, last, 1)
        self.classifier[1] = nn.Linear(last, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.layers(x), 1)
        return self.classifier(x.flatten(1))


class ConvHead(MobileNetV2):
    """MobileNetV2 with pooling that is a module, and a convolution without bias as classifier."""

    def __init__(self, width_mult: float, nearest: int = 8) -> None:
        super().__init__(1000, width_mult, round_nearest=nearest)
        self.pool = nn.AvgPool2d(7)
        self.classifier = nn.Conv2d(self.last_channel, 1000, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x))).flatten(1)


def expand_first(width_mult: float, classes: int = 1000) -> nn.Module:
    """MobileNetV2 whose first block expands too, by 1; widths are not rounded."""
    net = MobileNetV2(classes, width_mult, round_nearest=1)
    block = net.features[1].conv
    width = block[0][0].in_channels
    net.features[1].conv = nn.Sequential(nn.Sequential(*cbr(width, width, 1)), *block)
    # A classifier that reads a pooled tensor, as a module that counters know.
    return nn.Sequential(net.features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.classifier)


class ConvNet(nn.Module):
    """Convolutions in a row with a norm and an activation each, as VGG's.

    Args:
        widths: of the convolutions; ``M`` is a pooling.
        head: what follows, without parameters that are cut.
        norms: whether there are any; without, convolutions have a bias.
        bias: of convolutions that a norm follows.
        called: which activations are functions: the last before each pooling.
    """

    def __init__(
        self,
        widths: Sequence[int | str],
        head: nn.Module,
        *,
        norms: bool = True,
        bias: bool = False,
        called: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        read = 3
        for place, width in enumerate(widths):
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(read, width, 3, padding=1, bias=bias or not norms))
            read = width
            layers += [nn.BatchNorm2d(width)] if norms else []
            ends = place + 1 == len(widths) or isinstance(widths[place + 1], str)
            layers.append(Called() if called and ends else nn.ReLU())
        self.features, self.head = nn.Sequential(*layers), head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Called(nn.Module):
    """An activation that is a function."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x)


class _Block(nn.Module):
    """Two convolutions, and what is added: the input, a convolution of it, or nothing.

    A shortcut that pads with zeros has no parameters and costs nothing. It is left out at the start
    of a stage, so that the stages are cut as they were printed: each by itself.
    """

    def __init__(
        self, read: int, mid: int, made: int, stride: int, *, projects: bool, adds: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(read, mid, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.act = nn.ReLU()
        self.conv2 = nn.Conv2d(mid, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.adds = adds
        self.downsample: nn.Module | None = None
        if projects and stride > 1:
            conv = nn.Conv2d(read, made, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            y = y + self.downsample(x)
        elif self.adds:
            y = y + x
        return functional.relu(y)


class CifarResNet(nn.Module):
    """A ResNet for small images: three stages of 16, 32 and 64 channels.

    Args:
        blocks: of each stage.
        projects: whether shortcuts between stages are convolutions.
        pool: at the end.
    """

    def __init__(self, blocks: int, *, projects: bool, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(*cbr(3, 16))
        self.stages = nn.ModuleList()
        read = 16
        for stage, width in enumerate((16, 32, 64)):
            row = []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                adds = bool(block) or (projects and not stage)
                row.append(_Block(read, width, width, stride, projects=projects, adds=adds))
                read = width
            self.stages.append(nn.Sequential(*row))
        self.pool = pool or nn.AvgPool2d(8)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.fc(self.pool(x).flatten(1))


class _Encoder(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln2(x))


class VisionTransformer(nn.Module):
    """A vision transformer, with as many tokens and classifiers as are asked for.

    Args:
        patch: pixels of a patch's side.
        width: of the hidden state.
        tokens: that come before those of the image, with a classifier each.
        classes: of each classifier; 0 is none.
    """

    def __init__(
        self, patch: int = 16, width: int = 768, tokens: int = 1, classes: int = 1000
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.tokens = nn.Parameter(torch.randn(1, tokens, width))
        self.positions = nn.Parameter(torch.randn(1, tokens + (224 // patch) ** 2, width))
        self.blocks = nn.Sequential(*(_Encoder(width, 12) for _ in range(12)))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(
            nn.Linear(width, classes) for _ in range(tokens if classes else 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.tokens.expand(len(x), -1, -1), x], 1) + self.positions
        x = self.norm(self.blocks(x))
        # Without a classifier the hidden state is added up, so that it may be cut.
        return sum(
            (head(x[:, n]) for n, head in enumerate(self.heads)), x[:, 0].sum(1, keepdim=True)
        )


class _BertLayer(nn.Module):
    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output, self.ln1 = nn.Linear(width, width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ln2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            make(x).unflatten(-1, (-1, 64)).transpose(1, 2)
            for make in (self.query, self.key, self.value)
        )
        found = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.ln1(x + self.output(found))
        return self.ln2(x + self.down(functional.gelu(self.up(x))))


class Bert(nn.Module):
    """BERT, base, with its pooler."""

    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30522, width), nn.Embedding(512, width)
        self.types, self.ln = nn.Embedding(2, width), nn.LayerNorm(width)
        self.layers = nn.Sequential(*(_BertLayer(width) for _ in range(12)))
        self.pooler = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.words(tokens) + self.places(places) + self.types(torch.zeros_like(tokens))
        return torch.tanh(self.pooler(self.layers(self.ln(x))[:, 0]))


class concat(nn.Module):  # noqa: N801
    """What two convolutions make of one tensor, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 512, 1)
        self.conv2, self.conv3 = nn.Conv2d(512, 1024, 1), nn.Conv2d(512, 1024, 1)
        self.conv4 = nn.Conv2d(2048, 2048, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv4(torch.cat([self.conv2(x), self.conv3(x)], 1))


class eltwise(nn.Module):  # noqa: N801
    """What two convolutions make of one tensor, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 512, 1)
        self.conv2, self.conv3 = nn.Conv2d(512, 1024, 1), nn.Conv2d(512, 1024, 1)
        self.conv4 = nn.Conv2d(1024, 1024, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv4(self.conv2(x) + self.conv3(x))


class shared(nn.Module):  # noqa: N801
    """Two convolutions that are called at two resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 512, 1), nn.Conv2d(512, 1024, 3)
        self.conv3 = nn.Conv2d(1024, 1024, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv1(x)
        return self.conv3(self.conv2(x)), self.conv3(self.conv2(functional.max_pool2d(x, 2)))


class _Strided(nn.Module):
    """ShuffleNetV2's block with a stride, whose shortcut keeps the width that it reads."""

    def __init__(self, read: int, made: int) -> None:
        super().__init__()
        mid, rest = made // 2, made - read
        self.shortcut = nn.Sequential(*cbr(read, read, 3, 2, read), *cbr(read, read, 1))
        self.main = nn.Sequential(*cbr(read, mid, 1), *cbr(mid, mid, 3, 2, mid), *cbr(mid, rest, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.shortcut(x), self.main(x)], 1)


def shufflenet(widths: Sequence[int], *, bias: bool = True) -> nn.Module:
    """ShuffleNetV2 with such blocks in place of torchvision's."""
    net = ShuffleNetV2([4, 8, 4], [24, *widths])
    read = 24
    for stage, made in zip((net.stage2, net.stage3, net.stage4), widths, strict=False):
        stage[0] = _Strided(read, made)
        read = made
    net.fc = nn.Linear(widths[-1], 1000, bias=bias)
    return net
