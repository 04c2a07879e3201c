"""Channels that should have stayed, and have gone."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from torch import nn

from analysis.network.computed_weights import way_out
from analysis.network.labels.reasons import NUMBERED, OUTPUT, SCALED, UNKNOWN
from analysis.network.labels.records import Hold, Place, Trace
from analysis.proof.staying import Removed

__all__ = ["UNALIGNED", "broken_holds", "scaled_otherwise", "unaligned"]


UNALIGNED = "channels that went meet others that stay"


def broken_holds(trace: Trace, removed: Removed) -> Iterator[str]:
    """What could not be followed of channels that have gone, and where.

    Args:
        trace: of the dense network.
        removed: for each label of it whether its position has gone.
    """
    for hold in _broken(trace, removed):
        if hold.why not in (OUTPUT, NUMBERED):  # these are looked at in numbers, and by their uses
            yield f"{hold.why} at {_place(trace, hold)}"


def unaligned(trace: Trace, removed: Removed) -> Iterator[str]:
    """Where channels that went meet others that stay, in an operator that no rule follows.

    What it does with two tensors at the same position, nobody knows; the pruned network gives it
    other pairs.

    Args:
        trace: of the dense network.
        removed: for each label of it whether its position has gone.
    """
    for hold in _broken(trace, removed):
        arriving = trace.steps[hold.step].arriving if hold.why == UNKNOWN else ()
        for one, other in combinations(arriving, 2):
            if one.size == other.size and not np.array_equal(removed[one], removed[other]):
                yield f"{UNALIGNED} at {_place(trace, hold)}"


def scaled_otherwise(trace: Trace, removed: Removed, dense: nn.Module) -> tuple[str, str]:
    """Why a weight is scaled by another number than before, and the module; empty if none is.

    Args:
        trace: of the dense network.
        removed: for each label of it whether its position has gone.
        dense: the network.
    """
    for hold in _broken(trace, removed):
        if hold.why == SCALED:
            place = _place(trace, hold)
            told = f"{hold.why} at {place}", way_out(dense, place.module)
            return "; ".join(filter(None, told)), place.module
    return "", ""


def _broken(trace: Trace, removed: Removed) -> Iterator[Hold]:
    return (hold for hold in trace.holds if removed[hold.labels].any())


def _place(trace: Trace, hold: Hold) -> Place:
    return trace.steps[hold.step].place
