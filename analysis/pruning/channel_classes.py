"""Classes of channels of a group that cost the same.

Mostly that is the whole group. Where a concatenation, a chunk or a flattening lets some channels
of a group reach layers that others do not, the group falls into several classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.records import Axis, DependencyGroup

__all__ = ["ChannelClasses", "classes_of"]


@dataclass(frozen=True, eq=False)
class ChannelClasses:
    """The classes of one group.

    Attributes:
        of_channel: for each channel of the root, its class, shape (width,).
        widths: channels of each class, shape (classes,).
        taken: for each axis, how many of its channels are removed with one of each class, shape
            (classes,).
    """

    of_channel: NDArray[np.intp]
    widths: NDArray[np.intp]
    taken: Mapping[Axis, NDArray[np.intp]]


def classes_of(group: DependencyGroup) -> ChannelClasses:
    """The classes of a group, from the origins of its members' channels."""
    footprints = {}
    for member in group.members:
        roots = np.asarray(member.roots, np.int64)
        counts = np.bincount(roots[roots >= 0], minlength=group.width)[: group.width]
        footprints[member.layer, member.axis] = counts
    matrix = np.stack(list(footprints.values()))
    if (matrix == matrix[:, :1]).all():
        columns, of_channel = matrix[:, :1], np.zeros(group.width, dtype=np.intp)
    else:
        columns, of_channel = np.unique(matrix, axis=1, return_inverse=True)
    return ChannelClasses(
        of_channel=of_channel,
        widths=np.bincount(of_channel, minlength=columns.shape[1]),
        taken=dict(zip(footprints, columns, strict=True)),
    )
