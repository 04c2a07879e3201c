"""Channels that a number of the inputs chooses, which one value of it does not show."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.network.labels import operators
from analysis.network.labels.planes import Labels, labels_of
from analysis.network.labels.reasons import CHOSEN
from analysis.network.labels.records import Step, Trace
from analysis.proof.own_arguments import OwnArguments

__all__ = ["chosen_by_numbers"]


def chosen_by_numbers(trace: Trace, own: OwnArguments) -> Iterator[str]:
    """Where numbers that are taken out of inputs, or of what is made of these, move channels.

    With another number, as by how many places they are rolled, the same operator returns others, or
    gives each channel something of its own.

    Args:
        trace: the pass over the dense network.
        own: gives the dense network other numbers.
    """
    taken = [
        number
        for number, step in enumerate(trace.calls)
        if step.of_inputs and step.place.operator == operators.ITEM
    ]
    if not taken:
        return
    whole = []
    for steps, others in own.followed_otherwise(taken):
        yield from _others(steps, others)
        whole.append(own.goes_on(taken, steps))
    if whole and any(whole[:2]) and any(whole[2:]):
        return  # all of them at once, a little and by much
    for number in filter(own.take_number, taken):
        for steps, others in own.followed_otherwise([number]):
            yield from _others(steps, others)


def _others(steps: Sequence[Step], others: Sequence[Step]) -> Iterator[str]:
    for one, other in zip(steps, others, strict=True):
        if _channels(one) != _channels(other) or other.is_fixed > one.is_fixed:
            yield f"{CHOSEN} at {one.place}"


def _channels(step: Step) -> list[list[list[int]]]:
    """By result and plane, the channels that it carries, in their order."""
    return [[_in_order(labels_of(plane)) for plane in planes] for planes in step.planes]


def _in_order(labels: Labels) -> list[int]:
    """Each label once, as a result of another size may repeat it."""
    found, first = np.unique(labels, return_index=True)
    return [int(label) for label in found[np.argsort(first)]]
