"""DepGraph against the groups as they are: what torch-pruning would make of each of them.

Where both say the same, nothing more is asked. Where they do not, or where nothing may go,
torch-pruning's own cut is made on a copy and proved: its verdict is the answer.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.groups.inspecting import Labelled
from analysis.network.labels.planes import Labels
from analysis.records import (
    Audited,
    DependencyGroup,
    Group,
    Misread,
    Verdict,
    Verification,
)

__all__ = ["audit"]

Cut = Callable[[str, Sequence[int]], Verification]
"""Cuts channels of a layer's group on a copy by torch-pruning, and proves the cut."""

_TRIED = 2
"""Cuts of a group that are proved, where its numbering differs."""


def audit(
    labelled: Labelled,
    graph: Sequence[DependencyGroup] | Verification,
    cut: Cut,
) -> tuple[Audited, ...]:
    """What torch-pruning makes of each group.

    Args:
        labelled: the network with its channels followed.
        graph: DepGraph's groups of it, or why it has none.
        cut: see `Cut`.
    """
    if isinstance(graph, Verification):
        answer = "cannot-be-told" if graph.verdict is Verdict.TIMEOUT else "cannot-be-cut"
        why = f"{graph.verdict}: {graph.reason}"
        return tuple(Audited(group.name, answer, why) for group in labelled.groups)
    owners = {layer: group for group in graph for layer in group.layers}
    found = []
    for place, group in enumerate(labelled.groups):
        dependency = next((owners[layer] for layer in group.layers if layer in owners), None)
        found.append(_audited(labelled, place, group, dependency, cut))
    return tuple(found)


def _audited(
    labelled: Labelled, place: int, group: Group, dependency: DependencyGroup | None, cut: Cut
) -> Audited:
    if dependency is None:
        return Audited(
            group.name, "missing", "torch-pruning's graph holds none of the layers that make it"
        )
    misread = _compared(labelled, place, dependency)
    if not misread and (group.together or group.is_output):
        return Audited(group.name, "same")
    if dependency.untraced:
        return Audited(group.name, "cannot-be-cut", dependency.untraced)
    channels = misread[0].believed if misread else (0,)
    first = next((number for number in channels if number is not None), 0)
    tried = list(dict.fromkeys([first, *(n for n in channels if n is not None)]))[:_TRIED]
    block = dependency.width // dependency.channel_groups
    for number in tried:
        unit = [number % block + block * turn for turn in range(dependency.channel_groups)]
        found = cut(dependency.root, unit)
        if found.verdict.passes and found.verdict is not Verdict.MIXED:
            continue
        if found.verdict is Verdict.WRONG:
            return Audited(group.name, "misread", found.reason, misread)
        if found.verdict in (Verdict.BROKEN, Verdict.UNPRUNABLE):
            why = f"{found.verdict}: {found.reason}"
            return Audited(group.name, "cannot-be-cut", why, misread)
        return Audited(group.name, "cannot-be-told", f"{found.verdict}: {found.reason}")
    return Audited(
        group.name, "same", "numbered otherwise, and its cut is proved right" if misread else ""
    )


def _compared(labelled: Labelled, place: int, dependency: DependencyGroup) -> tuple[Misread, ...]:
    """Where DepGraph would cut another position than the ones that go together.

    torch-pruning takes channels in the same place of each of a group's blocks at once; these sets
    of channels are what both sides are asked about.
    """
    of = labelled.classes.of
    block = dependency.width // dependency.channel_groups
    truth = np.full(len(of), -1, np.int64)
    root = _axis_of(labelled, dependency.root, "out", dependency.width)
    if root is None:
        return ()
    truth[of[root]] = np.arange(dependency.width) % block
    truth[0] = -1
    true = truth[of]
    believed: dict[tuple[str, str], NDArray[np.int64]] = {}
    for member in dependency.members:
        roots = np.asarray(member.roots)
        numbers = np.where(roots >= 0, roots % block, -1)
        known = believed.get((member.layer, member.axis))
        believed[member.layer, member.axis] = (
            numbers if known is None else np.where(known >= 0, known, numbers)
        )
    found = []
    for layer, axis, labels in _axes(labelled, place):
        expected = true[labels]
        seen = believed.get((layer, axis), np.full(len(labels), -1))
        if len(seen) != len(expected):
            seen = np.resize(seen, len(expected))
        differing = np.flatnonzero(seen != expected)
        if differing.size:
            found.append(
                Misread(
                    layer=layer,
                    places=tuple(differing.tolist()),
                    believed=_numbers(seen[differing]),
                    found=_numbers(expected[differing]),
                )
            )
    return tuple(found)


def _numbers(found: NDArray[np.int64]) -> tuple[int | None, ...]:
    return tuple(None if number < 0 else int(number) for number in found)


def _axis_of(labelled: Labelled, layer: str, axis: str, width: int) -> Labels | None:
    """The labels of a layer's weight along the channels that it makes."""
    for maker in labelled.makers:
        labels = labelled.trace.labels(*maker)
        if labelled.layer(maker[0]) == layer and len(labels) == width:
            return labels
    return None


def _axes(labelled: Labelled, place: int) -> Iterator[tuple[str, str, Labels]]:
    """The axes of a group, by layer."""
    seen = set()
    for member in labelled.groups[place].members:
        key = member.layer, member.axis
        if key not in seen:
            seen.add(key)
            yield (*key, labelled.trace.labels(member.tensor, member.dim))
