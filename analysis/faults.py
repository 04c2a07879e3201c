"""Faults that keep every shape: what a forward-and-shape check cannot see.

Each plants itself in one layer of a pruned network, in place. A fault that would change nothing
(equal values) is not planted.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn

__all__ = ["FAULTS", "sites"]

Fault = Callable[[nn.Module], bool]


@torch.no_grad()
def swap_input_channels(layer: nn.Module) -> bool:
    """Swap what a layer's first and last input channels are multiplied by."""
    weight = getattr(layer, "weight", None)
    if weight is None or weight.dim() < 2 or weight.shape[1] < 2:
        return False
    order = [weight.shape[1] - 1, *range(1, weight.shape[1] - 1), 0]
    return _replace(weight, weight[:, order])


@torch.no_grad()
def roll_running_mean(layer: nn.Module) -> bool:
    """Shift a batch norm's running means by one channel."""
    mean = getattr(layer, "running_mean", None)
    return mean is not None and _replace(mean, mean.roll(1))


@torch.no_grad()
def scale_one_weight(layer: nn.Module) -> bool:
    """Make the greatest weight of a convolution or linear layer 0.1 % greater."""
    weight = getattr(layer, "weight", None)
    if weight is None or weight.dim() < 2:
        return False
    scaled = weight.clone()
    scaled.view(-1)[int(weight.abs().argmax())] *= 1.001
    return _replace(weight, scaled)


def _replace(tensor: torch.Tensor, value: torch.Tensor) -> bool:
    if torch.equal(tensor, value):
        return False
    tensor.copy_(value.clone())
    return True


FAULTS: dict[str, Fault] = {
    "two input channels swapped": swap_input_channels,
    "batch-norm mean rolled by one channel": roll_running_mean,
    "one weight off by 0.1 %": scale_one_weight,
}
"""Kinds of fault: each takes a layer, and says whether it could be planted there."""


def sites(model: nn.Module) -> Iterator[str]:
    """Names of the layers that own a weight or a running mean."""
    for name, module in model.named_modules():
        if getattr(module, "weight", None) is not None:
            yield name
