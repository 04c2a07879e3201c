"""Whole heads of attention, asked against done, where groups are cut as they are."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.groups.heads import attention_modules
from analysis.groups.inspecting import Labelled
from analysis.network.labels.planes import Labels
from analysis.pruning.by_groups import RankedSets
from analysis.records import HeadAccount, PlannedGroup

__all__ = ["head_accounts"]


def head_accounts(
    sets: RankedSets, planned: Sequence[PlannedGroup], gone: NDArray[np.bool_]
) -> tuple[HeadAccount, ...]:
    """One for each group that holds heads of which any were asked to go, or went.

    Args:
        sets: the groups of a network.
        planned: what was asked of them.
        gone: for each label of the pass over it whether its position went.
    """
    asked = {each.root: each.requested for each in planned}
    most: dict[int, Labels] = {}
    for place, heads in _heads(sets.followed):
        # Fewer keys and values than queries may be laid out: a head is one of queries.
        if len(heads) > len(most.get(place, ())):
            most[place] = heads
    accounts = (
        HeadAccount(
            layers=sets.followed.groups[place].layers,
            heads=len(heads),
            requested=_whole(np.isin(found.channels_of(heads), asked.get(found.group.root, ()))),
            removed=_whole(gone[heads]),
        )
        for place, heads in most.items()
        for found in [sets.found[place]]
    )
    return tuple(each for each in accounts if each.requested or each.removed)


def _whole(channels: NDArray[np.bool_]) -> int:
    """Heads of which every channel is meant."""
    return int(channels.all(1).sum())


def _heads(followed: Labelled) -> Iterator[tuple[int, Labels]]:
    """Groups, by their place, and their channels, a row a head, as code of attention lays them out.

    A view may hold each once for each image of the batch.
    """
    trace, attention = followed.trace, attention_modules(followed.trace)
    for choice in trace.choices:
        labels = choice.labels
        if trace.steps[choice.step].place.module not in attention or labels.ndim < 2:
            continue
        heads = np.unique(np.moveaxis(labels, -2, 0).reshape(labels.shape[-2], -1), axis=0)
        if heads.max() < trace.base:
            places = np.unique(followed.group_of[heads])
            if len(places) == 1 and places[0] >= 0 and len(heads) > 1:
                yield int(places[0]), heads
