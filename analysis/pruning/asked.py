"""The requests of any pruner's steps."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

from analysis.groups.reading import Reading
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
    """The requests of a pruner's steps; see `RequestedChannels`."""

    unknown: str

    @property
    def of_layers(self) -> OfLayers | None:
        """What single layers are asked, if any are."""

    @property
    def planned(self) -> tuple[PlannedGroup, ...]:
        """The plan up to the last step."""

    def look_ahead(
        self,
        pruner: Any,
        removals: Collection[Removal],
        reading: Reading | None = None,
    ) -> None:
        """Record the request of the next step."""

    def refuted_by(self, removals: Collection[Removal]) -> str:
        """Why the pruner did not request the plan; empty if it may have."""


def requested_of(pruner: Any) -> Requested:
    """The requests of a pruner, torch-pruning's or a `GroupPruner`."""
    return _RequestedSets(pruner) if isinstance(pruner, GroupPruner) else RequestedChannels(pruner)


class _RequestedSets:
    """The requests of a `GroupPruner`, which it reports itself."""

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
        reading: Reading | None = None,
    ) -> None:
        """Its importance is not called twice."""

    def refuted_by(self, removals: Collection[Removal]) -> str:
        """It removes what it plans."""
        return ""
