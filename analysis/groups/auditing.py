"""Compare DepGraph with the true groups: how torch-pruning would cut each of them.

Where both agree, torch-pruning cuts a channel of each group on one copy, and all cuts are proved at
once. Only if that fails are the groups tried one by one. Where they disagree, or no channel can be
removed, the cut of that group alone is proved, and its verdict is the answer. Where channels are
removed together, as whole heads are, the cut of a whole set is audited, too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.groups.inspecting import Labelled
from analysis.network.labels.planes import Labels
from analysis.network.owners import layer_of
from analysis.records import (
    Audited,
    DependencyGroup,
    Group,
    Misread,
    Verdict,
    Verification,
)

__all__ = ["audit"]

Cut = Callable[[Mapping[str, Sequence[int]]], Verification]
"""Cuts channels of some layers' groups on a copy by torch-pruning, and proves the cuts."""

_TRIED = 2
"""How many cuts of a group are proved if its channel indices differ."""


def audit(
    labelled: Labelled,
    graph: Sequence[DependencyGroup] | Verification,
    cut: Cut,
) -> tuple[Audited, ...]:
    """How torch-pruning would cut each group.

    Args:
        labelled: the labelled pass of the network.
        graph: DepGraph's groups of it, or why it has none.
        cut: see `Cut`.
    """
    if isinstance(graph, Verification):
        answer = "cannot-be-told" if graph.verdict is Verdict.TIMEOUT else "cannot-be-cut"
        return tuple(Audited(group.name, answer, _reason_of(graph)) for group in labelled.groups)
    owners = {layer: group for group in graph for layer in group.layers}
    pairs = [
        (group, next((owners[layer] for layer in group.layers if layer in owners), None))
        for group in labelled.groups
    ]
    agree = {
        group.name: misread
        for group, dependency in pairs
        if dependency is not None
        for misread in [_compared(labelled, group, dependency)]
    }
    same = [
        (group, dependency)
        for group, dependency in pairs
        if dependency is not None and agree[group.name] == () and _is_tried(group, dependency)
    ]
    allowed = {
        group.name: _allowed(labelled, place, dependency)
        for place, (group, dependency) in enumerate(pairs)
        if dependency is not None and group.alike > 1
    }
    faulty = dict(_faulty(same, allowed, cut))
    return tuple(
        faulty.get(group.name)
        or _audited(group, dependency, agree.get(group.name), allowed.get(group.name, []), cut)
        for group, dependency in pairs
    )


def _allowed(labelled: Labelled, place: int, dependency: DependencyGroup) -> list[int]:
    """The channels of DepGraph's root that form the first removable set."""
    root, of = _channels_of(labelled, dependency), labelled.classes.of
    if root is None:
        return []
    together = labelled.labels[place][list(labelled.groups[place].together[0])]
    return np.flatnonzero(np.isin(of[root], of[together])).tolist()


def _is_tried(group: Group, dependency: DependencyGroup) -> bool:
    """Whether a channel of a group can be cut to see that it is right."""
    block = dependency.width // dependency.channel_groups
    detail = dependency.frozen or dependency.untraced
    return bool(group.together) and not group.is_output and not detail and block > 1


Pair = tuple[Group, DependencyGroup]


def _faulty(
    pairs: Sequence[Pair], allowed: Mapping[str, Sequence[int]], cut: Cut
) -> Iterator[tuple[str, Audited]]:
    """Groups that both sides read alike and torch-pruning still cuts wrongly.

    For example, it does not set an attribute that repeats a size.
    """
    if not pairs:
        return
    found = cut({dependency.root: _first(group, dependency) for group, dependency in pairs})
    if found.verdict.passes:
        return
    if found.verdict is Verdict.TIMEOUT:
        for group, _ in pairs:
            yield group.name, Audited(group.name, "cannot-be-told", _reason_of(found))
    elif len(pairs) == 1:
        ((group, dependency),) = pairs
        yield group.name, _proved(group, dependency, (), allowed.get(group.name, []), cut)
    else:
        middle = len(pairs) // 2
        yield from _faulty(pairs[:middle], allowed, cut)
        yield from _faulty(pairs[middle:], allowed, cut)


def _first(group: Group, dependency: DependencyGroup) -> list[int]:
    """A removable channel, with its counterparts in other blocks."""
    block = dependency.width // dependency.channel_groups
    channel = group.together[0][0] % block if group.name == dependency.root else 0
    return [channel + block * turn for turn in range(dependency.channel_groups)]


def _reason_of(found: Verification) -> str:
    return f"{found.verdict}: {found.reason}"


def _audited(
    group: Group,
    dependency: DependencyGroup | None,
    misread: tuple[Misread, ...] | None,
    allowed: Sequence[int],
    cut: Cut,
) -> Audited:
    if dependency is None:
        return Audited(
            group.name, "missing", "torch-pruning starts no group from a layer that makes it"
        )
    if dependency.frozen:
        return Audited(
            group.name, "missing", "its layers are frozen, and a pruner does not see them"
        )
    if dependency.untraced:
        return Audited(group.name, "cannot-be-cut", dependency.untraced)
    if misread == () and (group.together or group.is_output):
        return Audited(group.name, "same")
    return _proved(group, dependency, misread or (), allowed, cut)


def _proved(
    group: Group,
    dependency: DependencyGroup,
    misread: tuple[Misread, ...],
    allowed: Sequence[int],
    cut: Cut,
) -> Audited:
    """The verdicts on torch-pruning's cut of the group, and on the cut of a removable set."""
    block = dependency.width // dependency.channel_groups

    def proof(number: int, count: int = 1) -> Verification:
        """Of a cut of so many channels of each block, the first of them given."""
        own = sorted({(number + further) % block for further in range(count)})
        turns = range(dependency.channel_groups)
        return cut({dependency.root: [place + block * turn for turn in turns for place in own]})

    channels = misread[0].believed if misread else ()
    tried = list(dict.fromkeys(number for number in channels if number is not None)) or [0]
    for number in tried[:_TRIED]:
        found = proof(number)
        if found.verdict in _FAILING:
            # As many as go together, though others, may leave a network that runs.
            several = proof(number, group.alike) if group.alike > 1 else found
            whole = cut({dependency.root: allowed}) if allowed else found
            wrong = (each for each in (found, several) if each.verdict is Verdict.WRONG)
            return _failing(group, misread, next(wrong, found), whole)
        if found.verdict is Verdict.MIXED or not found.verdict.passes:
            return Audited(group.name, "cannot-be-told", _reason_of(found))
    return Audited(
        group.name, "same", "numbered differently, and its cut is proved right" if misread else ""
    )


_FAILING = {
    Verdict.WRONG: "misread",
    Verdict.BROKEN: "cannot-be-cut",
    Verdict.UNPRUNABLE: "cannot-be-cut",
}
"""The answer for a group by the verdict on its cut."""


def _failing(
    group: Group, misread: tuple[Misread, ...], one: Verification, whole: Verification
) -> Audited:
    """The answer if a cut that torch-pruning may choose fails.

    Args:
        group: that is cut.
        misread: where DepGraph's channel indices differ.
        one: the answer on that cut.
        whole: the answer on the cut of a removable set.
    """
    fails = whole.verdict in _FAILING
    said = whole if fails and one.verdict is not Verdict.WRONG else one
    detail = said.reason if said.verdict is Verdict.WRONG else _reason_of(said)
    beside = (
        "" if fails else f"; where {group.together_in_words} are removed together, its cut is right"
    )
    return Audited(group.name, _FAILING[said.verdict], detail + beside, misread)


def _compared(
    labelled: Labelled, group: Group, dependency: DependencyGroup
) -> tuple[Misread, ...] | None:
    """Where DepGraph would cut other positions than those that belong together.

    torch-pruning removes channels in the same place of each block of a group at once, so these sets
    are compared. None if they are not known.
    """
    of = labelled.classes.of
    block = dependency.width // dependency.channel_groups
    root = _channels_of(labelled, dependency)
    if root is None:
        return None
    truth = np.full(len(of), -1, np.int64)
    truth[of[root]] = np.arange(dependency.width) % block
    truth[0] = -1
    believed = _believed(dependency, block)
    own = {(member.tensor, member.dim) for member in group.members}
    only_read = labelled.readers.difference(labelled.makers)
    channels = own.union(labelled.makers, labelled.readers)
    found: dict[tuple[str, str], Misread] = {}
    for tensor, dim in filter(channels.__contains__, labelled.trace.starts):
        layer = layer_of(tensor)
        axis = "in" if (tensor, dim) in only_read else "out"
        seen = believed.get((tensor, axis))
        # A parameter that is no part of a layer of torch's goes by its own name in DepGraph.
        if seen is None and tensor.rpartition(".")[2] in _CUT_WITH_THEIR_LAYER:
            seen = believed.get((layer, axis))
        if seen is None and (tensor, dim) not in own:
            continue
        expected = truth[of[labelled.trace.labels(tensor, dim)]]
        seen = np.resize(_NOWHERE if seen is None else seen, len(expected))
        differing = np.flatnonzero(seen != expected)
        if differing.size:
            detail = _numbers(seen[differing]), _numbers(expected[differing])
            misread = Misread(layer, tuple(differing.tolist()), *detail)
            found.setdefault((layer, axis), misread)
    return tuple(found.values())


_CUT_WITH_THEIR_LAYER = frozenset(
    {"weight", "bias", "running_mean", "running_var", "in_proj_weight", "in_proj_bias"}
)
"""Tensors that torch-pruning cuts with a layer that has them."""

_NOWHERE = np.array([-1])
"""No channel arrives."""


def _believed(dependency: DependencyGroup, block: int) -> dict[tuple[str, str], NDArray[np.int64]]:
    """By axis, the channel of the root at each position according to DepGraph."""
    believed: dict[tuple[str, str], NDArray[np.int64]] = {}
    for member in dependency.members:
        roots = np.asarray(member.roots, np.int64)
        numbers = np.where(roots >= 0, roots % block, -1)
        known = believed.get((member.layer, member.axis))
        believed[member.layer, member.axis] = (
            numbers if known is None else np.where(known >= 0, known, numbers)
        )
    return believed


def _channels_of(labelled: Labelled, dependency: DependencyGroup) -> Labels | None:
    """The labels of the channels that the root makes."""
    for maker in labelled.makers:
        labels = labelled.trace.labels(*maker)
        if layer_of(maker[0]) == dependency.root and len(labels) == dependency.width:
            return labels
    return None


def _numbers(found: NDArray[np.int64]) -> tuple[int | None, ...]:
    return tuple(None if number < 0 else int(number) for number in found)
