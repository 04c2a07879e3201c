"""Which group each layer of a subject belongs to, and which layers a run could not touch."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.records import CostTable, LayerCost, Reason, Run, SubjectStudy
from analysis.reporting.tables import layer_name

__all__ = ["Coupling", "LayerShare", "coupled", "excluded_roots", "shares"]

_HELD = (Reason.IGNORED, Reason.FROZEN, Reason.UNTRACED, Reason.SINGLE_CHANNEL)


@dataclass(frozen=True)
class Coupling:
    """The groups of a subject by layer, and what a page knows each by.

    Attributes:
        makes: for each layer, the root of the group of the channels that it puts out.
        reads: for each layer, the roots of the groups of the channels that it reads; behind a
            concatenation there are several.
        keys: for each root, the name that a page knows its group by.
    """

    makes: Mapping[str, str]
    reads: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, str]

    def key_of(self, layer: str) -> str:
        """The group that a layer is shown with: of what it makes, else of what it reads."""
        roots = (self.makes.get(layer, ""), *self.reads.get(layer, ()))
        return next((self.keys[root] for root in roots if root in self.keys), "")

    def roots_of(self, layer: str) -> set[str]:
        """Every group that a layer's cost depends on."""
        return {root for root in (self.makes.get(layer, ""), *self.reads.get(layer, ())) if root}


def coupled(subject: SubjectStudy, number: int) -> Coupling:
    """The coupling of one subject; ``number`` tells the subjects of a page apart."""
    makes: dict[str, str] = {}
    reads: dict[str, tuple[str, ...]] = {}
    for group in subject.groups:
        for member in group.members:
            if member.axis == "out":
                makes.setdefault(member.layer, group.root)
            elif group.root not in reads.get(member.layer, ()):
                reads[member.layer] = (*reads.get(member.layer, ()), group.root)
    keys = {group.root: f"{number}-{place}" for place, group in enumerate(subject.groups)}
    return Coupling(makes, reads, keys)


def excluded_roots(run: Run) -> set[str]:
    """The groups that no ratio could cut."""
    return {group.root for group in run.verification.groups if group.reason in _HELD}


@dataclass(frozen=True)
class LayerShare:
    """One layer before and after.

    Attributes:
        layer: module name; empty for what the model's own forward does.
        kind: class name.
        before: MACs of the dense network.
        after: MACs of the pruned one.
        is_locked: whether none of its channels belong to a group that may be cut.
    """

    layer: str
    kind: str
    before: int
    after: int
    is_locked: bool

    @property
    def name(self) -> str:
        """The layer in words."""
        return layer_name(self.layer)


def shares(subject: SubjectStudy, coupling: Coupling, run: Run) -> list[LayerShare]:
    """Every layer that has MACs; empty where the pruned network could not be counted."""
    if run.costs is None:
        return []
    after, excluded = run.costs.by_layer(), excluded_roots(run)
    return [
        LayerShare(
            row.layer,
            row.kind,
            row.macs,
            left := _macs(after, row.layer),
            left == row.macs and coupling.roots_of(row.layer) <= excluded,
        )
        for row in _forward(subject.costs)
        if row.macs
    ]


def _forward(costs: CostTable) -> list[LayerCost]:
    # The model's own forward (pooling, as a rule) is read after the layers it calls.
    return sorted(costs.layers, key=lambda row: row.layer == "")


def _macs(after: Mapping[str, LayerCost], layer: str) -> int:
    return after[layer].macs if layer in after else 0
