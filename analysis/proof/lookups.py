"""Tables of positions by which a forward pass does nothing but look channels up.

A table for fewer channels holds other numbers, and is right where it looks up the channels that the
dense network's own does, without those that went. The labels that arrive show that. A table that is
used as numbers, or that looks up anything but channels, must hold what it held.
"""

import numpy as np
from torch import Tensor

from analysis.network.labels.arguments import constant_of
from analysis.network.labels.planes import Labels, axes_of, labels_of
from analysis.network.labels.records import Step, Trace

__all__ = ["looks_up_channels"]


def looks_up_channels(trace: Trace, table: Tensor) -> bool:
    """Whether all that reads a tensor of the dense network looks channels up by it.

    Args:
        trace: the pass over the dense network.
        table: a buffer of it.
    """
    if table.is_floating_point() or table.is_complex() or table.dim() != 1 or table.numel() < 2:
        return False
    held = constant_of(table)
    readers = [step for step in trace.calls if held in step.constants]
    return bool(readers) and all(_is_lookup(step, held) for step in readers)


def _is_lookup(step: Step, held: object) -> bool:
    """Whether each position of the result along the dimension looked up has a label of its own."""
    place = step.constants.index(held)
    if step.place.operator == "index_select":
        dim = step.constants[1]
    elif step.place.operator == "index" and len(step.given) == 2:
        dim = place - 1  # behind the tensor, one entry for each dimension
    else:
        return False
    planes = step.planes[0] if step.planes else ()
    return any(axes_of(plane) == {dim} and _are_distinct(labels_of(plane)) for plane in planes)


def _are_distinct(labels: Labels) -> bool:
    return bool((labels > 0).all()) and len(np.unique(labels)) == labels.size
