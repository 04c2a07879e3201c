"""Networks of which several layers share a tensor, as language models share their embedding."""

import torch
from torch import Tensor, nn


class Tied(nn.Module):
    """A table of 50 words that also reads what the body makes of them."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.table = nn.Embedding(50, width)
        self.up = nn.Linear(width, 32)
        self.down = nn.Linear(32, width)
        self.head = nn.Linear(width, 50, bias=False)
        self.head.weight = self.table.weight  # type: ignore[assignment]

    def forward(self, words: Tensor) -> Tensor:
        x = self.table(words)
        return self.head(x + self.down(self.up(x).relu()))


class Siamese(nn.Module):
    """Two branches of one filter bank, and one layer that is called twice, which is no tie."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 8, 3)
        self.right = nn.Conv2d(3, 8, 3)
        self.right.weight = self.left.weight
        self.mix = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.left(x) + self.right(x.flip(3))
        return self.head(self.mix(self.mix(x).relu()).mean((2, 3)))


def words() -> Tensor:
    return torch.arange(12).view(2, 6)
