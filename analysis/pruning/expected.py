"""How torch-pruning is expected to cut the true groups, without importing it.

torch-pruning ranks the channels of a group one by one, or by the same place in each block of a
grouped convolution or norm, and also removes what DepGraph couples. If channels must be removed
together for a reason that DepGraph does not know (heads, a chunk, a slice), or none can be removed,
its cut is not right.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.groups.coupling import joined, partition
from analysis.groups.inspecting import Labelled
from analysis.network.labels.planes import Labels
from analysis.network.layers import ROOTS, blocks_cut_alike, is_depthwise
from analysis.network.owners import layer_of
from analysis.network.reached import Reached
from analysis.pruning.channel_classes import roots_of
from analysis.pruning.ranked import Outlook
from analysis.pruning.rules import cut_across
from analysis.records import DependencyGroup, DependencyMember, Group, Member

__all__ = ["Expected", "expected", "gone_labels", "owned"]

Numbers = NDArray[np.int64]

_KNOWN = frozenset({"convolution", "native_group_norm"})
"""Operators whose blocks torch-pruning cuts alike."""


@dataclass(frozen=True, eq=False)
class Expected:
    """One group as torch-pruning is expected to cut it.

    Attributes:
        group: what is ranked.
        going: for each position that is ranked the channels that go with it.
        otherwise: why torch-pruning's cut would not be right; empty where it is.
        several: whether DepGraph makes several groups of it, so that their ranks are not known.
        numbers: for each label of the pass the channel of the group that it goes with, counted
            from 1; 0 for one of another group, so that memory is taken for its own alone.
    """

    group: DependencyGroup
    going: tuple[Numbers, ...]
    otherwise: str
    several: bool
    numbers: NDArray[np.int32]

    def channels_of(self, labels: Labels) -> Numbers:
        """For each of these labels the channel that it goes with; -1 for one of another group."""
        return _channels_at(self.numbers, labels)


def expected(
    followed: Labelled,
    ignored: Collection[str],
    names: Collection[str] = (),
    reached: Reached | None = None,
) -> tuple[Expected, ...]:
    """Each group of a network, under a policy.

    Args:
        followed: the network with its channels followed.
        ignored: layers whose outputs stay.
        names: a group of which one of these layers makes the channels is called by it.
        reached: what DepGraph sees of the network; None is everything.
    """
    trace = followed.trace
    known = [
        (choice.options[0].one, choice.options[0].other)
        for choice in trace.choices
        if trace.steps[choice.step].place.operator in _KNOWN
    ]
    partitions = followed.classes.of, partition(trace, known), partition(trace, [])
    parts = tuple(map(_Partition, partitions))
    found = [
        _expected(followed, place, group, ignored, names, parts)
        for place, group in enumerate(followed.groups)
    ]
    if reached is not None:
        found = [
            _as_seen(followed, each, group, reached)
            for each, group in zip(found, followed.groups, strict=True)
        ]
    axes = [{(each.tensor, each.dim) for each in group.members} for group in followed.groups]
    found = [_unless_misled(place, found, axes) for place in range(len(found))]
    # Both axes of a tensor may be channels of one layer, as of a table and a head that share it;
    # or parts of one axis may be coupled with other layers each.
    twice = Counter(each.group.root for each in found)
    return tuple(
        replace(each, group=replace(each.group, root=_with_axis(each.group.root, group)))
        if twice[each.group.root] > 1
        else each
        for each, group in zip(found, followed.groups, strict=True)
    )


def _with_axis(root: str, group: Group) -> str:
    member = group.members[0]
    first = member.positions[0][0]
    return f"{root} ({member.tensor}, dimension {member.dim}{f', from {first}' if first else ''})"


class _Partition:
    """Labels by class, and the labels of each class.

    Args:
        of: for each label its class.
    """

    def __init__(self, of: NDArray[np.int32]) -> None:
        self.of = of
        self._labels = np.argsort(of, kind="stable")
        self._sizes = np.bincount(of, minlength=len(of))
        self._starts = np.cumsum(self._sizes) - self._sizes

    def alike(self, labels: Labels) -> tuple[Numbers, Numbers]:
        """Every label of the classes of these, and the place of the first of these that it is like.

        Groups are many and small: each is found from its own labels, and not from all.
        """
        classes, first = np.unique(self.of[labels], return_index=True)
        sizes = self._sizes[classes]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        return self._labels[np.repeat(self._starts[classes], sizes) + within], np.repeat(
            first, sizes
        )


Partitions = tuple[_Partition, ...]
"""What goes together, what DepGraph knows of that, and what operators couple one by one."""


def _expected(
    followed: Labelled,
    place: int,
    group: Group,
    ignored: Collection[str],
    names: Collection[str],
    parts: Partitions,
) -> Expected:
    labels = followed.labels[place]
    numbers = _numbered(labels, parts)
    members = tuple(_members(followed, group, numbers))
    makers = {layer_of(name) for name, dim in followed.makers}
    known = (layer for layer in group.layers if layer in makers and layer in names)
    blocks = max(member.channel_groups for member in members)
    blocks = blocks if group.width % blocks == 0 else 1
    truth, believed = parts[0].of[labels], parts[1].of[labels]
    ranked = np.arange(group.width).reshape(blocks, -1)
    own = DependencyGroup(
        root=next(known, group.name),
        width=group.width,
        members=members,
        additions=group.additions,
        is_output=group.is_output,
        ignored=not set(ignored).isdisjoint(group.layers),
        turn=place,
    )
    return Expected(
        group=own,
        going=tuple(_alike(truth, ranked)),
        otherwise=_otherwise(group, truth, believed, ranked)
        or _across(own)
        or _left_whole(followed, group)
        or _left_as_it_is(group)
        or _turned(own),
        several=_is_several(followed, group, parts[2].of) or bool(_turned(own)),
        numbers=numbers,
    )


def _as_seen(followed: Labelled, own: Expected, true: Group, reached: Reached) -> Expected:
    """The group, if DepGraph reaches none or not all of the layers that it starts from."""
    group, modules = own.group, followed.modules
    if reached.unread:
        return replace(own, otherwise=reached.unread)
    begins = [layer for layer in group.layers if isinstance(modules.get(layer), ROOTS)]
    if reached.layers.isdisjoint(begins):
        why = "" if begins else "torch-pruning starts no group from a layer that makes its channels"
        return replace(own, otherwise="", group=replace(group, frozen=True, untraced=why))
    one = next(filter(None, map(reached.beside_one.get, group.layers)), None)
    if one is not None:
        return replace(own, otherwise="", group=_with_one(group, one))
    unseen = (
        member.layer
        for member in group.members
        if member.layer in modules and member.layer not in reached.layers
    )
    if layer := next(unseen, ""):
        return replace(own, otherwise=own.otherwise or f"it does not see `{layer}`")
    tensors = {member.tensor for member in true.members}
    met = (name for layer in group.layers for name in reached.loose.get(layer, ()))
    if name := next((name for name in met if name not in tensors), ""):
        why = f"it includes `{name}`, which has none of its channels"
        return replace(own, otherwise=own.otherwise or why)
    return own


def _with_one(group: DependencyGroup, layer: str) -> DependencyGroup:
    """The group with a layer that makes a single channel, which keeps it whole."""
    one = replace(group.members[0], layer=layer, axis="out", width=1, roots=(0,))
    return replace(group, members=(*group.members, one))


def _is_several(followed: Labelled, group: Group, coupled: NDArray[np.int32]) -> bool:
    """Whether several layers make its channels without an operator that couples them."""
    own = [(each.tensor, each.dim) for each in group.members]
    makers = [axis for axis in followed.makers if axis in own]
    return len(list(joined([coupled[followed.trace.labels(*axis)] for axis in makers]))) > 1


_LAYERS = (
    nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.PReLU, nn.LayerNorm,
    nn.GroupNorm, nn.Embedding, nn.MultiheadAttention,
)  # fmt: skip
"""Layers that torch-pruning cuts as a whole."""


def _left_whole(followed: Labelled, group: Group) -> str:
    """A tensor that torch-pruning does not cut, or cuts along another dimension.

    Outside the layers that it knows, it cuts parameters along the last dimension that is not 1.
    """
    made = {*followed.makers}
    for member in group.members:
        layer = followed.modules.get(member.layer)
        is_buffer = member.tensor not in followed.parameters
        if isinstance(layer, nn.modules.instancenorm._InstanceNorm) and is_buffer:
            return f"it does not cut `{member.tensor}`"
        if isinstance(layer, nn.RNNBase) and (member.tensor, member.dim) in made:
            return f"it does not cut the recurrent layer `{member.layer}` as a whole"
        if isinstance(layer, (*_LAYERS, nn.LSTM)):
            continue
        if hasattr(layer, "normalized_shape"):
            return f"it leaves `normalized_shape` of `{member.layer}` as it is"
        tensor = followed.parameters.get(member.tensor)
        if tensor is None:
            return f"it does not cut the buffer `{member.tensor}`"
        if member.dim != max(dim for dim, size in enumerate(tensor.shape) if size > 1):
            return f"it does not cut `{member.tensor}` along dimension {member.dim}"
    return ""


def _left_as_it_is(group: Group) -> str:
    """A number that torch-pruning does not set."""
    for each in group.repeats:
        owner = f"`{each.module}`" if each.module else "the model"
        return f"it leaves `{each.name}` of {owner} as it is"
    return ""


def _unless_misled(
    place: int, found: Sequence[Expected], axes: Sequence[Collection[tuple[str, int]]]
) -> Expected:
    """The group, marked if it is concatenated with a group whose cut is not known.

    DepGraph finds the channels of one part of a concatenation by counting those of the others: it
    may then make other groups, of other ranks, of both.
    """
    own = found[place]
    for each, others in zip(found, axes, strict=True):
        if each is not own and each.otherwise and not {*axes[place]}.isdisjoint(others):
            why = f"it is concatenated with `{each.group.root}`, and {each.otherwise}"
            return replace(own, otherwise=own.otherwise or why, several=True)
    return own


def _turned(group: DependencyGroup) -> str:
    """A layer at which channels arrive in another order than at the root, which needs a rule."""
    for member in group.members:
        roots = roots_of(member)
        channels = roots[roots >= 0]
        turns = int(np.count_nonzero(channels[:-1] > channels[1:]))
        # A convolution that reads a tensor twice beside itself reads each as it is made.
        again = member.kind.startswith("Conv") and len(channels) == (turns + 1) * group.width
        if turns and not again:
            return f"its channels arrive at `{member.layer}` in another order, or several times"
    return ""


def _across(group: DependencyGroup) -> str:
    layer = cut_across(group)
    return layer and (
        f"it would cut the grouped convolution `{layer}` across its blocks, which does not give "
        "the same network without channels"
    )


def _numbered(labels: Labels, parts: Partitions) -> NDArray[np.int32]:
    """By label the channel that it is, is coupled with, or goes with, counted from 1; else 0."""
    found = np.zeros(len(parts[0].of), np.int32)
    for part in parts:
        own, channels = part.alike(labels)
        found[own] = channels + 1
    found[labels] = np.arange(1, len(labels) + 1)
    found[0] = 0
    return found


def _channels_at(numbers: NDArray[np.int32], labels: Labels) -> Numbers:
    return numbers[labels].astype(np.int64) - 1


def _otherwise(group: Group, truth: Labels, believed: Labels, ranked: Numbers) -> str:
    if group.is_output:
        return ""
    if not group.together:
        return f"none of its channels can be removed: {group.held}"
    stay = group.width - sum(map(len, group.together))
    if stay:
        return f"{stay} of its channels must be kept"
    if len(np.unique(truth)) == group.width:
        return ""
    more = (
        len(own) > len(other)
        for own, other in zip(_alike(truth, ranked), _alike(believed, ranked), strict=True)
    )
    if any(more):
        return (
            f"its channels are removed together in {group.together_in_words}, for a reason that "
            "DepGraph may not know"
        )
    return ""


def _alike(classes: Labels, ranked: Numbers) -> Iterator[Numbers]:
    """For each ranked position, the channels of its classes."""
    _, place, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if len(counts) == len(classes) == ranked.size and len(ranked) == 1:
        yield from ranked.T  # any one alone
        return
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(counts)[:-1])
    for own in place[ranked.T].tolist():
        found = [members[each] for each in dict.fromkeys(own)]
        yield found[0] if len(found) == 1 else np.sort(np.concatenate(found))


def _members(
    followed: Labelled, group: Group, numbers: NDArray[np.int32]
) -> list[DependencyMember]:
    """One for each layer and axis, as DepGraph lists them."""
    found: dict[tuple[str, str], DependencyMember] = {}
    for member in (each for own in group.members for each in owned(followed, own)):
        key = member.layer, member.axis
        if key in found:
            continue
        module = followed.modules.get(member.layer)
        roots = _channels_at(numbers, followed.trace.labels(member.tensor, member.dim))
        if member.axis == "in" and blocks_cut_alike(module) > 1:
            arriving = followed.arriving_at(member.layer)
            roots = roots if arriving is None else _channels_at(numbers, arriving)
        found[key] = DependencyMember(
            layer=member.layer,
            kind=member.kind,
            axis=member.axis,
            width=len(roots),
            coupling="",
            via="",
            reads=(),
            roots=tuple(roots.tolist()),
            channel_groups=blocks_cut_alike(module),
        )
    return list(found.values())


def owned(followed: Labelled, member: Member) -> Iterator[Member]:
    """The member, once for each layer that has its tensor: DepGraph knows layers alone."""
    yield member
    axis = member.tensor, member.dim
    for layer in followed.tied.get(member.tensor, ()):
        read = any(
            step.place.module == layer and axis in ((read.tensor, read.dim) for read in step.reads)
            for step in followed.trace.steps
        )
        module = followed.modules[layer]
        kind = f"{'depthwise ' if is_depthwise(module) else ''}{type(module).__name__}"
        yield replace(member, layer=layer, kind=kind, axis="in" if read else "out")


def gone_labels(
    followed: Labelled, found: Sequence[Expected], outlooks: Mapping[str, Outlook], place: int
) -> NDArray[np.bool_]:
    """The labels of the pass that are removed at one of several ratios."""
    gone = np.zeros(followed.trace.count, bool)
    for each in found:
        outlook = outlooks[each.group.root]
        positions = outlook.lowest(int(outlook.going[place]))
        channels = np.zeros(each.group.width + 1, bool)  # the first is that of other groups' labels
        for position in positions:
            channels[each.going[position] + 1] = True
        gone |= channels[each.numbers]
    return gone
