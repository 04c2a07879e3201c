"""What is removed: the plan, the cuts, and requested against removed channels."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import chain

__all__ = [
    "SAVED",
    "Attribute",
    "Channels",
    "Cut",
    "GroupAccount",
    "HeadAccount",
    "PlannedGroup",
    "RankAgreement",
    "Reason",
    "Removal",
    "merge_cuts",
]

SAVED = ("weights.safetensors", "inputs.safetensors", "pruning.json")
"""The files of a saved pruned network: its weights, the example inputs, and the cuts."""


class Reason(StrEnum):
    """Why a group lost as many channels as it did."""

    PRUNED = "pruned"
    KEPT = "kept"
    WOULD_EMPTY = "would-empty"
    ROUNDED_AWAY = "rounded-away"
    IGNORED = "ignored"
    CAPPED = "capped"
    SINGLE_CHANNEL = "single-channel"
    FROZEN = "frozen"
    UNTRACED = "untraced"


@dataclass(frozen=True)
class PlannedGroup:
    """What a ratio requests of one group, and what torch-pruning's rules let it remove.

    Attributes:
        root: the group's root layer.
        width: its channels.
        requested: root channels that rank below the threshold.
        expected: root channels that are removed after the cap, rounding and the guard against empty
            layers.
        reason: why ``expected`` differs from ``requested``, or does not.
        scope: name of the scope that the group is ranked in; empty for one that is not ranked.
        ratio: what is asked of that scope.
        why: the reason in words, where it does not speak for itself.
    """

    root: str
    width: int
    requested: tuple[int, ...]
    expected: tuple[int, ...]
    reason: Reason
    scope: str = ""
    ratio: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Cut:
    """The channels removed from one axis of one layer, as indices of that axis before the run.

    ``dim`` is None for a layer. For a parameter or buffer that is cut by itself, ``layer`` is its
    name and ``dim`` the dimension.
    """

    layer: str
    axis: str
    width: int
    removed: tuple[int, ...]
    dim: int | None = None

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The indices that are kept, in order."""
        return tuple(sorted(set(range(self.width)).difference(self.removed)))


@dataclass(frozen=True)
class Attribute:
    """An attribute of a module that holds a size and was set because the size changed.

    Attributes:
        module: its name; empty for the model itself.
        path: attribute names and indices of tuples, from the module to the number.
        before: in the dense network.
        after: in the pruned one.
    """

    module: str
    path: tuple[str | int, ...]
    before: int
    after: int

    @property
    def name(self) -> str:
        """The path as Python code."""
        first, *rest = self.path
        return str(first) + "".join(f"[{n}]" if isinstance(n, int) else f".{n}" for n in rest)


@dataclass(frozen=True)
class Removal:
    """A cut that the pruner made: the root of the group, the channels, and every axis.

    If ``by_group`` is set, ``removed`` are channels of the group of the root. Otherwise they are
    positions of the axis that the pruner started from, the first of ``cuts``.
    """

    root: str
    removed: tuple[int, ...]
    cuts: tuple[Cut, ...]
    by_group: bool = False


@dataclass(frozen=True)
class GroupAccount:
    """Requested and removed channels of one group.

    Attributes:
        root: the group's root layer.
        width: its channels before the run.
        requested: how many channels were requested; None if the request is not known.
        removed: how many channels were removed.
        reason: why no more were removed.
        scope: name of the scope that the group is ranked in; empty where it is not ranked.
        ratio: what is asked of that scope.
        why: the reason in words, where it does not speak for itself.
    """

    root: str
    width: int
    requested: int | None
    removed: int
    reason: Reason
    scope: str = ""
    ratio: float = 0.0
    why: str = ""

    @property
    def left(self) -> int:
        """How many channels are kept."""
        return self.width - self.removed

    @property
    def is_dropped(self) -> bool:
        """Whether channels were requested and none were removed."""
        return bool(self.requested) and not self.removed

    @property
    def reason_in_words(self) -> str:
        """The reason, with what it does not say itself."""
        return f"{self.reason}: {self.why}" if self.why else str(self.reason)


@dataclass(frozen=True)
class HeadAccount:
    """Requested and removed heads of attention.

    Attributes:
        layers: of one attention, or of all whose heads are ranked together.
        heads: before the run.
        requested: how many of them were requested.
        removed: how many lost all their channels.
        beyond: how many more may be removed, where all heads that read one key are removed
            together.
    """

    layers: tuple[str, ...]
    heads: int
    requested: int
    removed: int
    beyond: int = 0

    @property
    def is_as_asked(self) -> bool:
        """Whether as many were removed as requested."""
        return 0 <= self.removed - self.requested <= self.beyond

    def __str__(self) -> str:
        named = ", ".join(f"`{layer}`" for layer in self.layers[:3])
        more = f" and {len(self.layers) - 3} more" if len(self.layers) > 3 else ""
        return (
            f"of the {self.heads} heads of {named}{more} {self.requested} were requested and "
            f"{self.removed} removed"
        )


@dataclass(frozen=True)
class Channels:
    """The numbers of prunable, requested and removed channels."""

    prunable: int
    requested: int | None
    removed: int


@dataclass(frozen=True)
class RankAgreement:
    """How alike the pruner's importance and the plain filter norm rank a group's channels.

    Attributes:
        root: the group.
        width: its channels.
        correlation: Spearman's rank correlation, in [-1, 1].
        same: for each ratio, the share of the lowest-ranked channels that both choose.
    """

    root: str
    width: int
    correlation: float
    same: tuple[tuple[float, float], ...]


def merge_cuts(removals: Collection[Removal]) -> tuple[Cut, ...]:
    """The cuts of a step, one for each axis: with the channels of all groups that cut it."""
    of_axis: dict[tuple[str, str, int | None], list[Cut]] = {}
    for cut in (cut for removal in removals for cut in removal.cuts):
        of_axis.setdefault((cut.layer, cut.axis, cut.dim), []).append(cut)
    return tuple(
        replace(cuts[-1], removed=tuple(sorted(chain.from_iterable(cut.removed for cut in cuts))))
        for cuts in of_axis.values()
    )
