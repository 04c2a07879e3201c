"""What goes: planned, cut, and asked against done."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

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
"""The files of a pruned network on disk: its weights, the example inputs, what was pruned."""


class Reason(StrEnum):
    """Why a group lost what it lost."""

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
    """What a ratio asks of one group, and what torch-pruning's rules leave of that.

    Attributes:
        root: the group's root layer.
        width: its channels.
        requested: root channels that rank below the threshold.
        expected: root channels that go once cap, rounding and the emptiness guard have acted.
        reason: why ``expected`` is what it is.
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
    """Channels removed from one axis of one layer, as indices of that axis before the run.

    ``dim`` is the cut dimension of a parameter or buffer, with its name as ``layer``, where what
    owns it is no layer that is cut as a whole; None for a layer.
    """

    layer: str
    axis: str
    width: int
    removed: tuple[int, ...]
    dim: int | None = None

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The indices that stay, in order."""
        gone = set(self.removed)
        return tuple(index for index in range(self.width) if index not in gone)


@dataclass(frozen=True)
class Attribute:
    """A number that a module keeps of a size, and that was set because the size changed.

    Attributes:
        module: its name; empty for the model itself.
        path: names of attributes and places in tuples, from the module to the number.
        before: in the dense network.
        after: in the pruned one.
    """

    module: str
    path: tuple[str | int, ...]
    before: int
    after: int

    @property
    def name(self) -> str:
        """The path, as it is written in Python."""
        first, *rest = self.path
        return str(first) + "".join(f"[{n}]" if isinstance(n, int) else f".{n}" for n in rest)


@dataclass(frozen=True)
class Removal:
    """One group as the pruner cut it: its root, the channels, and every axis that followed.

    ``by_group`` tells that ``removed`` are channels of the group that the root names; otherwise
    they are positions of the axis that the pruner began with, the first of ``cuts``.
    """

    root: str
    removed: tuple[int, ...]
    cuts: tuple[Cut, ...]
    by_group: bool = False


@dataclass(frozen=True)
class GroupAccount:
    """Asked against done for one group.

    Attributes:
        root: the group's root layer.
        width: its channels before the run.
        requested: channels asked to go; None where asking is not defined.
        removed: channels that went.
        reason: why no more of them went.
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
        """Channels that stay."""
        return self.width - self.removed

    @property
    def is_dropped(self) -> bool:
        """Whether something was asked of the group and nothing went."""
        return bool(self.requested) and not self.removed

    @property
    def reason_in_words(self) -> str:
        """The reason, with what it does not say itself."""
        return f"{self.reason}: {self.why}" if self.why else str(self.reason)


@dataclass(frozen=True)
class HeadAccount:
    """Whole heads of attention, asked against done.

    Attributes:
        layers: of one attention, or of all whose heads are ranked together.
        heads: before the run.
        requested: heads asked to go, of those there were before the first step.
        removed: heads of which every channel went.
        beyond: more that may go, where all that read one key go alike.
    """

    layers: tuple[str, ...]
    heads: int
    requested: int
    removed: int
    beyond: int = 0

    @property
    def is_as_asked(self) -> bool:
        """Whether as many went as were asked."""
        return 0 <= self.removed - self.requested <= self.beyond

    def __str__(self) -> str:
        named = ", ".join(f"`{layer}`" for layer in self.layers[:3])
        more = f" and {len(self.layers) - 3} more" if len(self.layers) > 3 else ""
        return (
            f"of the {self.heads} heads of {named}{more} {self.requested} were asked to go and "
            f"{self.removed} went"
        )


@dataclass(frozen=True)
class Channels:
    """Channels that are prunable, that were asked to go, and that went."""

    prunable: int
    requested: int | None
    removed: int


@dataclass(frozen=True)
class RankAgreement:
    """How far the pruner's importance and the plain filter norm rank a group's channels alike.

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
    """All cuts of a step, one entry an axis: an axis that several groups cut loses them all."""
    merged: dict[tuple[str, str, int | None], Cut] = {}
    for cut in (cut for removal in removals for cut in removal.cuts):
        key = (cut.layer, cut.axis, cut.dim)
        before = merged[key].removed if key in merged else ()
        merged[key] = replace(cut, removed=tuple(sorted((*before, *cut.removed))))
    return tuple(merged.values())
