"""Classes of channels of a group that cost the same.

Mostly that is the whole group. Where a concatenation, a chunk or a flattening lets some channels
of a group reach layers that others do not, the group falls into several classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.records import Axis, DependencyGroup, DependencyMember

__all__ = ["ChannelClasses", "classes_of", "roots_of"]


def roots_of(member: DependencyMember) -> NDArray[np.int64]:
    """For each channel of a member's axis the channel of the root, see `DependencyMember`."""
    return _array(member.roots)


@lru_cache(maxsize=1024)
def _array(roots: tuple[int, ...]) -> NDArray[np.int64]:
    # Most members of a network have one of a few maps: each channel has the root of its own number.
    found = np.array(roots, np.int64)
    found.setflags(write=False)
    return found


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
        roots = roots_of(member)
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
