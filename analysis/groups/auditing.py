"""DepGraph's numbering of channels against what the network does, before anything is pruned."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import accumulate

from torch import nn

from analysis.network.inference import Inputs, copy_of, left_as_found
from analysis.network.layers import couples_channels, makes_channels
from analysis.network.provenance import JOINED, trace_channels
from analysis.records import DependencyGroup, Misread

__all__ = ["audit"]


def audit(
    model: nn.Module, example_inputs: Inputs, groups: tuple[DependencyGroup, ...]
) -> dict[str, tuple[Misread, ...]]:
    """Layers that DepGraph would cut at another channel than the one that arrives there.

    One forward pass: every layer that makes channels numbers them by the channel of the group's
    root that DepGraph says they follow, so wherever they arrive the number must be the one that
    DepGraph gives the place.

    Args:
        model: the dense network; a copy is run.
        example_inputs: a tensor, a tuple or a dict.
        groups: see `analysis.groups.depgraph.dependency_groups`.

    Returns:
        By root of each group, the layers that are misread; empty for a group that is right.
    """
    modules = dict(model.named_modules())
    numbers, believed = _numbered(modules, groups)
    with left_as_found(model):
        flow = trace_channels(copy_of(model), example_inputs, numbers)

    wrong: dict[str, tuple[Misread, ...]] = {group.root: () for group in groups}
    roots = [group.root for group in groups for _ in range(group.width)]
    places = [channel for group in groups for channel in range(group.width)]
    seen = set()
    for layer, arriving in flow.arrivals():
        # One slope for all channels follows no group.
        if getattr(modules[layer], "num_parameters", None) == 1:
            continue
        differing = {
            place: number
            for place, number in enumerate(arriving)
            if number is not None and number != believed[layer].get(place)
        }
        if not differing or layer in seen:
            continue
        seen.add(layer)
        cut = [believed[layer].get(place) for place in differing]
        known = [n for n in (*cut, *differing.values()) if n is not None and n != JOINED]
        root = roots[known[0]]
        misread = Misread(
            layer=layer,
            places=tuple(differing),
            believed=tuple(None if n is None else places[n] for n in cut),
            found=tuple(None if n == JOINED else places[n] for n in differing.values()),
        )
        wrong[root] = (*wrong[root], misread)
    return wrong


def _numbered(
    modules: Mapping[str, nn.Module], groups: tuple[DependencyGroup, ...]
) -> tuple[dict[str, list[int | None]], dict[str, dict[int, int]]]:
    """Numbers for the channels that each layer makes, and those that each place should get."""
    starts = [0, *accumulate(group.width for group in groups)]
    numbers: dict[str, list[int | None]] = {}
    believed: dict[str, dict[int, int]] = defaultdict(dict)
    for start, group in zip(starts, groups, strict=False):
        for member in group.members:
            layer = modules.get(member.layer)
            follows = [start + root if root >= 0 else None for root in member.roots]
            # A single channel, as of a spatial attention, is broadcast over all others.
            if member.axis == "out" and makes_channels(layer) and member.width > 1:
                numbers[member.layer] = follows
            if member.axis == "in" or couples_channels(layer):
                found = {place: n for place, n in enumerate(follows) if n is not None}
                believed[member.layer].update(found)
    return numbers, believed
