"""Operators of which no table tells, that do the same to each position of a dimension by itself.

As a matrix exponential does to each matrix, and an operator of the user's own to each sample.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from analysis.network.labels.calls import Call
from analysis.network.labels.planes import axes_of, labels_of

__all__ = ["follow_separate"]


def follow_separate(call: Call) -> None:
    """Say what results carry of channels that an operator takes one by one, as far as is seen.

    That is tried on drawn numbers: with others in half of the positions, the rest stays, and in
    another order the result is in that order. It shows an order that is wrong behind the operator,
    and proves none right.
    """
    if torch.Tag.nondeterministic_seeded in call.func.tags:
        return
    found: list[list[Tensor]] = [[] for _ in call.made]
    first = next(value for value in call.operands if call.planes_of(value))
    for plane in call.planes_of(first):
        axes = _axes(call, plane)
        for place, dim in _separate(call, axes) if axes else ():
            sizes = [1] * call.made[place].dim()
            sizes[dim] = plane.numel()
            found[place].append(plane.reshape(sizes))
    for place, own in enumerate(found):
        call.put(place, own)


def _axes(call: Call, plane: Tensor) -> dict[int, int]:
    """By operand the dimension along which the labels of a plane lie, each in its place.

    Empty where they lie along several, or some operand carries others alone.
    """
    found = {}
    for value in call.operands:
        planes = call.planes_of(value)
        alike = [each for each in planes if np.array_equal(labels_of(each), labels_of(plane))]
        axes = axes_of(alike[0]) if alike else frozenset()
        if len(axes) == 1:
            found[id(value)] = min(axes)
        elif planes:
            return {}
    return found


def _separate(call: Call, axes: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Results, and the dimensions of these along which the positions of the operands' lie."""
    generator = torch.Generator().manual_seed(0)
    given: dict[int, Tensor] = {}
    for value, shape in zip(call.operands, call.step.given, strict=True):
        if id(value) in axes:
            given[id(value)] = _drawn(shape, generator)
            size = shape[axes[id(value)]]
        elif value.is_floating_point():
            given[id(value)] = value.detach().cpu().double()
    order = torch.randperm(size, generator=generator)
    half, rest = order[: size // 2], order[size // 2 :]

    def run(change: Callable[[Tensor, int], Tensor]) -> list[Tensor]:
        changed = {key: change(given[key], axis) for key, axis in axes.items()}
        return [*tree_leaves(call.run_on(given | changed))]

    try:
        made = run(lambda numbers, _: numbers)
        others = run(lambda own, axis: own.index_copy(axis, half, 2 * own.index_select(axis, half)))
        turned = run(lambda numbers, axis: numbers.index_select(axis, order))
    except Exception:  # it does not take these numbers
        return
    for place, (one, two, three) in enumerate(zip(made, others, turned, strict=True)):
        for dim, count in enumerate(one.shape):
            if count != size or not one.shape == two.shape == three.shape:
                continue
            is_left = torch.equal(one.index_select(dim, rest), two.index_select(dim, rest))
            if is_left and torch.equal(one.index_select(dim, order), three):
                yield place, dim


def _drawn(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Numbers in [0, 1), and matrices that every decomposition takes."""
    numbers = torch.rand(shape, generator=generator, dtype=torch.float64)
    if len(shape) > 1 and shape[-1] == shape[-2]:
        return numbers @ numbers.mT + torch.eye(shape[-1])
    return numbers
