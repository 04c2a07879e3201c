"""Channels that are combined in a pruned network and are not in the dense one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.comparing.recovering import Axis, Recovered
from analysis.groups.coupling import partition
from analysis.network.inference import Inputs
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Edge, Trace
from analysis.network.owners import layer_of
from analysis.proof.staying import Staying
from analysis.proof.structure import record

__all__ = ["Conflict", "conflict"]


@dataclass(frozen=True)
class Conflict:
    """A place at which tensors hold channels that do not belong together.

    Attributes:
        layer: the module.
        text: the conflict in words.
        is_sure: whether the channels of both tensors are known for certain.
    """

    layer: str
    text: str
    is_sure: bool = True


def conflict(
    trace: Trace,
    pruned: nn.Module,
    inputs: Inputs,
    found: Recovered,
    first: Mapping[str, str],
) -> Conflict | None:
    """The first place at which the kept channels do not fit; None if they all do.

    Args:
        trace: a pass over the dense network.
        pruned: the pruned one; not changed.
        inputs: example inputs.
        found: what is left of each axis.
        first: the name of each tensor in the labelled pass of the dense network.
    """
    alone = next(_alone(found), None)
    if alone is not None:
        return alone
    labels: dict[Axis, Labels] = {}
    removed = np.ones(trace.count, bool)
    removed[0] = False
    removed[trace.base :] = False
    unsure = np.zeros(trace.count, bool)
    for (name, dim), own in found.positions.items():
        axis = first[name], dim
        if axis in trace.starts:
            row = (trace.starts[axis] + own).astype(np.int32)
            labels[name, dim] = row
            removed[row] = False
            unsure[row] |= ~found.known[name, dim]
    after = record(pruned, inputs, labels, trace.count)
    if after.failed:
        return None  # the proof says where
    staying = Staying(trace, after.trace, removed)
    edges = sorted(after.trace.edges, key=lambda each: each.step)
    for doubted in (unsure, np.zeros_like(unsure)):
        for edge in edges:
            pair = _apart(edge, staying, doubted)
            if pair is not None:
                place = after.trace.steps[edge.step].place
                clash = _Described(trace, found, first).of(place.module, *pair)
                return replace(clash, is_sure=doubted is unsure)
    return None


def _alone(found: Recovered) -> Iterator[Conflict]:
    """The conflict that one axis shows by itself."""
    for (name, dim), own in found.positions.items():
        where = f"`{name}` along dimension {dim}"
        known = own[found.known[name, dim]]
        kept, times = np.unique(known, return_counts=True)
        if (times > 1).any():
            twice = int(kept[times > 1][0])
            yield Conflict(layer_of(name), f"{where} holds position {twice} more than once")
        elif (name, dim) in found.fixed and (own != np.arange(len(own))).any():
            place = int(np.flatnonzero(own != np.arange(len(own)))[0])
            yield Conflict(
                layer_of(name),
                f"{where} holds at position {place} what the dense network has at {own[place]}, "
                "and follows inputs or outputs of the network, which have kept their order",
            )


def _apart(edge: Edge, staying: Staying, unsure: NDArray[np.bool_]) -> tuple[int, int] | None:
    """The first two labels of an edge that are not combined in the dense network."""
    one, other = (staying.translated(row).ravel() for row in (edge.one, edge.other))
    known = (one > 0) & (other > 0)
    one, other = one[known], other[known]
    skipped = staying.single[one] | staying.single[other] | unsure[one] | unsure[other]
    apart = np.flatnonzero((staying.of[one] != staying.of[other]) & ~skipped)
    return (int(one[apart[0]]), int(other[apart[0]])) if apart.size else None


class _Described:
    """Describes two labels that are combined, and which should be."""

    def __init__(self, trace: Trace, found: Recovered, first: Mapping[str, str]) -> None:
        self._trace, self._found = trace, found
        self._of = partition(trace, [])
        self._names = {known: name for name, known in reversed([*first.items()])}

    def of(self, module: str, one: int, other: int) -> Conflict:
        """The conflict at a module."""
        mine, theirs = other, one
        if layer_of(self._trace.axis_at(one)[0]) == module:
            mine, theirs = one, other
        (name, dim), axis = self._trace.axis_at(mine), self._trace.axis_at(theirs)
        if not name or not axis[0]:
            where = f"`{module}`" if module else "the model's own forward"
            return Conflict(module, f"other channels meet in {where} than in the dense network")
        kept = self._found.positions[self._names.get(name, name), dim]
        place = np.flatnonzero(kept == mine - self._trace.starts[name, dim])[0]
        labels = self._trace.labels(*axis)
        should = np.flatnonzero(self._of[labels] == self._of[mine])
        right = f"channel {should[0]}" if should.size else "none"
        return Conflict(
            module,
            f"position {place} of `{name}` along dimension {dim} should meet {right} of "
            f"`{layer_of(axis[0])}` and meets channel {theirs - self._trace.starts[axis]}",
        )
