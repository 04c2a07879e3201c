"""Dense networks, prunings of them, and the kept positions, read from a numbered copy.

Nothing here compares networks: every element of a copy holds its own number, the copy is cut as the
network is, and what is left of the numbers says where they were.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from analysis import GroupPruner
from analysis.network.inference import named_tensors

Axis = tuple[str, int]


@torch.no_grad()
def distinct(model: nn.Module, seed: int = 1) -> nn.Module:
    """The network with every tensor drawn, so that no two values are equal."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in named_tensors(model).values():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator) + 0.1
            is_weight = tensor.dim() > 1
            tensor.copy_((drawn - 0.6) * 0.8 if is_weight else drawn)
    return model


@torch.no_grad()
def numbered(model: nn.Module) -> nn.Module:
    """A copy of which each element is the place that it has in its tensor."""
    copied = copy.deepcopy(model).double()
    for tensor in named_tensors(copied).values():
        if tensor.is_floating_point():
            tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
    return copied


def positions(dense: nn.Module, cut: nn.Module) -> dict[Axis, list[int]]:
    """By tensor and dimension the positions that are left of a numbered copy that was cut."""
    found = {}
    sizes = {name: tensor.shape for name, tensor in named_tensors(dense).items()}
    for name, tensor in named_tensors(cut).items():
        if not tensor.is_floating_point() or not tensor.dim():
            continue
        places = np.unravel_index(tensor.detach().flatten().long().numpy(), sizes[name])
        for dim, place in enumerate(places):
            rows = np.moveaxis(place.reshape(tensor.shape), dim, 0).reshape(tensor.shape[dim], -1)
            assert (rows == rows[:, :1]).all()
            found[name, dim] = rows[:, 0].tolist()
    return found


Cut = Callable[[nn.Module, Tensor, nn.Module], nn.Module]


def by_groups(model: nn.Module, inputs: Tensor, other: nn.Module) -> nn.Module:
    """Half of a copy goes, by its groups, and the same of another network."""
    pruned = copy.deepcopy(model)
    pruner = GroupPruner(pruned, inputs, 0.5, ignore=["head"])
    pruner.step()
    pruner.repeat_on(other)
    return pruned
