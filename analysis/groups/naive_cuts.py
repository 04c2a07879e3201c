"""Which layers to cut alone, without their group, to see the mismatch that a naive cut causes."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from analysis.groups.inspecting import Labelled
from analysis.records import Group, Member

__all__ = ["NaiveCut", "depthwise_cuts", "projection_cuts"]


@dataclass(frozen=True)
class NaiveCut:
    """A layer to cut without its group.

    Attributes:
        block: the module that owns it.
        root: the layer that makes or filters the channels.
        layers: the root, and the batch norm that only it feeds.
        width: its channels.
    """

    block: str
    root: str
    layers: tuple[str, ...]
    width: int


def projection_cuts(followed: Labelled) -> tuple[NaiveCut, ...]:
    """For each addition of a block, the last of its layers that make the channels added.

    The batch norm behind the layer is cut with it: it treats channels one by one, and a naive
    pruning script adapts it; left alone it would raise before the addition is reached.
    """
    return tuple(
        _naive(block, maker, followed)
        for group in followed.groups
        for block, times in Counter(group.additions).items()
        for maker in _makers(block, group, followed)[-times:]
    )


def _makers(block: str, group: Group, followed: Labelled) -> list[Member]:
    """The block's layers that make channels of the group, as it defines them."""
    order = {name: place for place, name in enumerate(followed.modules)}
    makers = {
        member.layer: member
        for member in group.members
        if (member.tensor, member.dim) in followed.makers
        and member.kind.startswith(("Conv", "Linear"))
        and member.layer.startswith(f"{block}." if block else "")
    }
    return sorted(makers.values(), key=lambda member: order[member.layer])


def depthwise_cuts(followed: Labelled) -> tuple[NaiveCut, ...]:
    """Every depthwise convolution, to be cut without the layer that feeds it."""
    return tuple(
        _naive(member.layer.rpartition(".")[0], member, followed)
        for group in followed.groups
        for member in group.members
        if member.kind.startswith("depthwise") and (member.tensor, member.dim) in followed.makers
    )


def _naive(block: str, root: Member, followed: Labelled) -> NaiveCut:
    made = followed.trace.labels(root.tensor, root.dim)
    followers = [
        step.place.module
        for step in followed.trace.steps
        if isinstance(followed.modules.get(step.place.module), _BatchNorm)
        and any(np.array_equal(labels, made) for labels in step.arriving)
    ]
    layers = dict.fromkeys((root.layer, *followers))
    return NaiveCut(block, root.layer, tuple(layers), root.width)
