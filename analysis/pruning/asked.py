"""What the steps of any pruner ask of each group."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

from analysis.groups import depgraph
from analysis.pruning.group_pruner import GroupPruner
from analysis.pruning.requested import RequestedChannels
from analysis.records import DependencyGroup, HeadAccount, PlannedGroup, Removal

__all__ = ["OfLayers", "Requested", "requested_of"]


class OfLayers(Protocol):
    """What single layers are asked; see `AskedOfLayers`."""

    def head_accounts(
        self, groups: Sequence[DependencyGroup], removals: Collection[Removal]
    ) -> tuple[HeadAccount, ...]:
        """Heads asked against heads gone."""

    def unmet_heads(self, groups: Sequence[DependencyGroup]) -> str:
        """Why a ratio of heads that is asked takes none; empty if it does."""

    def unmet(self, groups: Sequence[DependencyGroup]) -> Iterable[str]:
        """What was asked of layers and no group takes up, in words."""


class Requested(Protocol):
    """What the steps of a pruner ask of each group; see `RequestedChannels`."""

    unknown: str

    @property
    def of_layers(self) -> OfLayers | None:
        """What single layers are asked, if any are."""

    @property
    def planned(self) -> tuple[PlannedGroup, ...]:
        """What is asked up to the last step looked at, and what the rules leave of that."""

    def look_ahead(
        self,
        pruner: Any,
        removals: Collection[Removal],
        reading: depgraph.Reading | None = None,
    ) -> None:
        """Note what the coming step asks for."""

    def refuted_by(self, removals: Collection[Removal]) -> str:
        """Why the pruner did not ask for what is planned; empty if it may have."""


def requested_of(pruner: Any) -> Requested:
    """What is asked by a pruner of torch-pruning's, or by one that cuts groups as they are."""
    return _RequestedSets(pruner) if isinstance(pruner, GroupPruner) else RequestedChannels(pruner)


class _RequestedSets:
    """What a `GroupPruner` asks, as it says itself."""

    def __init__(self, pruner: GroupPruner) -> None:
        self.unknown = ""
        self._pruner = pruner

    @property
    def of_layers(self) -> OfLayers:
        """Heads; what has a ratio of its own is ranked alone, as the groups say."""
        return self

    def head_accounts(
        self, groups: Sequence[DependencyGroup], removals: Collection[Removal]
    ) -> tuple[HeadAccount, ...]:
        """See `OfLayers`."""
        return self._pruner.heads

    def unmet_heads(self, groups: Sequence[DependencyGroup]) -> str:
        """No ratio is asked of heads alone."""
        return ""

    def unmet(self, groups: Sequence[DependencyGroup]) -> Iterable[str]:
        """What cannot be asked of a layer is refused."""
        return ()

    @property
    def planned(self) -> tuple[PlannedGroup, ...]:
        """See `Requested`."""
        return self._pruner.planned

    def look_ahead(
        self,
        pruner: Any,
        removals: Collection[Removal],
        reading: depgraph.Reading | None = None,
    ) -> None:
        """Its importance need not be asked twice."""

    def refuted_by(self, removals: Collection[Removal]) -> str:
        """It cuts what it says."""
        return ""
