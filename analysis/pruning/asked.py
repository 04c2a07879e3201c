"""The requests of any pruner's steps."""

from collections.abc import Collection
from typing import Any, Protocol

from analysis.groups import depgraph
from analysis.pruning.asked_of_layers import AskedOfLayers
from analysis.pruning.group_pruner import GroupPruner
from analysis.pruning.requested import RequestedChannels
from analysis.records import PlannedGroup, Removal

__all__ = ["Requested", "requested_of"]


class Requested(Protocol):
    """The requests of a pruner's steps; see `RequestedChannels`."""

    unknown: str

    @property
    def of_layers(self) -> AskedOfLayers | None:
        """The requests for single layers, if there are any."""

    @property
    def planned(self) -> tuple[PlannedGroup, ...]:
        """The plan up to the last step."""

    def look_ahead(
        self,
        pruner: Any,
        removals: Collection[Removal],
        reading: depgraph.Reading | None = None,
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
    def of_layers(self) -> None:
        """Layers with their own ratio are ranked alone, as the groups say."""

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
        """Its importance is not called twice."""

    def refuted_by(self, removals: Collection[Removal]) -> str:
        """It removes what it plans."""
        return ""
