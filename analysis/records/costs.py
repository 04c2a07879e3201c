"""MACs and parameters: counted, predicted and attributed."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from analysis.errors import InputError, did_you_mean
from analysis.records.conventions import CONVENTIONS
from analysis.records.pruning import GroupAccount, Reason
from analysis.records.targets import QUANTITIES, Quantity, Target, ratio_text, share_beside

__all__ = [
    "COLUMNS",
    "CostTable",
    "CurvePoint",
    "GroupSaving",
    "Holder",
    "LayerCost",
    "RatioCurve",
    "Reach",
    "Saved",
    "Savings",
    "Scaling",
    "Sizes",
    "Turn",
    "Unknown",
]


COLUMNS = ("convolution", "linear", "attention", "normalization", "elementwise")
"""The columns of MACs: convolutions, products with weights, products of activations,
normalisations, and pooling with all other elementwise work."""


_PRODUCT_COLUMNS = 3


@dataclass(frozen=True)
class LayerCost:
    """The MACs and parameters of one module, without its children.

    Attributes:
        layer: module name; empty for what the model's own forward calls.
        kind: class name of the module.
        macs: multiply-accumulates, all columns together.
        params: number of parameters.
        operators: MACs by operator, e.g. ``(("conv", 9633792),)``.
        columns: MACs by column, one for each of `COLUMNS`.
        shape: the output shape of the layer's last operator; empty if none is counted.
        calls: how often it is called in one forward pass.
    """

    layer: str
    kind: str
    macs: int
    params: int
    operators: tuple[tuple[str, int], ...]
    columns: tuple[int, ...]
    shape: tuple[int, ...]
    calls: int


@dataclass(frozen=True)
class CostTable:
    """Where the MACs and parameters are; rows sum to the totals.

    Attributes:
        layers: one row for each module that owns MACs or parameters, in model order.
        macs: total multiply-accumulates of one forward pass over the example inputs.
        params: total parameters.
        uncounted: operators for which the convention has no rule, with how often each is called.
        uncalled: modules that own parameters and were never called.
        modules: the names of all modules of the model.
        convention: by which it is counted, see `analysis.records.CONVENTIONS`.
        folded: batch norms that are counted as a device has them that folds them into the layer
            before, with whether their shift stays, as that layer's bias.
    """

    layers: tuple[LayerCost, ...]
    macs: int
    params: int
    uncounted: tuple[tuple[str, int], ...]
    uncalled: tuple[str, ...]
    modules: tuple[str, ...] = ()
    convention: str = "fvcore"
    folded: tuple[tuple[str, bool], ...] = ()

    @property
    def unit(self) -> str:
        """``MACs`` or ``FLOPs``."""
        return CONVENTIONS[self.convention].unit

    def by_layer(self) -> dict[str, LayerCost]:
        """The rows by module name."""
        return {row.layer: row for row in self.layers}

    @property
    def columns(self) -> tuple[int, ...]:
        """Total MACs of each of `COLUMNS`."""
        return tuple(
            sum(row.columns[place] for row in self.layers) for place in range(len(COLUMNS))
        )

    @property
    def products(self) -> int:
        """The MACs of convolutions, linear layers and attention, on which counters agree."""
        return sum(self.columns[:_PRODUCT_COLUMNS])

    def macs_of(self, module: str) -> int:
        """The MACs of a module and of its children.

        Raises:
            InputError: the model has no such module.
        """
        return sum(row.macs for row in self._inside(module))

    def params_of(self, module: str) -> int:
        """The parameters of a module and of its children.

        Raises:
            InputError: the model has no such module.
        """
        return sum(row.params for row in self._inside(module))

    def _inside(self, module: str) -> list[LayerCost]:
        if module not in self.modules:
            hint = did_you_mean(module, self.modules, "see model.named_modules()")
            raise InputError(f"the model has no module {module!r}; {hint}")
        return [
            row
            for row in self.layers
            if not module or row.layer == module or row.layer.startswith(f"{module}.")
        ]


@dataclass(frozen=True)
class CurvePoint:
    """What one ratio leaves; ``bytes`` are known where a target is of them."""

    ratio: float
    macs: int
    params: int
    bytes: int | None = None

    def misses(self, targets: Iterable[Target], dense: "CurvePoint") -> tuple[Target, ...]:
        """Of these targets those that it does not meet."""
        return tuple(
            each
            for each in targets
            if getattr(self, each.quantity) > each.most(getattr(dense, each.quantity))
        )


@dataclass(frozen=True)
class Turn:
    """Two neighbouring ratios of a curve of which the larger one leaves more.

    Attributes:
        before: the smaller ratio's point.
        after: the larger ratio's point.
        groups: those that keep more channels at the larger ratio, by how many, and why.
    """

    before: CurvePoint
    after: CurvePoint
    groups: tuple[tuple[str, int, Reason], ...]


@dataclass(frozen=True)
class Unknown:
    """Ratios whose cost is not known.

    Attributes:
        first: the smallest of them.
        until: the next larger ratio whose cost is known; 1 where there is none.
        why: the group whose cut cannot be predicted, and the place.
    """

    first: float
    until: float
    why: str

    def __str__(self) -> str:
        # The first ratio that asks for a channel is the smallest number above 0.
        start = "above 0" if self.first < _SMALLEST else f"{self.first:.6g}"
        return f"from {start} to {self.until:.6g}"


_SMALLEST = 1e-12


@dataclass(frozen=True)
class RatioCurve:
    """The MACs and parameters left at each ratio, and those of the dense network.

    Attributes:
        dense_macs: before pruning.
        dense_params: before pruning.
        points: one for each ratio whose cost is known, in the order given.
        turns: by ratio, where a larger ratio leaves more MACs.
        dropped: for each point, the groups that are asked for channels and lose none.
        unknown: the other ratios, and why their costs are not known.
        convention: by which it is counted, see `analysis.records.CONVENTIONS`.
    """

    dense_macs: int
    dense_params: int
    points: tuple[CurvePoint, ...]
    turns: tuple[Turn, ...] = ()
    dropped: tuple[tuple[GroupAccount, ...], ...] = ()
    unknown: tuple[tuple[float, str], ...] = ()
    convention: str = "fvcore"

    def complete(self) -> "RatioCurve":
        """The curve itself, where the cost of every ratio is known.

        Raises:
            InputError: one is not; says which and why.
        """
        for ratio, why in self.unknown:
            raise InputError(f"ratio {ratio:g} has no cost: {why}")
        return self

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratios whose cost is known, in the order given."""
        return tuple(point.ratio for point in self.points)

    @property
    def macs(self) -> tuple[int, ...]:
        """MACs left, one for each ratio."""
        return tuple(point.macs for point in self.points)

    @property
    def params(self) -> tuple[int, ...]:
        """Parameters left, one for each ratio."""
        return tuple(point.params for point in self.points)

    @property
    def more_params(self) -> dict[float, float]:
        """For each ratio, the next smaller one if it leaves fewer parameters."""
        order = sorted(self.points, key=lambda point: point.ratio)
        return {
            after.ratio: before.ratio
            for before, after in pairwise(order)
            if after.params > before.params
        }


@dataclass(frozen=True)
class Scaling:
    """a (1 - r)^2 + b (1 - r) + c: the share left if every prunable group lost the share r.

    Attributes:
        square: a, of layers whose input and output channels are both pruned.
        line: b, of layers of which only one is pruned.
        constant: c, of layers that the policy or the outputs exclude.
    """

    square: float
    line: float
    constant: float

    def at(self, ratio: float) -> float:
        """The share left at a ratio, before rounding to whole channels and ranking."""
        return self.square * (1 - ratio) ** 2 + self.line * (1 - ratio) + self.constant


@dataclass(frozen=True)
class Holder:
    """A layer that keeps many MACs or parameters at the ratio that leaves the least.

    Attributes:
        layer: module name.
        left: MACs or parameters that it keeps.
        share: of all that is left.
        why: the root of the group of its channels and the reason that they stay; empty if they are
            in no group.
    """

    layer: str
    left: int
    share: float
    why: str


@dataclass(frozen=True)
class Reach:
    """The answer to "which ratio leaves at most this much?".

    Attributes:
        targets: what is to be left at most; that comes first which takes the greatest ratio.
        dense: the dense network's point, at ratio 0.
        point: at the smallest ratio that is known to meet the targets; None if none is.
        least: the point that leaves least, of what the first target is of, of all ratios whose
            cost is known.
        holders: the layers that keep most there.
        scaling: what falls with the ratio, and what no ratio touches; None where that is not
            described by squares and products of two widths.
        unknown: ratios whose cost is not known, so that they may meet the target or not.
    """

    targets: tuple[Target, ...]
    dense: CurvePoint
    point: CurvePoint | None
    least: CurvePoint
    holders: tuple[Holder, ...]
    scaling: Scaling | None
    unknown: tuple[Unknown, ...] = ()

    @property
    def quantity(self) -> Quantity:
        """What is to be left, of the first target."""
        return self.targets[0].quantity

    @property
    def target(self) -> float:
        """The share of it that may stay, or a number."""
        return self.targets[0].limit

    @property
    def words(self) -> str:
        """What is to be left at most, in words."""
        return " and ".join(each.words for each in self.targets)

    @property
    def ratio(self) -> float | None:
        """The smallest ratio that meets the targets; None if no ratio does."""
        return self.point.ratio if self.point else None

    @property
    def nearest(self) -> CurvePoint:
        """What meets the targets or, where nothing is known to, leaves least."""
        return self.point or self.least

    @property
    def reason(self) -> str:
        """Why no ratio meets the targets, or none is known to; empty if one is."""
        return "" if self.point else "; ".join(filter(None, [self.falls_short, self.gap]))

    @property
    def why_not(self) -> str:
        """The reason, and what holds it up; empty if a ratio meets the targets."""
        return "; ".join(filter(None, [self.reason, self.held])) if self.reason else ""

    @property
    def falls_short(self) -> str:
        """By how much every ratio that is known misses a target; empty if one meets all."""
        if self.point:
            return ""
        known = " is known to leave" if self.unknown else " leaves"
        first = self.targets[0]
        if not self.least.misses([first], self.dense):
            return f"no ratio{known} {self.words}, though one leaves {first.words}"
        left = getattr(self.least, first.quantity)
        least = "the least that is known" if self.unknown else "the least"
        share = left / getattr(self.dense, first.quantity)
        is_share = first.limit <= 1
        told = share_beside(share, first.limit) if is_share else f"{left:,} ({share:.1%})"
        at = f"at ratio {ratio_text(self.least.ratio)}"
        return f"no ratio{known} {first.words}: {least} is {told}, {at}"

    @property
    def held(self) -> str:
        """The layer that keeps most where least is left, and why; empty where none is known."""
        if not self.holders:
            return ""
        most = self.holders[0]
        why = f" ({most.why})" if most.why else ""
        name = QUANTITIES["params" if self.quantity == "bytes" else self.quantity]
        return f"`{most.layer}` holds {most.share:.1%} of these {name}{why}"

    @property
    def gap(self) -> str:
        """The smaller ratios whose cost is not known, and why; empty if there are none."""
        before = [each for each in self.unknown if not self.point or each.first < self.point.ratio]
        if not before:
            return ""
        ranges = ", ".join(map(str, before[:_SHOWN]))
        more = f" and {len(before) - _SHOWN} more ranges" if len(before) > _SHOWN else ""
        return f"what ratios {ranges}{more} leave is not known: {before[0].why}"


_SHOWN = 3
"""How many ranges of ratios a sentence names."""


@dataclass(frozen=True)
class GroupSaving:
    """The share of one group in a saving.

    Attributes:
        root: the group.
        width: its channels.
        removed: how many are removed.
        macs: its share of the MACs saved; the shares sum to the saving.
        params: its share of the parameters saved.
        macs_of_one: MACs that are saved by removing its first channel alone.
        params_of_one: parameters that are saved by removing its first channel alone.
    """

    root: str
    width: int
    removed: int
    macs: float
    params: float
    macs_of_one: float
    params_of_one: float


@dataclass(frozen=True)
class Savings:
    """The saving at one ratio, by group."""

    point: CurvePoint
    groups: tuple[GroupSaving, ...]


@dataclass(frozen=True)
class Sizes:
    """One quantity before and after pruning.

    Attributes:
        before: of the dense network; None where counting it did not end in time.
        after: of the pruned one; None where it cannot be known.
        requested: what would be left had every channel gone that was asked to; None where that
            cannot be known.
    """

    before: int | None
    after: int | None
    requested: int | None = None

    @property
    def share(self) -> float | None:
        """What is left, as a share of the dense network's."""
        return None if self.after is None or not self.before else self.after / self.before

    @property
    def share_requested(self) -> float | None:
        """What would be left if all requested channels were removed, as a share."""
        if self.requested is None or not self.before:
            return None
        return self.requested / self.before


@dataclass(frozen=True)
class Saved:
    """The MACs or parameters that a scope was asked to save and did save; None if not known."""

    requested: float | None
    removed: float | None
