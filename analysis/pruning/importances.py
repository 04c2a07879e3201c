"""Importances of channels, recomputed from the weights.

torch-pruning's ``MagnitudeImportance(p)`` with its defaults averages |w|^p over the coupled
layers and divides by the group's mean (``GroupMagnitudeImportance`` in its ``importance.py``).
This module implements the same definition in float64, so that the *request* is known independently
of what the pruner did.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.errors import InputError
from analysis.pruning.channel_classes import roots_of
from analysis.records import DependencyGroup, DependencyMember, Group

__all__ = ["POWERS", "filter_norms", "group_importances", "set_importances", "spearman"]

Numbers = NDArray[np.int64]

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
    magnitudes = _Magnitudes(model, POWERS[importance])
    found = {group.root: _average(magnitudes, group) for group in groups}
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


def _average(magnitudes: "_Magnitudes", group: DependencyGroup) -> Tensor | None:
    total = torch.zeros(group.width, dtype=torch.float64)
    layers = 0
    for member in group.members:
        scores = magnitudes.of(member)
        if scores is not None:
            _add(total, member, scores)
            layers += 1
    return total / layers if layers else None


def _add(total: Tensor, member: DependencyMember, scores: Tensor) -> None:
    """Add the scores of an axis to those of the root's channels."""
    roots = roots_of(member)
    channels = np.flatnonzero(roots >= 0)
    _add_at(total, roots[channels], scores, channels)
    if member.further:
        channels, roots = np.array(member.further, np.int64).T
        _add_at(total, roots, scores, channels)


def _add_at(total: Tensor, places: Numbers, scores: Tensor, channels: Numbers) -> None:
    total.index_add_(0, torch.from_numpy(places), scores[torch.from_numpy(channels)])


class _Magnitudes:
    """|w|^p of a network, summed by channel; each weight is read once for both of its axes.

    Args:
        model: the network.
        power: p.
    """

    def __init__(self, model: nn.Module, power: int) -> None:
        self._modules = dict(model.named_modules())
        self._power = power
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def of(self, member: DependencyMember) -> Tensor | None:
        """The sum for each channel of the member's axis; None where torch-pruning counts none."""
        if member.kind.startswith("depthwise"):
            return None
        module = self._modules.get(member.layer)
        if not isinstance(
            module,
            nn.modules.conv._ConvNd | nn.Linear | nn.modules.batchnorm._BatchNorm | nn.LayerNorm,
        ):
            return None
        weight = module.weight
        if weight is None:
            return None
        if weight.dim() == 1:
            return weight.detach().cpu().double().abs().pow(self._power)
        if member.layer not in self._sums:
            is_transposed = isinstance(module, nn.modules.conv._ConvNd) and module.transposed
            by_output = weight.transpose(0, 1) if is_transposed else weight
            self._sums[member.layer] = self._summed(by_output.detach())
        per_output, per_input = self._sums[member.layer]
        if member.axis == "out":
            # A grouped transposed convolution stores fewer rows; torch-pruning raises there.
            return per_output if len(per_output) == member.width else None
        # What else a layer keeps of its channels, as spectral norm does, is no axis of it.
        blocks, rest = divmod(member.width, len(per_input))
        return None if rest else per_input.repeat(blocks)

    def _summed(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """For each filter, and for each channel that is read."""
        per_output = torch.empty(len(weight), dtype=torch.float64)
        per_tap = torch.zeros(weight.shape[1:].numel(), dtype=torch.float64)
        # So many filters at a time that they are read a second time from the processor's cache.
        filters = max(1, _CACHED // max(1, len(per_tap)))
        for sums, some in zip(per_output.split(filters), weight.split(filters), strict=True):
            magnitudes = some.cpu().double().abs().pow(self._power).flatten(1)
            sums.copy_(magnitudes.sum(1))
            per_tap += magnitudes.sum(0)
        return per_output, per_tap.view(weight.shape[1], -1).sum(1)


_CACHED = 2**16
"""Numbers in float64 that a processor's cache holds."""


@torch.no_grad()
def filter_norms(
    model: nn.Module, groups: tuple[DependencyGroup, ...], importance: str = "l1"
) -> dict[str, Tensor]:
    """The plain filter norm: sum |w|^p over the filters that *make* each channel.

    For a group with several producers (a residual addition), their filters are added up.

    Returns:
        float64 tensors of shape (width,), by root.
    """
    magnitudes = _Magnitudes(model, POWERS[importance])
    norms = {}
    for group in groups:
        makers = list(_producers(magnitudes, group))
        if makers:
            norms[group.root] = torch.stack(makers).sum(0)
    return norms


def _producers(magnitudes: _Magnitudes, group: DependencyGroup) -> Iterator[Tensor]:
    for member in group.members:
        scores = magnitudes.of(member) if member.axis == "out" else None
        if scores is not None and member.coupling not in ("batch norm", "per-channel"):
            norm = torch.zeros(group.width, dtype=torch.float64)
            _add(norm, member, scores)
            yield norm


def spearman(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two score vectors without ties, in [-1, 1].

    1 - 6 sum d^2 / (n (n^2 - 1)), d the difference of ranks (Spearman 1904).
    """
    count = len(first)
    if count < 2:
        return 1.0
    difference = (first.argsort().argsort() - second.argsort().argsort()).double()
    return 1.0 - 6.0 * float((difference**2).sum()) / (count * (count**2 - 1))
