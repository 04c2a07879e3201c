"""Faults that keep every shape: what a forward-and-shape check cannot see.

Each plants itself in one layer of a pruned network, in place, as a slip of a pruner would: values
in another place, values of another channel, a value that is a little off; or something that is no
weight. A fault that would change nothing (equal values) is not planted.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.network.inference import indices
from analysis.network.layers import kind_of
from analysis.records import Cut, DependencyGroup

__all__ = ["FAULTS", "Site", "sites"]


@dataclass(frozen=True, eq=False)
class Site:
    """A layer that a fault may be planted in.

    Attributes:
        name: of the layer.
        dense: the layer before the cut.
        pruned: the layer after it.
        out: the cut of its output channels, or None.
        into: the cut of its input channels, or None.
        branch: places, among its kept input channels, of those that one of several concatenated
            layers makes; empty if it reads no concatenation.
    """

    name: str
    dense: nn.Module
    pruned: nn.Module
    out: Cut | None
    into: Cut | None
    branch: tuple[int, ...]


Fault = Callable[[Site], bool]


def sites(
    dense: nn.Module, pruned: nn.Module, cuts: Iterable[Cut], groups: Iterable[DependencyGroup]
) -> Iterator[Site]:
    """Every layer of a known kind that owns tensors, with what was cut of it."""
    by_axis = {(cut.layer, cut.axis): cut for cut in cuts}
    originals = dict(dense.named_modules())
    first_branch = _first_branches(groups)
    for name, layer in pruned.named_modules():
        owned = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        if kind_of(layer) is None or not owned:
            continue
        out, into = by_axis.get((name, "out")), by_axis.get((name, "in"))
        kept = into.kept if into else ()
        branch = tuple(place for place, c in enumerate(kept) if c in first_branch.get(name, ()))
        is_part = 1 < len(branch) < len(kept)
        yield Site(name, originals[name], layer, out, into, branch if is_part else ())


def _first_branches(groups: Iterable[DependencyGroup]) -> dict[str, set[int]]:
    """For each layer that reads several groups, the input channels of the first."""
    read: dict[str, list[set[int]]] = {}
    for group in groups:
        for member in group.members:
            if member.axis == "in":
                places = {place for place, root in enumerate(member.roots) if root >= 0}
                read.setdefault(member.layer, []).append(places)
    return {layer: parts[0] for layer, parts in read.items() if len(parts) > 1}


def _tensor(site: Site, name: str) -> Tensor | None:
    tensor = getattr(site.pruned, name, None)
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


def _greater_epsilon(site: Site) -> bool:
    """What a norm adds to the variance is ten times as much."""
    epsilon = getattr(site.pruned, "eps", None)
    if not isinstance(epsilon, float):
        return False
    site.pruned.eps = 10 * epsilon  # type: ignore[assignment]
    return True


def _padded_otherwise(site: Site) -> bool:
    """A convolution repeats the border where it added zeros."""
    layer = site.pruned
    if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros" or layer.padding == (0, 0):
        return False
    layer.padding_mode = "replicate"
    return True


FAULTS: dict[str, Fault] = {
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
    "a greater epsilon of a norm": _greater_epsilon,
    "another padding of a convolution": _padded_otherwise,
}
"""Kinds of fault: each takes a site, and says whether it could be planted there."""
