"""Tiny networks whose groups, costs and masks can be worked out by hand."""

import torch
from torch import Tensor, nn


class Chain(nn.Module):
    """Two convolutions and a classifier: 3 -> 4 -> 5 -> 2 channels."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.norm(self.first(x)).relu()).mean((2, 3)))


class Residual(nn.Module):
    """A stem, a block whose forward adds its input, and a classifier."""

    size = (3, 6, 6)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expand = nn.Conv2d(4, 8, 1, bias=False)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.project = nn.Conv2d(8, 4, 1, bias=False)
            self.project_norm = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            inside = self.norm(self.depthwise(self.expand(x))).relu()
            return x + self.project_norm(self.project(inside))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = self.Block()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))


class Concat(nn.Module):
    """Two branches side by side, read by one convolution."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 6, 1)
        self.join = nn.Conv2d(10, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.left(x), self.right(x)], 1)
        return self.head(self.join(joined.relu()).mean((2, 3)))


class Grouped(nn.Module):
    """A grouped convolution in the middle."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.grouped(self.first(x).relu()).mean((2, 3)))


class Flipped(Chain):
    """The order of the channels is reversed between two layers, which torch-pruning misses."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.norm(self.first(x)).flip(1)).mean((2, 3)))


class Flattened(nn.Module):
    """A classifier that reads every position of every channel."""

    size = (3, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 2 * 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).relu().flatten(1))


class FixedBuffer(Chain):
    """A buffer for each channel that no layer owns: nothing prunes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x) * self.scale).mean((2, 3)))


class Named(nn.Module):
    """Two inputs by name, two outputs in a dict, one of which is also read inside."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 6, 3)
        self.mix = nn.Conv2d(6, 8, 1)
        self.vector = nn.Linear(5, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, image: Tensor, vector: Tensor) -> dict[str, Tensor]:
        embedded = self.vector(vector)
        seen = self.mix(self.image(image).relu()).mean((2, 3))
        return {"scores": self.head(seen + embedded), "embedding": embedded}


class GatedBranches(nn.Module):
    """Two branches, one pooled and flattened, of which a layer makes a gate for both.

    DepGraph couples a channel of the one with several of the other.
    """

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.other = nn.Sequential(nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 8))
        self.gate, self.head = nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.image(x), self.other(x[:, 0].flatten(1))
        gate = self.gate(torch.cat([one, two], 1)).sigmoid()
        return self.head(gate * one + (1 - gate) * two)


def make(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().eval()


def inputs_for(model: nn.Module, batch: int = 2) -> Tensor:
    return torch.randn(batch, *model.size, generator=torch.Generator().manual_seed(1))  # type: ignore[misc]
