"""Importances of channels, recomputed from the weights.

torch-pruning's ``MagnitudeImportance(p)`` with its defaults averages |w|^p over the coupled
layers and divides by the group's mean (``GroupMagnitudeImportance`` in its ``importance.py``).
This module implements the same definition in float64, so that the *request* is known independently
of what the pruner did.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from analysis.errors import InputError
from analysis.records import DependencyGroup, DependencyMember, Group

__all__ = ["POWERS", "filter_norms", "group_importances", "set_importances", "spearman"]

POWERS = {"l1": 1, "l2": 2}
"""Exponent of |w| for each named importance."""


@torch.no_grad()
def group_importances(
    model: nn.Module, groups: tuple[DependencyGroup, ...], importance: str = "l1"
) -> dict[str, Tensor]:
    """Importance of every root channel of every group, by root.

    A layer contributes the sum of |w|^p over each of its filters (output axis) or over what
    reads each channel (input axis), a normalisation |gamma|^p; depthwise convolutions contribute
    nothing in torch-pruning 1.6. Contributions are averaged over the layers and divided by their
    mean over the channels.

    Returns:
        float64 tensors of shape (width,); groups with no contributing layer are left out.

    Raises:
        InputError: a weight is NaN, which cannot be ranked.
    """
    power, modules = POWERS[importance], dict(model.named_modules())
    found = {group.root: _average(modules, group, power) for group in groups}
    for root, scores in found.items():
        if scores is not None and scores.isnan().any():
            raise InputError(
                f"channels of group `{root}` cannot be ranked: a weight is not a number; expected "
                "finite weights: check whether the network is half trained"
            )
    return {root: scores / scores.mean() for root, scores in found.items() if scores is not None}


@torch.no_grad()
def set_importances(
    group: Group, tensors: Mapping[str, Tensor], scores: Tensor | None, importance: str = "l1"
) -> Tensor:
    """The mean importance of each set of channels that are removed together.

    Args:
        group: the channels.
        tensors: the network's parameters by name.
        scores: of each channel, shape (width,), as `group_importances`; None where no layer
            contributes: then every parameter of the group does, with the sum of |w|^p at the
            positions of each channel.
        importance: ``l1`` or ``l2``.

    Returns:
        a float64 tensor of shape (sets,).
    """
    if scores is None:
        scores = torch.zeros(group.width, dtype=torch.float64)
        for member in group.members:
            if member.tensor in tensors:
                weight = tensors[member.tensor].detach().cpu().double()
                along = weight.abs().pow(POWERS[importance]).movedim(member.dim, 0)
                total = along.reshape(len(along), -1).sum(1)
                scores += _sums(total, member.positions)
    sizes = torch.tensor([len(each) for each in group.together], dtype=torch.float64)
    return _sums(scores, group.together) / sizes


def _sums(values: Tensor, places: Sequence[Sequence[int]]) -> Tensor:
    """For each of several lists of places the sum of the values there."""
    owners = torch.repeat_interleave(torch.tensor([len(each) for each in places]))
    index = torch.tensor([place for each in places for place in each], dtype=torch.long)
    return torch.zeros(len(places), dtype=values.dtype).index_add_(0, owners, values[index])


def _average(modules: Mapping[str, nn.Module], group: DependencyGroup, power: int) -> Tensor | None:
    total = torch.zeros(group.width, dtype=torch.float64)
    layers = 0
    for member in group.members:
        scores = _contribution(modules, member, power)
        if scores is None:
            continue
        pairs = [each for each in (*enumerate(member.roots), *member.further) if each[1] >= 0]
        channels, roots = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        total.index_add_(0, roots, scores[channels])
        layers += 1
    return total / layers if layers else None


def _contribution(
    modules: Mapping[str, nn.Module], member: DependencyMember, power: int
) -> Tensor | None:
    """|w|^p summed for each channel of the member's axis; None where torch-pruning counts none."""
    if member.kind.startswith("depthwise"):
        return None
    module = modules.get(member.layer)
    if not isinstance(
        module,
        nn.modules.conv._ConvNd | nn.Linear | nn.modules.batchnorm._BatchNorm | nn.LayerNorm,
    ):
        return None
    weight = module.weight
    if weight is None:
        return None
    magnitudes = weight.detach().cpu().double().abs().pow(power)
    if magnitudes.dim() == 1:
        return magnitudes
    if isinstance(module, nn.modules.conv._ConvNd) and module.transposed:
        magnitudes = magnitudes.transpose(0, 1)
    if member.axis == "out":
        per_output = magnitudes.flatten(1).sum(1)
        # A grouped transposed convolution stores fewer rows; torch-pruning raises there.
        return per_output if len(per_output) == member.width else None
    per_input = magnitudes.transpose(0, 1).flatten(1).sum(1)
    # What else a layer keeps of its channels, as the vectors of spectral norm, is none of its axes.
    blocks, rest = divmod(member.width, len(per_input))
    return None if rest else per_input.repeat(blocks)


@torch.no_grad()
def filter_norms(
    model: nn.Module, groups: tuple[DependencyGroup, ...], importance: str = "l1"
) -> dict[str, Tensor]:
    """The plain filter norm: sum |w|^p over the filters that *make* each channel.

    For a group with several producers (a residual addition), their filters are added up.

    Returns:
        float64 tensors of shape (width,), by root.
    """
    norms, modules = {}, dict(model.named_modules())
    for group in groups:
        makers = list(_producers(modules, group, POWERS[importance]))
        if makers:
            norms[group.root] = torch.stack(makers).sum(0)
    return norms


def _producers(
    modules: Mapping[str, nn.Module], group: DependencyGroup, power: int
) -> Iterator[Tensor]:
    for member in group.members:
        scores = _contribution(modules, member, power) if member.axis == "out" else None
        if scores is not None and member.coupling not in ("batch norm", "per-channel"):
            roots = torch.tensor(member.roots, dtype=torch.long)
            norm = torch.zeros(group.width, dtype=torch.float64)
            yield norm.index_add_(0, roots[roots >= 0], scores[roots >= 0])


def spearman(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two score vectors without ties, in [-1, 1].

    1 - 6 sum d^2 / (n (n^2 - 1)), d the difference of ranks (Spearman 1904).
    """
    count = len(first)
    if count < 2:
        return 1.0
    difference = (first.argsort().argsort() - second.argsort().argsort()).double()
    return 1.0 - 6.0 * float((difference**2).sum()) / (count * (count**2 - 1))
