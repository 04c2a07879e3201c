"""Faults in the weights of a layer, as slips of a pruner would make.

Values in another place, values of another channel, a value that is a little off. A fault that would
change nothing (equal values) is not planted.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from analysis.network.inference import indices
from analysis.network.layers import kind_of
from analysis.proof.faults.sites import Fault, Site

__all__ = ["FAULTS_OF_WEIGHTS"]


def _tensor(site: Site, name: str) -> Tensor | None:
    """Of a layer of a known kind."""
    tensor = None if kind_of(site.pruned) is None else getattr(site.pruned, name, None)
    return tensor.data if isinstance(tensor, Tensor) else None


def _weight(site: Site) -> Tensor | None:
    """The weight of a layer that mixes channels: (out, in, ...); transposed, (in, out, ...)."""
    weight = _tensor(site, "weight")
    return weight if weight is not None and weight.dim() > 1 else None


def _axis(site: Site, axis: str) -> int:
    return int((axis == "in") != bool(getattr(site.pruned, "transposed", False)))


def _reordered(tensor: Tensor | None, dim: int, order: Callable[[int], list[int]]) -> bool:
    if tensor is None or tensor.dim() <= dim:
        return False
    index = indices(order(tensor.shape[dim]), tensor)
    return _replace(tensor, tensor.index_select(dim, index))


def _replace(tensor: Tensor, value: Tensor) -> bool:
    if tensor.shape != value.shape or torch.equal(tensor, value):
        return False
    tensor.copy_(value.clone())
    return True


def _swapped(count: int) -> list[int]:
    return [count - 1, *range(1, count - 1), 0] if count > 1 else [0]


def _rolled(count: int) -> list[int]:
    return [count - 1, *range(count - 1)]


def _on_weight(axis: str, order: Callable[[int], list[int]]) -> Fault:
    return lambda site: _reordered(_weight(site), _axis(site, axis), order)


def _on_values(name: str) -> Fault:
    """On a tensor with one value a channel."""

    def plant(site: Site) -> bool:
        tensor = _tensor(site, name)
        return tensor is not None and tensor.dim() == 1 and _reordered(tensor, 0, _rolled)

    return plant


def _another_output_kept(site: Site) -> bool:
    """The layer keeps a channel that went, in place of one that its coupled layers keep."""
    if site.out is None or not site.out.removed or not site.out.kept:
        return False
    removed, planted = site.out.removed[0], False
    for name, original in site.dense.named_parameters(recurse=False):
        tensor = _tensor(site, name)
        dim = _axis(site, "out") if original.dim() > 1 else 0
        if tensor is None or original.shape[dim] != site.out.width:
            continue
        columns = original.detach().select(dim, removed)
        if columns.shape == tensor.select(dim, 0).shape:
            planted |= _replace(tensor.select(dim, 0), columns)
    return planted


def _another_input_kept(site: Site) -> bool:
    """The layer reads a kept channel with the weights of one that went."""
    weight = _weight(site)
    if weight is None or site.into is None or not site.into.removed or not site.into.kept:
        return False
    dim = _axis(site, "in")
    original = site.dense.get_parameter("weight").detach()
    if original.shape[dim] != site.into.width:
        return False
    columns = original.select(dim, site.into.removed[0])
    if site.out is not None:
        columns = columns.index_select(0, indices(site.out.kept, columns))
    return _replace(weight.select(dim, 0), columns)


def _stale_second_step(site: Site) -> bool:
    """Half of the input channels are cut first, the rest at their places of before that step."""
    weight = _weight(site)
    if weight is None or site.into is None or len(site.into.removed) < 2:
        return False
    dim = _axis(site, "in")
    original = site.dense.get_parameter("weight").detach()
    if original.shape[dim] != site.into.width:
        return False
    half = len(site.into.removed) // 2
    first, second = site.into.removed[:half], set(site.into.removed[half:])
    left = [channel for channel in range(site.into.width) if channel not in first]
    stale = [channel for place, channel in enumerate(left) if place not in second]
    stale = stale[: len(site.into.kept)]  # places beyond the last channel cut nothing
    columns = original.index_select(dim, indices(stale, original))
    if site.out is not None:
        columns = columns.index_select(1 - dim, indices(site.out.kept, columns))
    return _replace(weight, columns)


def _branch_rolled(site: Site) -> bool:
    """The columns of one branch of a concatenation are shifted by one, the others are right."""
    weight = _weight(site)
    if weight is None or not site.branch or weight.shape[_axis(site, "in")] <= max(site.branch):
        return False
    order = list(range(weight.shape[_axis(site, "in")]))
    for place, source in zip(site.branch, (*site.branch[1:], site.branch[0]), strict=True):
        order[place] = source
    return _reordered(weight, _axis(site, "in"), lambda _: order)


def _one_weight_off(site: Site) -> bool:
    """The weight of the greatest magnitude is 1 % greater."""
    weight = _tensor(site, "weight")
    if weight is None or not weight.numel():
        return False
    scaled = weight.clone()
    scaled.view(-1)[int(weight.abs().argmax())] *= 1.01
    return _replace(weight, scaled)


FAULTS_OF_WEIGHTS: dict[str, Fault] = {
    "two input channels swapped": _on_weight("in", _swapped),
    "input channels shifted by one": _on_weight("in", _rolled),
    "two output channels swapped": _on_weight("out", _swapped),
    "output channels shifted by one": _on_weight("out", _rolled),
    "running mean shifted by one channel": _on_values("running_mean"),
    "running variance shifted by one channel": _on_values("running_var"),
    "scale shifted by one channel": _on_values("weight"),
    "shift or bias shifted by one channel": _on_values("bias"),
    "another output channel kept than in coupled layers": _another_output_kept,
    "another input channel kept than is made": _another_input_kept,
    "second step with the first step's indices": _stale_second_step,
    "one branch of a concatenation shifted": _branch_rolled,
    "one weight off by 1 %": _one_weight_off,
}
"""Kinds of fault: each takes a site, and says whether it could be planted there."""
