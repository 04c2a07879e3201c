"""One number by several routes: MACs of convolutions, linear layers and attention."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from analysis.costs.counting import by_fvcore
from analysis.costs.followed import count_macs
from analysis.records import CostTable

__all__ = [
    "Entry",
    "agree",
    "build",
    "by_flop_counter",
    "by_handles",
    "by_pass",
    "entries",
    "example",
]


@dataclass(frozen=True)
class Entry:
    """What torchvision publishes of a model at one input size.

    Attributes:
        model: name.
        size: height and width of the input, which is the crop of the weights' transforms.
        published: ``_ops`` of the weights, in 1e9 MACs to three decimals.
        weights: the names of all weights that publish this.
    """

    model: str
    size: int
    published: float
    weights: tuple[str, ...]


def entries() -> Iterator[Entry]:
    """Every classification model of torchvision, once for each size and number published."""
    for name in torchvision.models.list_models(torchvision.models):
        found: dict[tuple[int, float], list[str]] = {}
        for weights in torchvision.models.get_model_weights(name):
            size = weights.transforms.keywords["crop_size"]
            found.setdefault((size, weights.meta["_ops"]), []).append(weights.name)
        for (size, published), names in sorted(found.items()):
            yield Entry(name, size, published, tuple(names))


def build(name: str, size: int) -> nn.Module:
    """The model with random weights, in eval mode, for images of that size."""
    options: dict[str, object] = {}
    if name.startswith("vit_"):
        options["image_size"] = size
    if name in ("googlenet", "inception_v3"):
        # Their own initialization takes a minute, and torchvision warns where it is not chosen.
        options["init_weights"] = False
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model.eval()


def example(size: int) -> torch.Tensor:
    """One image; no count depends on its values."""
    return torch.zeros(1, 3, size, size)


def by_pass(model: nn.Module, size: int) -> CostTable:
    """Route (a): `analysis.count_macs`."""
    return count_macs(model, example(size))


def by_handles(model: nn.Module, size: int) -> CostTable:
    """Route (b): fvcore's trace with the project's handles."""
    return by_fvcore(model, example(size))


def by_flop_counter(model: nn.Module, size: int) -> int:
    """Route (c): what torch sees dispatched, halved because it counts two for a MAC.

    The model is moved to the meta device, where nothing is computed, and is of no use after it.
    """
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        # With gradients, transformers are written out; their fused path has no formula.
        model.to("meta")(example(size).to("meta"))
    return counter.get_total_flops() // 2


def agree(counts: Sequence[int], published: float) -> bool:
    """Whether all routes give the same number, and it rounds to the published one."""
    (first, *others) = counts
    # Integers, as a float's third decimal may round either way.
    return all(each == first for each in others) and abs(first - round(published * 1e9)) <= 500_000
