"""Dependency groups, findings on them, and what excludes them."""

from dataclasses import dataclass

__all__ = [
    "Audited",
    "Axis",
    "Coupling",
    "DependencyGroup",
    "DependencyMember",
    "Finding",
    "Group",
    "Lint",
    "Lock",
    "Member",
    "Misread",
    "Outside",
    "Repeats",
    "Untouched",
]


Axis = tuple[str, str]
"""A layer (or a parameter that no layer owns) and ``out`` or ``in``."""


@dataclass(frozen=True)
class Coupling:
    """Why channels of a group go together.

    Attributes:
        why: ``sequence``, ``addition``, ``multiplication``, ``depthwise``, ``concatenation``,
            ``product`` (of two activations), ``normalisation``, ``shared`` (one tensor, used
            several times), ``flattening``, ``layout`` (positions that a view, a chunk or a step
            ties), ``elementwise`` or ``equal sizes``.
        operator: ATen's name of the operator; empty if it is not a single one.
        module: the module in whose forward it is called; empty for the model's own.
        line: ``file.py:12`` of the code that calls it, if it is known.
        times: operators of this kind in the module.
    """

    why: str
    operator: str = ""
    module: str = ""
    line: str = ""
    times: int = 1


@dataclass(frozen=True)
class Member:
    """One axis of one tensor that loses positions together with its group.

    Attributes:
        layer: name of the module that owns the tensor, or of a parameter that the model itself
            owns.
        kind: class of the layer; depthwise convolutions have a kind of their own.
        axis: ``out`` for output and per-channel parameters; ``in`` for input channels.
        tensor: name of the parameter or buffer, as in the state dict.
        dim: the dimension of it.
        width: its positions.
        positions: for each channel of the group, its positions on this axis.
        turned: whether the channels are made along an axis by which the layer's class makes others,
            as by a weight that a decoder transposes.
    """

    layer: str
    kind: str
    axis: str
    tensor: str
    dim: int
    width: int
    positions: tuple[tuple[int, ...], ...]
    turned: bool = False


@dataclass(frozen=True)
class Repeats:
    """An attribute of a module that holds a number of channels and that its forward reads.

    A cut must set it to ``value * n / len(channels)``, where n of ``channels`` stay.

    Attributes:
        module: its name; empty for the model itself.
        name: of the attribute in Python (``num_heads``, ``sizes[0]``).
        value: the number in the dense network.
        channels: the channels of the group that it counts, or is a part or a multiple of.
    """

    module: str
    name: str
    value: int
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Channels that must be removed together because of what the network does with them.

    Attributes:
        name: the layer that makes the channels, the first one called; the tensor where it is
            turned.
        width: the channels that it makes of this group.
        members: every axis that is cut with them, that of ``name`` first.
        couplings: why they belong together: the first operator of each kind in each module.
        together: sets of channels that can be removed; a set is removed as a whole.
        held: why no channel can be removed, with the place; empty if some can.
        is_output: whether channels leave the model.
        ignored: whether a policy keeps one of its layers, and so the whole group.
        macs: MACs of the dense network that exist only because of these channels.
        params: the same for parameters.
        repeats: attributes that hold numbers of these channels and must follow a cut.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    couplings: tuple[Coupling, ...]
    together: tuple[tuple[int, ...], ...]
    held: str = ""
    is_output: bool = False
    ignored: bool = False
    macs: int = 0
    params: int = 0
    repeats: tuple[Repeats, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose *output* channels are the group's; ignoring one keeps the whole group."""
        made = (each.layer for each in self.members if each.axis == "out" and not each.turned)
        return tuple(dict.fromkeys((self.name, *made)))

    @property
    def additions(self) -> tuple[str, ...]:
        """Modules whose forward adds two tensors of this group, once for each addition."""
        added = [each for each in self.couplings if each.why == "addition"]
        return tuple(each.module for each in added for _ in range(each.times))

    @property
    def prunable(self) -> bool:
        """Whether some of its channels can be removed and no policy ignores them."""
        return bool(self.together) and not self.ignored

    @property
    def together_in_words(self) -> str:
        """The sets of channels that are removed together."""
        if not self.together:
            return "none"
        sizes = sorted(set(map(len, self.together)))
        stay = self.width - sum(map(len, self.together))
        rest = f"; {stay} stay" if stay else ""
        if sizes == [1]:
            return f"any one{rest}"
        size = " or ".join(map(str, sizes))
        blocks = all(list(each) == list(range(each[0], each[-1] + 1)) for each in self.together)
        return f"{'blocks' if blocks else 'sets'} of {size}{rest}"

    @property
    def alike(self) -> int:
        """The smallest number of channels that can be removed at once; 0 if none can."""
        return min(map(len, self.together), default=0)


@dataclass(frozen=True)
class DependencyMember:
    """One axis of one layer that loses channels together with its group.

    Attributes:
        layer: module name, as in ``model.named_modules()``.
        kind: class name of the module; depthwise convolutions have a kind of their own.
        axis: ``out`` (filters and per-channel parameters) or ``in`` (input channels).
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
        pointwise: whether it is a convolution that looks at one position alone.
        further: channels of the axis that DepGraph couples with several channels of the root: each
            with those that ``roots`` leaves out.
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
    pointwise: bool = False
    further: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class DependencyGroup:
    """A dependency group: layers that DepGraph couples.

    Attributes:
        root: the layer whose output channels name the group.
        width: number of channels of the root.
        members: every axis that is cut along, the root first.
        additions: modules whose forward adds two tensors of this group, in forward order.
        is_output: whether the group's channels are the model's output.
        ignored: whether a policy keeps one of its layers, and so the whole group.
        frozen: whether DepGraph has no such group, because no gradient reaches its layers or none
            of them is a layer that DepGraph starts from.
        untraced: the layer that DepGraph's channel indices do not fit, or why DepGraph starts from
            no layer of it; else empty.
        turn: its place in the order in which torch-pruning prunes the groups.
        products: modules whose forward multiplies two tensors of this group, in forward order.
    """

    root: str
    width: int
    members: tuple[DependencyMember, ...]
    additions: tuple[str, ...]
    is_output: bool
    ignored: bool = False
    frozen: bool = False
    untraced: str = ""
    turn: int = 0
    products: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose *output* channels are the group's; ignoring one keeps the whole group."""
        return tuple(member.layer for member in self.members if member.axis == "out")

    @property
    def prunable(self) -> bool:
        """Whether a pruner can cut it: it is not excluded, and no axis has a single channel."""
        excluded = self.ignored or self.frozen
        return not excluded and all(member.width > 1 for member in self.members)

    @property
    def channel_groups(self) -> int:
        """The number of blocks of channels that the pruner ranks and cuts alike."""
        return max(member.channel_groups for member in self.members)


@dataclass(frozen=True)
class Audited:
    """How torch-pruning would cut one group.

    Attributes:
        name: the group.
        audit: ``same``; ``misread``: it would cut channels that do not belong together;
            ``missing``: its graph has no such group; ``cannot-be-cut``: its cut raises, or leaves a
            network that does not run; ``cannot-be-told``: not known.
        why: the reason; empty for ``same``.
        misread: the layers that would be cut at the wrong channels.
    """

    name: str
    audit: str
    why: str = ""
    misread: tuple["Misread", ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the cut is right or not known to be wrong."""
        return self.audit not in ("misread", "cannot-be-cut")


@dataclass(frozen=True)
class Misread:
    """A layer that DepGraph would cut at the wrong channels.

    Attributes:
        layer: the layer that reads.
        places: the input channels that differ.
        believed: for each of them, the channel of the group's root that it reads according to
            DepGraph; None if DepGraph does not follow the channel.
        found: for each of them, the channel that it does read; None if there are several.
    """

    layer: str
    places: tuple[int, ...]
    believed: tuple[int | None, ...]
    found: tuple[int | None, ...]


@dataclass(frozen=True)
class Outside:
    """A layer with parameters that is in no group.

    Attributes:
        layer: its name, or that of a parameter that the model itself owns.
        kind: its class.
        why: in words.
    """

    layer: str
    kind: str
    why: str


@dataclass(frozen=True)
class Finding:
    """A finding on a list of ignored layers.

    Attributes:
        kind: ``type``, ``foreign``, ``untraced`` and ``forgotten-output`` are errors;
            ``no-channels``, ``unlisted``, ``parameter``, ``container``, ``locked-partners``,
            ``input-still-cut`` and ``unneeded`` are not.
        layer: the module or parameter that it is about; if it is not part of the model, its class
            or the name that was given.
        message: one line: what was given, what torch-pruning does with it, what to do.
        is_error: whether the list fails to exclude a layer that it names or should name.
    """

    kind: str
    layer: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class Lock:
    """A dependency group that ignored layers exclude.

    Attributes:
        root: the group.
        width: its channels.
        layers: the ignored layers among its output members.
        partners: its other output members, which are excluded with them.
        cut_inputs: those of ``layers`` that read a prunable group: their weights still change
            shape.
        macs: MACs of the dense network that exist only because of the group's channels (a product
            of two groups' channels counts for both).
        params: the same for the parameters.
        needed: why no channel of the group can be removed: ``output``, or the operator with its
            place; empty if some can.
    """

    root: str
    width: int
    layers: tuple[str, ...]
    partners: tuple[str, ...]
    cut_inputs: tuple[str, ...]
    macs: int
    params: int
    needed: str


@dataclass(frozen=True)
class Untouched:
    """The shares of MACs and parameters that no ratio changes under a policy."""

    policy: str
    macs: float
    params: float


@dataclass(frozen=True)
class Lint:
    """What a list of ignored layers excludes, and findings on it.

    Attributes:
        findings: the errors first, each in model order.
        locks: one for each group that the list excludes.
        untouched: for this list and other policies, the shares that no ratio changes; empty if
            costs are not known.
    """

    findings: tuple[Finding, ...]
    locks: tuple[Lock, ...]
    untouched: tuple[Untouched, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.is_error for finding in self.findings)
