"""What a metric loses when one group alone is cut, and what that suggests."""

from dataclasses import dataclass
from math import isfinite

from analysis.records.accuracy import Metric
from analysis.records.runs import Run

__all__ = ["CutAlone", "GroupSensitivity", "Sensitivity", "Suggestion"]


@dataclass(frozen=True)
class CutAlone:
    """One group cut at one ratio, and the rest of the network whole.

    Attributes:
        ratio: asked of the group.
        kept: its channels that are left.
        is_none: whether that is all of them.
        macs: of the whole network with this cut.
        params: the same for parameters.
        metrics: what it costs; none where it was not measured.
        why: why it was not: nothing goes, or what the user's own function raised.
    """

    ratio: float
    kept: int
    is_none: bool
    macs: int
    params: int
    metrics: tuple[Metric, ...] = ()
    why: str = ""

    @property
    def lost(self) -> float | None:
        """By how much the first metric is worse; None where that is not known."""
        return self.metrics[0].lost if self.metrics and isfinite(self.metrics[0].lost) else None


@dataclass(frozen=True)
class GroupSensitivity:
    """A group, cut alone at each ratio.

    Attributes:
        name: of the group.
        layers: that make its channels; those of a residual stream are one group.
        width: its channels.
        cuts: by ratio, in the order asked.
    """

    name: str
    layers: tuple[str, ...]
    width: int
    cuts: tuple[CutAlone, ...]


@dataclass(frozen=True)
class Suggestion:
    """Ratios by group that meet the targets.

    Attributes:
        ratios_by_layer: of the groups that lose channels.
        widths: channels that are left of these.
        loss: the sum of what each of them loses alone; what they lose together may differ.
        macs: that are left, exact.
        params: the same for parameters.
        method: how it was found.
        is_by_layer: whether the ratios can be asked of layers, as ``ratios_by_layer`` takes them; a
            group of a parameter, or of a part of a layer's channels, is asked for by its width.
    """

    ratios_by_layer: tuple[tuple[str, float], ...]
    widths: tuple[tuple[str, int], ...]
    loss: float
    macs: int
    params: int
    method: str
    is_by_layer: bool


@dataclass(frozen=True)
class Sensitivity:
    """What a metric loses by group and ratio.

    Attributes:
        dense: the metrics of the dense network, by name; the first one is what is compared.
        groups: in the order of the network.
        suggestion: what meets the targets with the least predicted loss; None where no target was
            given, or none of the measured cuts meet it.
        why_not: why there is none; empty where no target was given.
        run: the suggestion, pruned, proved and measured.
    """

    dense: tuple[tuple[str, float], ...]
    groups: tuple[GroupSensitivity, ...]
    suggestion: Suggestion | None = None
    why_not: str = ""
    run: Run | None = None

    @property
    def passed(self) -> bool:
        """Whether what was asked for is met, and proved; without a target nothing can fail."""
        return not self.why_not and (self.run is None or self.run.passed)
