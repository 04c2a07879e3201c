"""The records that pass between the steps: names, integers and floats, never live modules.

They need no torch, so that reports need none either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Literal

from analysis.errors import InputError, did_you_mean

__all__ = [
    "COLUMNS",
    "IMPORTANCES",
    "OWN_PRUNER",
    "POLICIES",
    "RATIOS",
    "SCOPES",
    "Axis",
    "Channels",
    "CheckResult",
    "Config",
    "CostTable",
    "CurvePoint",
    "Cut",
    "Extent",
    "FaultCount",
    "Finding",
    "Group",
    "GroupAccount",
    "GroupSaving",
    "Holder",
    "LayerCost",
    "Lint",
    "Lock",
    "Meeting",
    "Member",
    "Mismatch",
    "Misread",
    "PlannedGroup",
    "PolicyAccount",
    "Products",
    "Quantity",
    "RankAgreement",
    "RatioCurve",
    "Reach",
    "Reason",
    "Removal",
    "Request",
    "Run",
    "Saved",
    "Savings",
    "Scaling",
    "ScopeAccount",
    "Sizes",
    "Study",
    "SubjectInfo",
    "SubjectStudy",
    "Term",
    "Thresholds",
    "Turn",
    "Untouched",
    "Verdict",
    "Verification",
    "ZooRecord",
    "checked_ratios",
    "timed_out",
]


RATIOS = (0.3, 0.5, 0.8)
"""The case study's pruning ratios."""

SCOPES = ("global", "local")

Quantity = Literal["macs", "params"]
IMPORTANCES = ("l1", "l2")
POLICIES = ("residual-blocks", "skip-channels", "classifier", "none")

OWN_PRUNER = "its own pruner"
"""In place of a policy, where a pruner of the user's own chose what it ignores."""

COLUMNS = ("convolution", "linear", "attention", "normalization", "elementwise")
"""What MACs are told apart by: convolutions, products with weights, products of activations,
normalisations, and pooling with all else that is done element by element."""

_PRODUCT_COLUMNS = 3


class Verdict(StrEnum):
    """What the proof says of a pruned network."""

    EXACT = "exact"
    RENORMALIZED = "renormalized"
    MIXED = "mixed"
    WRONG = "wrong"
    BROKEN = "broken"
    UNPRUNABLE = "unprunable"
    TIMEOUT = "timeout"
    UNCHANGED = "unchanged"

    @property
    def is_equal(self) -> bool:
        """Whether the pruned network was shown to equal the masked dense one."""
        return self in (Verdict.EXACT, Verdict.RENORMALIZED)

    @property
    def passes(self) -> bool:
        """Whether CI may go on."""
        return self.is_equal or self is Verdict.MIXED


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
class Config:
    """What one run of the pruner is asked to do.

    Attributes:
        ratio: share of the prunable channels asked to go, in [0, 1).
        scope: ``global`` ranks across groups, ``local`` inside each group.
        importance: ``l1`` or ``l2``, the norm that ranks channels.
        policy: name of the rule that chose the ignored layers.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: the cap handed to the pruner, in (0, 1].
    """

    ratio: float
    scope: str = "global"
    importance: str = "l1"
    policy: str = "classifier"
    round_to: int | None = None
    max_pruning_ratio: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no pruner can be asked.

        Raises:
            InputError: names the value and what is expected.
        """
        is_number = isinstance(self.ratio, int | float) and not isinstance(self.ratio, bool)
        if not is_number or not 0 <= self.ratio < 1:
            raise InputError(f"pruning ratio {self.ratio!r}; expected a number in [0, 1)")
        if self.scope not in SCOPES:
            raise InputError(f"scope {self.scope!r}; expected one of {', '.join(SCOPES)}")
        if self.importance not in IMPORTANCES:
            raise InputError(
                f"importance {self.importance!r}; expected one of {', '.join(IMPORTANCES)}"
            )
        if self.round_to is not None and not (isinstance(self.round_to, int) and self.round_to > 0):
            raise InputError(f"round_to {self.round_to!r}; expected a whole number of at least 1")
        if not 0 < self.max_pruning_ratio <= 1:
            raise InputError(
                f"max_pruning_ratio {self.max_pruning_ratio!r}; expected a number in (0, 1]"
            )


@dataclass(frozen=True)
class Member:
    """One axis of one layer that loses channels together with its group.

    Attributes:
        layer: module name, as in ``model.named_modules()``.
        kind: class name of the module; a depthwise convolution is told apart.
        axis: ``out`` (filters, and everything per channel) or ``in`` (what the layer reads).
        width: number of channels on that axis.
        coupling: why it belongs to the group: ``root``, ``sequence``, ``batch norm``,
            ``depthwise``, ``residual addition``, ``classifier input``, ``concatenation``,
            ``per-channel``.
        via: for a residual addition, the module whose forward adds; else empty.
        reads: the layers whose outputs reach this one with no other layer in between.
        roots: for each channel of the axis, the channel of the group's root that it follows
            (-1 where DepGraph gives none).
        channel_groups: number of blocks of channels that must lose the same channels
            (grouped convolution, group norm); 1 otherwise.
        position: place of the layer in the order in which the model defines its modules.
    """

    layer: str
    kind: str
    axis: str
    width: int
    coupling: str
    via: str
    reads: tuple[str, ...]
    roots: tuple[int, ...]
    channel_groups: int = 1
    position: int = 0


@dataclass(frozen=True)
class Group:
    """A dependency group: layers that DepGraph couples.

    Attributes:
        root: the layer whose output channels name the group.
        width: number of channels of the root.
        members: every axis that is cut along, the root first.
        additions: modules whose forward adds two tensors of this group, in forward order.
        is_output: whether the group's channels are the model's output.
        ignored: whether a policy keeps one of its layers, and so the whole group.
        frozen: whether DepGraph cannot see it because no gradient reaches its layers.
        untraced: where DepGraph's numbering of the channels does not fit a layer; else empty.
        turn: place in the order in which torch-pruning visits the groups.
    """

    root: str
    width: int
    members: tuple[Member, ...]
    additions: tuple[str, ...]
    is_output: bool
    ignored: bool = False
    frozen: bool = False
    untraced: str = ""
    turn: int = 0

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose *output* channels the group holds; ignoring one keeps the whole group."""
        return tuple(member.layer for member in self.members if member.axis == "out")

    @property
    def may_go(self) -> bool:
        """Whether a pruner may cut it: nothing holds it, and no axis has a single channel."""
        held = self.ignored or self.frozen
        return not held and all(member.width > 1 for member in self.members)

    @property
    def channel_groups(self) -> int:
        """Blocks of channels that must be cut alike, as the pruner ranks them."""
        return max(member.channel_groups for member in self.members)


@dataclass(frozen=True)
class Misread:
    """A layer that DepGraph would cut at other channels than those that arrive there.

    Attributes:
        layer: the layer that reads.
        places: the input channels that differ.
        believed: for each, the channel of the group's root that DepGraph says arrives; None where
            it does not follow the channel.
        found: for each, the one that does arrive; None where several do.
    """

    layer: str
    places: tuple[int, ...]
    believed: tuple[int | None, ...]
    found: tuple[int | None, ...]


@dataclass(frozen=True)
class Finding:
    """One thing that a list of ignored layers does, or fails to do.

    Attributes:
        kind: ``type``, ``foreign``, ``untraced`` and ``forgotten-output`` are errors;
            ``no-channels``, ``unlisted``, ``parameter``, ``container``, ``locked-partners``,
            ``input-still-cut`` and ``unneeded`` are not.
        layer: the module or parameter it is about; for what is not part of the model, its class
            or the name that was given.
        message: one line: what was given, what torch-pruning does with it, what to do.
        is_error: whether the list fails to hold what it names, or what it should have named.
    """

    kind: str
    layer: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class Lock:
    """A dependency group that ignored layers hold.

    Attributes:
        root: the group.
        width: its channels.
        layers: the ignored layers among its output members.
        partners: its other output members, which are held with them.
        cut_inputs: those of ``layers`` that read a group that may go, so that their weights
            change shape all the same.
        macs: of the dense network, those that exist only because of the group's channels (a product
            of two groups' channels counts for both); None where that is not known.
        params: the same for the parameters.
        needed: why the group must be held: ``output``, ``untraced`` or ``misread`` (DepGraph would
            cut it wrongly), ``unknown`` (what a cut leaves is not known), or empty: it need not be.
    """

    root: str
    width: int
    layers: tuple[str, ...]
    partners: tuple[str, ...]
    cut_inputs: tuple[str, ...]
    macs: int | None
    params: int | None
    needed: str


@dataclass(frozen=True)
class Untouched:
    """What no ratio touches under a policy: shares of the dense network's MACs and parameters."""

    policy: str
    macs: float
    params: float


@dataclass(frozen=True)
class Lint:
    """What a list of ignored layers holds, and what is wrong with it.

    Attributes:
        findings: the errors first, each in model order.
        locks: one for each group that the list holds.
        untouched: what the list and other policies leave out of every ratio's reach; empty where
            costs are not known.
    """

    findings: tuple[Finding, ...]
    locks: tuple[Lock, ...]
    untouched: tuple[Untouched, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.is_error for finding in self.findings)


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
    """

    root: str
    width: int
    requested: tuple[int, ...]
    expected: tuple[int, ...]
    reason: Reason
    scope: str = ""
    ratio: float = 0.0


@dataclass(frozen=True)
class Cut:
    """Channels removed from one axis of one layer, as indices of that axis before the run.

    ``dim`` is the cut dimension of a parameter that no layer torch-pruning knows owns, with the
    parameter's name as ``layer``; None for a layer.
    """

    layer: str
    axis: str
    width: int
    removed: tuple[int, ...]
    dim: int | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """The indices that stay, in order."""
        gone = set(self.removed)
        return tuple(index for index in range(self.width) if index not in gone)


@dataclass(frozen=True)
class Removal:
    """One group as the pruner cut it: its root, the channels, and every axis that followed."""

    root: str
    removed: tuple[int, ...]
    cuts: tuple[Cut, ...]


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
    """

    root: str
    width: int
    requested: int | None
    removed: int
    reason: Reason
    scope: str = ""
    ratio: float = 0.0

    @property
    def left(self) -> int:
        """Channels that stay."""
        return self.width - self.removed

    @property
    def is_dropped(self) -> bool:
        """Whether something was asked of the group and nothing went."""
        return bool(self.requested) and not self.removed


@dataclass(frozen=True)
class Verification:
    """The answer of the proof.

    Attributes:
        verdict: see `Verdict`.
        reason: one line; empty when exact.
        max_rel_error: greatest absolute difference of the outputs over the greatest absolute
            output of the masked dense network, in float64; None where no comparison was made.
        first_divergence: the first module, in forward order, whose output departs; None if none.
        groups: asked against done, one entry a group.
        requested_unknown: why what was asked of the groups is not known; empty if it is.
    """

    verdict: Verdict
    reason: str = ""
    max_rel_error: float | None = None
    first_divergence: str | None = None
    groups: tuple[GroupAccount, ...] = ()
    requested_unknown: str = ""


Axis = tuple[str, str]
"""A layer (or a parameter that no layer owns) and ``out`` or ``in``."""


@dataclass(frozen=True)
class Extent:
    """One size of a tensor, as a sum over the widths of layers that it is made of.

    Attributes:
        size: the size in the network that was traced.
        parts: ``((axis, factor), ...)``: each channel that an axis loses takes so many away.
        hidden: the operator behind which a size can no longer be followed; else empty.
    """

    size: int
    parts: tuple[tuple[Axis, Fraction | int], ...] = ()
    hidden: str = ""

    @property
    def varies(self) -> bool:
        """Whether a pruning may change it."""
        return bool(self.parts or self.hidden)

    def times(self, factor: Fraction | int) -> "Extent":
        """So many times this size."""
        parts = tuple((axis, share * factor) for axis, share in self.parts)
        return Extent(round(self.size * factor), parts, self.hidden)

    def __add__(self, other: "Extent") -> "Extent":
        """The sizes of two tensors laid end to end."""
        size, parts = self.size + other.size, self.parts + other.parts
        return Extent(size, parts, self.hidden or other.hidden)


@dataclass(frozen=True)
class Meeting:
    """Two sizes that must be equal for an operator to run; ``where`` names it in words."""

    where: str
    one: Extent
    other: Extent


@dataclass(frozen=True)
class Term:
    """A count that is a product of sizes: an operator's MACs, or a parameter's elements.

    Attributes:
        layer: the module that owns it; empty for what the model's own forward calls.
        name: the operator or the parameter.
        count: the product in the network that was traced.
        factors: those of the sizes that a pruning may change; the others stand in ``count``.
    """

    layer: str
    name: str
    count: int
    factors: tuple[Extent, ...]


@dataclass(frozen=True)
class Products:
    """What the costs of a network are products of.

    Attributes:
        macs: one term for each operator that is called.
        params: one term for each parameter.
        meetings: sizes that a pruning must leave equal, with the operator where they meet.
        splits: sizes that a pruning must leave whole (channels of a head), with the operator.
    """

    macs: tuple[Term, ...]
    params: tuple[Term, ...]
    meetings: tuple[Meeting, ...]
    splits: tuple[tuple[str, Extent], ...]


@dataclass(frozen=True)
class LayerCost:
    """MACs and parameters that one module owns itself, without its children.

    Attributes:
        layer: module name; empty for what the model's own forward calls.
        kind: class name of the module.
        macs: multiply-accumulates, all columns together.
        params: number of parameters.
        operators: MACs by operator, e.g. ``(("conv", 9633792),)``.
        columns: MACs by column, one for each of `COLUMNS`.
        shape: of the output of the layer's last operator; empty where none is counted.
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
        uncounted: operators fvcore has no rule for, with how often each is called.
        uncalled: modules that own parameters and were never called.
        modules: the names of all modules of the model.
    """

    layers: tuple[LayerCost, ...]
    macs: int
    params: int
    uncounted: tuple[tuple[str, int], ...]
    uncalled: tuple[str, ...]
    modules: tuple[str, ...] = ()

    def by_layer(self) -> dict[str, LayerCost]:
        """Rows by module name."""
        return {row.layer: row for row in self.layers}

    @property
    def columns(self) -> tuple[int, ...]:
        """Total MACs of each of `COLUMNS`."""
        return tuple(
            sum(row.columns[place] for row in self.layers) for place in range(len(COLUMNS))
        )

    @property
    def products(self) -> int:
        """MACs of convolutions, linear layers and attention: what every counter should agree on."""
        return sum(self.columns[:_PRODUCT_COLUMNS])

    def macs_of(self, module: str) -> int:
        """MACs of a module with everything inside it.

        Raises:
            InputError: the model has no such module.
        """
        return sum(row.macs for row in self._inside(module))

    def params_of(self, module: str) -> int:
        """Parameters of a module with everything inside it.

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
    """What one ratio leaves."""

    ratio: float
    macs: int
    params: int


@dataclass(frozen=True)
class Turn:
    """Two neighbouring ratios of a curve, the larger of which leaves more.

    Attributes:
        before: the smaller ratio's point.
        after: the larger ratio's point.
        groups: those that keep more channels at the larger ratio, with how many more and why.
    """

    before: CurvePoint
    after: CurvePoint
    groups: tuple[tuple[str, int, Reason], ...]


@dataclass(frozen=True)
class RatioCurve:
    """MACs and parameters left for each ratio asked, beside the dense network's.

    Attributes:
        dense_macs: before pruning.
        dense_params: before pruning.
        points: one for each ratio, in the order given.
        turns: where a larger ratio leaves more MACs, by ratio.
        dropped: for each ratio, the groups that are asked for channels and lose none.
    """

    dense_macs: int
    dense_params: int
    points: tuple[CurvePoint, ...]
    turns: tuple[Turn, ...] = ()
    dropped: tuple[tuple[GroupAccount, ...], ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratios asked, in the order given."""
        return tuple(point.ratio for point in self.points)

    @property
    def macs(self) -> tuple[int, ...]:
        """MACs left, one for each ratio."""
        return tuple(point.macs for point in self.points)

    @property
    def params(self) -> tuple[int, ...]:
        """Parameters left, one for each ratio."""
        return tuple(point.params for point in self.points)


@dataclass(frozen=True)
class Scaling:
    """a (1 - r)^2 + b (1 - r) + c: what is left if every prunable group lost the share r.

    Attributes:
        square: a, where both the channels made and those read go.
        line: b, where one of them goes.
        constant: c, what the policy and the outputs hold.
    """

    square: float
    line: float
    constant: float

    def at(self, ratio: float) -> float:
        """What is left at a ratio, before channels are rounded to whole ones and ranked."""
        return self.square * (1 - ratio) ** 2 + self.line * (1 - ratio) + self.constant


@dataclass(frozen=True)
class Holder:
    """A layer that keeps MACs or parameters where least of them are left.

    Attributes:
        layer: module name.
        left: MACs or parameters that it keeps.
        share: of all that is left.
        why: of the group that makes its channels: the root and the reason that it keeps them;
            empty where no group holds them.
    """

    layer: str
    left: int
    share: float
    why: str


@dataclass(frozen=True)
class Reach:
    """The answer to "which ratio leaves at most this share?".

    Attributes:
        quantity: what is to be left.
        target: the share of the dense network's that may stay.
        dense: the dense network's point, at ratio 0.
        point: at the smallest ratio that meets the target; None if no ratio does.
        least: the point that leaves least of all ratios.
        holders: the layers that keep most there.
        scaling: what falls with the ratio, and what no ratio touches.
    """

    quantity: Quantity
    target: float
    dense: CurvePoint
    point: CurvePoint | None
    least: CurvePoint
    holders: tuple[Holder, ...]
    scaling: Scaling

    @property
    def ratio(self) -> float | None:
        """The smallest ratio that meets the target; None if no ratio does."""
        return self.point.ratio if self.point else None

    @property
    def reason(self) -> str:
        """Why no ratio meets the target, in a sentence; empty if one does."""
        if self.point:
            return ""
        left = getattr(self.least, self.quantity) / getattr(self.dense, self.quantity)
        name = {"macs": "MACs", "params": "parameters"}[self.quantity]
        return (
            f"no ratio leaves {self.target:.1%} of the {name}: the least is {left:.1%}, "
            f"at ratio {self.least.ratio:.6g}"
        )


@dataclass(frozen=True)
class GroupSaving:
    """What one group has to do with a saving.

    Attributes:
        root: the group.
        width: its channels.
        removed: those that go.
        macs: its share of the MACs saved; the shares sum to the saving.
        params: its share of the parameters saved.
        macs_of_one: MACs that the first of its channels takes along.
        params_of_one: parameters that the first of its channels takes along.
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
    """Where the saving at one ratio comes from."""

    point: CurvePoint
    groups: tuple[GroupSaving, ...]


@dataclass(frozen=True)
class Mismatch:
    """What happens when one layer is cut without its group, and when its group is cut.

    Attributes:
        block: the module that owns the layer (the residual block).
        layers: the layers that were cut alone.
        channels: how many of their channels were cut.
        raised_in: the module whose forward raised; empty if nothing did.
        function: the operation that refused, e.g. ``add``.
        shapes: shapes of the tensors it refused.
        error: the message of the error.
        group: verification of DepGraph's own group for the same root and channels.
    """

    block: str
    layers: tuple[str, ...]
    channels: int
    raised_in: str
    function: str
    shapes: tuple[tuple[int, ...], ...]
    error: str
    group: Verification


@dataclass(frozen=True)
class FaultCount:
    """How many faults of one kind were planted in one network, and what saw them.

    Attributes:
        subject: the network.
        kind: what was planted.
        planted: in how many layers, one at a time.
        seen_by_shape: noticed by running the network and looking at its output shape.
        changed: made a layer's output or the network's differ, on random inputs in float64.
        seen_by_proof: noticed by the proof.
        located: of those, how many were traced to the very layer.
    """

    subject: str
    kind: str
    planted: int
    seen_by_shape: int
    changed: int
    seen_by_proof: int
    located: int


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


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one named property.

    Attributes:
        name: of the catalogue.
        passed: whether it holds, or could not be looked at.
        message: why it does not hold.
        known: why it is known to fail, if it is.
        skipped: why it could not be looked at, if so.
    """

    name: str
    passed: bool
    message: str = ""
    known: str = ""
    skipped: str = ""


@dataclass(frozen=True)
class Request:
    """Which network to look at, and how: enough for another process to build the same one.

    Attributes:
        name: a torchvision name, ``package.module:factory`` or ``path/to/file.py:factory``.
        input_size: of one input; None is the subject's own.
        weights: ``random``, ``default`` or the path of a state dict.
        seed: of random weights and inputs.
        inputs: reference of a function that returns what forward takes, or None.
        policy: name or reference of the rule that chooses the ignored layers.
        pruner: reference of the user's own pruner function, or None.
        device: where the network runs.
    """

    name: str
    input_size: tuple[int, ...] | None
    weights: str = "random"
    seed: int = 0
    inputs: str | None = None
    policy: str = "classifier"
    pruner: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class ZooRecord:
    """One model of the zoo: what it was fed, what torch-pruning was told, and the answer."""

    name: str
    task: str
    sizes: tuple[tuple[int, ...], ...]
    told: str
    verdict: Verdict
    reason: str
    max_rel_error: float | None
    removed: int
    params_before: int
    params_after: int
    seconds: float


@dataclass(frozen=True)
class SubjectInfo:
    """A subject without its modules; ``input_size`` is None where inputs were given."""

    name: str
    input_size: tuple[int, ...] | None
    weights: str
    seed: int


@dataclass(frozen=True)
class Channels:
    """Channels that may go, that were asked to go, and that went."""

    prunable: int
    requested: int | None
    removed: int


@dataclass(frozen=True)
class Sizes:
    """One quantity before and after pruning.

    Attributes:
        before: of the dense network.
        after: of the pruned one; None where it cannot be known.
        requested: what would be left had every channel gone that was asked to; None where that
            cannot be known.
    """

    before: int
    after: int | None
    requested: int | None = None

    @property
    def share(self) -> float | None:
        """What is left, as a share of what was."""
        return None if self.after is None or not self.before else self.after / self.before

    @property
    def share_requested(self) -> float | None:
        """What would be left had all gone that was asked to, as a share of what was."""
        if self.requested is None or not self.before:
            return None
        return self.requested / self.before


@dataclass(frozen=True)
class Saved:
    """MACs or parameters that a scope was asked to save, and saved; None where not known."""

    requested: float | None
    removed: float | None


@dataclass(frozen=True)
class ScopeAccount:
    """Asked against done for the groups that are ranked together.

    Attributes:
        name: ``global``, the root of a group that is ranked alone, or what tells the scope apart.
        ratio: what is asked of it.
        groups: how many it ranks.
        channels: of these groups.
        macs: its groups' shares (see `GroupSaving`) of the MACs that all asked, and all removed,
            channels take along.
        params: the same of the parameters.
    """

    name: str
    ratio: float
    groups: int
    channels: Channels
    macs: Saved
    params: Saved


@dataclass(frozen=True)
class Thresholds:
    """Where the checks on the account draw the line.

    Attributes:
        ratio_tolerance: channels that a group may lose more or fewer than asked; None is one, and
            as many more as rounding to ``round_to`` may add.
        max_dropped: groups that may be asked for channels and lose none.
        min_channels: fewest channels that a pruned group may have left.
        max_lost: greatest share of its channels that a group may lose.
    """

    ratio_tolerance: int | None = None
    max_dropped: int = 0
    min_channels: int = 2
    max_lost: float = 0.99


@dataclass(frozen=True)
class Run:
    """One pruning of one subject, from what was asked to what was proved.

    ``costs`` is None where the pruned network could not be counted; ``bytes_`` is the size of
    the saved state dict; ``scopes`` is empty where what was asked is not known.
    """

    config: Config
    verification: Verification
    channels: Channels
    params: Sizes
    macs: Sizes
    bytes_: Sizes
    costs: CostTable | None
    checks: tuple[CheckResult, ...] = ()
    scopes: tuple[ScopeAccount, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passes that is not known to fail, and, unchecked, the verdict."""
        if not self.checks:
            return self.verification.verdict.passes
        return all(check.passed or check.known for check in self.checks)


def timed_out(
    config: Config, reason: str, costs: CostTable, saved_bytes: int, names: Iterable[str]
) -> Run:
    """The run of a pruning, or of its proof, that did not end within its budget.

    None of the checks named can be said to hold.
    """
    return Run(
        config,
        Verification(Verdict.TIMEOUT, reason),
        Channels(prunable=0, requested=None, removed=0),
        params=Sizes(costs.params, None),
        macs=Sizes(costs.macs, None),
        bytes_=Sizes(saved_bytes, None),
        costs=None,
        checks=tuple(CheckResult(name, False, f"{Verdict.TIMEOUT}: {reason}") for name in names),
    )


def checked_ratios(ratios: Iterable[float]) -> tuple[float, ...]:
    """The ratios, if there are any and each is one.

    Raises:
        InputError: says which is not.
    """
    if isinstance(ratios, str) or not isinstance(ratios, Iterable):
        raise InputError(f"ratios {ratios!r}; expected a list of numbers in [0, 1)")
    checked = tuple(Config(ratio).ratio for ratio in ratios)
    if not checked:
        raise InputError("no ratio was given; expected a list of numbers in [0, 1)")
    return checked


@dataclass(frozen=True)
class PolicyAccount:
    """What ratios leave under one policy and scope, and why.

    Attributes:
        policy: its name.
        scope: ``global`` or ``local``.
        curve: what each ratio leaves.
        macs_scaling: why the curve of the MACs bends; None where nothing could be traced.
        params_scaling: the same for the parameters.
        reach: the ratio that leaves half of the MACs, and the least that any ratio leaves.
        savings: where the saving at one ratio comes from.
    """

    policy: str
    scope: str
    curve: RatioCurve
    macs_scaling: Scaling | None = None
    params_scaling: Scaling | None = None
    reach: Reach | None = None
    savings: Savings | None = None


@dataclass(frozen=True)
class SubjectStudy:
    """Everything the report says of one subject.

    Attributes:
        info: name, input size, weights, seed.
        headline: policy and scope of the runs that its story is told of.
        costs: the dense network's.
        runs: one for each policy, scope and ratio.
        groups: its dependency groups, nothing ignored.
        ignored: for each policy, the layers it holds.
        residual: what a cut of each projection alone does.
        depthwise: what a cut of each depthwise convolution alone does.
        accounts: of costs, one for each policy that keeps the outputs and each scope.
        ranking: the two importances compared, group by group.
        lint: of the layers that the headline's policy ignores; None where nothing was traced.
    """

    info: SubjectInfo
    headline: tuple[str, str]
    costs: CostTable
    runs: tuple[Run, ...]
    groups: tuple[Group, ...] = ()
    ignored: tuple[tuple[str, tuple[str, ...]], ...] = ()
    residual: tuple[Mismatch, ...] = ()
    depthwise: tuple[Mismatch, ...] = ()
    accounts: tuple[PolicyAccount, ...] = ()
    ranking: tuple[RankAgreement, ...] = ()
    lint: Lint | None = None

    def select(self, policy: str, scope: str) -> list[Run]:
        """The runs under one policy and scope, by ratio."""
        found = [
            run for run in self.runs if (run.config.policy, run.config.scope) == (policy, scope)
        ]
        return sorted(found, key=lambda run: run.config.ratio)

    @property
    def told(self) -> list[Run]:
        """The runs of the headline, by ratio; a pruner of the user's own chooses its scope."""
        if self.headline[0] == OWN_PRUNER:
            return sorted(self.runs, key=lambda run: run.config.ratio)
        return self.select(*self.headline)

    def account(self, policy: str, scope: str) -> PolicyAccount | None:
        """Of costs, under one policy and scope; None where there is none."""
        return next(
            (entry for entry in self.accounts if (entry.policy, entry.scope) == (policy, scope)),
            None,
        )


@dataclass(frozen=True)
class Study:
    """The content of a report.

    Attributes:
        versions: of the packages that made the numbers.
        subjects: one account each.
        command: makes it again.
        faults: what the proof sees that shapes do not, by network and kind of fault.
        is_case_study: whether it is the one whose claims this project's own tests assert.
        refused: why networks that were to be looked at could not be.
    """

    versions: tuple[tuple[str, str], ...]
    subjects: tuple[SubjectStudy, ...]
    command: str
    faults: tuple[FaultCount, ...] = ()
    is_case_study: bool = False
    refused: tuple[str, ...] = ()

    @property
    def judged(self) -> list[tuple[SubjectStudy, Run]]:
        """The runs that are asked to pass.

        Of the case study, all that keep their outputs: the policy ``none`` lets outputs go and so
        changes their shape, which is measured to show what it costs. Of other networks, those of
        the headline; what other policies would leave is shown beside them.
        """
        return [
            (subject, run)
            for subject in self.subjects
            for run in (subject.runs if self.is_case_study else subject.told)
            if not (self.is_case_study and run.config.policy == "none")
        ]

    @property
    def passed(self) -> bool:
        """Whether every run passes that is asked to, and there is one."""
        judged = [run for _, run in self.judged]
        return bool(judged) and not self.refused and all(run.passed for run in judged)
