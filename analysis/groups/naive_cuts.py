"""Which layers to cut alone, without their group, to see the mismatch that a naive cut causes."""

from collections import Counter
from dataclasses import dataclass

from analysis.records import DependencyGroup, DependencyMember

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


def projection_cuts(groups: tuple[DependencyGroup, ...]) -> tuple[NaiveCut, ...]:
    """For each addition of a block, the last of its layers that make the channels added.

    The batch norm behind the layer is cut with it: it treats channels one by one, and a naive
    pruning script adapts it; left alone it would raise before the addition is reached.
    """
    return tuple(
        _naive(block, maker, group)
        for group in groups
        for block, times in Counter(group.additions).items()
        for maker in _makers(block, group)[-times:]
    )


def _makers(block: str, group: DependencyGroup) -> list[DependencyMember]:
    """The block's layers that make channels of the group, as it defines them."""
    makers = [
        member
        for member in group.members
        if member.axis == "out"
        and member.kind.startswith(("Conv", "Linear"))
        and member.layer.startswith(f"{block}." if block else "")
    ]
    return sorted(makers, key=lambda member: member.position)


def depthwise_cuts(groups: tuple[DependencyGroup, ...]) -> tuple[NaiveCut, ...]:
    """Every depthwise convolution, to be cut without the layer that feeds it."""
    return tuple(
        _naive(member.layer.rpartition(".")[0], member, group)
        for group in groups
        for member in group.members
        if member.kind.startswith("depthwise")
    )


def _naive(block: str, root: DependencyMember, group: DependencyGroup) -> NaiveCut:
    followers = [
        member.layer
        for member in group.members
        if member.kind.startswith("BatchNorm") and member.reads == (root.layer,)
    ]
    return NaiveCut(block, root.layer, (root.layer, *followers), root.width)
