"""Operators that put elements in other places, whether a table lists them or not."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from analysis.network.labels import operators, reasons
from analysis.network.labels.calls import Call, indexed, is_fresh
from analysis.network.labels.meeting import Operand
from analysis.network.labels.planes import Planes, axes_of, compact, labels_of, reshaped, spread

__all__ = ["MOVING", "follow_moved"]

Rule = Callable[[Call], None]


def _reshape(call: Call) -> None:
    before, after = call.operands[0].shape, call.made[0].shape
    found = []
    for plane in call.planes(0):
        made = reshaped(plane, before, after)
        for part in call.meeting.parted(made) if made is not None else ():
            found.append(part)
            call.meeting.layout(part, was_one=len(axes_of(plane)) < 2)
    call.put(0, found)


def _move(call: Call) -> None:
    first, *others = call.operands
    for value in others:
        # A mask says which of them, and not where.
        why = reasons.CHOSEN if value.dtype is torch.bool else reasons.POSITIONS
        for plane in call.planes_of(value):
            call.meeting.hold(labels_of(plane), why)
    chosen = any(call.follows_inputs(each) for each in others if not each.is_floating_point())
    over = _looked_up_over(call) if chosen else frozenset()
    looked_up = any(not value.is_floating_point() and not is_fresh(value) for value in others)
    found: list[list[Tensor]] = [[] for _ in call.made]
    for plane in call.planes(0):
        labels = spread(plane, call.step.given[0])
        if call.name in _ALIKE_WRITTEN_OUT:
            labels = plane.view_as(plane)  # which an operator in place turns
        elif call.name == "as_strided":
            labels = torch.empty_strided(first.shape, first.stride(), dtype=torch.int32).copy_(
                labels
            )
        answer = call.run_on({id(first): labels})
        parts = [compact(part) for part in tree_leaves(answer)]
        if axes_of(plane) & over:
            call.meeting.hold(labels_of(plane), reasons.CHOSEN)
            continue
        if looked_up and any(part is not None and _repeats(part) for part in parts):
            call.meeting.hold(labels_of(plane), reasons.CHOSEN)
            continue
        if call.name == "constant_pad_nd":
            parts = [None if part is None else _of_rows(call, part, plane) for part in parts]
        _put_elsewhere(call, plane, parts, found)
    for place, planes in enumerate(found):
        call.put(place, planes)


def _of_rows(call: Call, part: Tensor, plane: Tensor) -> Tensor:
    """What is added beside each row of channels, as inside each group, goes when all of it goes."""
    rest = axes_of(plane) - {dim for dim, size in enumerate(plane.shape) if part.shape[dim] != size}
    if not rest or rest == axes_of(plane):
        return part
    return torch.where(part == 0, call.meeting.over(plane, rest), part)


def _looked_up_over(call: Call) -> frozenset[int]:
    """Dimensions along which tensors say what an operator takes."""
    if call.name != "index":
        return frozenset({call.bound.get("dim", 0) % max(len(call.step.given[0]), 1)})
    return frozenset(dim for _, dims in indexed(call) for dim in dims)


def _put_elsewhere(
    call: Call, plane: Tensor, parts: Sequence[Tensor | None], found: Sequence[list[Tensor]]
) -> None:
    """Results carry the labels of a plane in other places."""
    call.meeting.parts(plane, parts)
    call.meeting.turned(plane, parts[0])
    for own, part in zip(found, parts, strict=True):
        if part is not None:
            own.append(part)
            call.meeting.layout(part, was_one=len(axes_of(plane)) < 2)


_ALIKE_WRITTEN_OUT = frozenset(
    {"constant_pad_nd", "movedim", "permute", "t", "transpose", "unsqueeze"}
)
"""Movement that does to a plane what it does to one label for each element."""


def follow_moved(call: Call) -> bool:
    """Follow an operator that does nothing but move elements, whether a table lists it or not.

    It is run on several numberings of the labels. If it does nothing else, an element of a result
    is the number of one label in each of them; or it is the same number each time, as one that is
    written there.

    Returns:
        Whether that is all it does.
    """
    is_plain = all(_is_plain(call, value) for value in call.operands)
    is_plain &= call.func.namespace == "aten"  # others may read places from numbers
    if not is_plain or not all(map(Tensor.is_floating_point, call.made)):
        return False
    found: list[list[Tensor]] = [[] for _ in call.made]
    moved = []
    for value, shape in zip(call.operands, call.step.given, strict=True):
        for plane in call.planes_of(value):
            parts = _moved(call, value, spread(plane, shape))
            if parts is None:
                return False
            moved.append((plane, parts))
    for plane, parts in moved:
        _put_elsewhere(call, plane, parts, found)
    for place, planes in enumerate(found):
        call.put(place, _overlaid(planes))
    return True


def _is_plain(call: Call, value: Tensor) -> bool:
    """Whether an operand holds numbers, or places that are the same for all inputs."""
    if value.layout is not torch.strided or value.is_complex():
        return False
    return value.is_floating_point() or not call.follows_inputs(value)


def _moved(call: Call, value: Tensor, labels: Tensor) -> list[Tensor | None] | None:
    """What results carry of the labels of an operand; None if it does more than move these."""
    runs = []
    for step, start in _NUMBERINGS:
        numbers = {
            id(each): torch.full(each.shape, start, dtype=torch.float64)
            for each in call.operands
            if each.is_floating_point()
        }
        numbers[id(value)] = step * labels.double() + start
        runs.append(tree_leaves(call.run_on(numbers)))
    found: list[Tensor | None] = []
    for made in zip(*runs, strict=True):
        carried = _carried(made)
        if carried is None:
            return None
        found.append(compact(_filled(carried, labels)))
    return found if any(part is not None for part in found) else None


_NUMBERINGS = ((1.0, 0.375), (-2.0, -0.625), (2.0**-20, 2.0**-30))
"""Numbers for labels, as a step and a start: rising and falling, of both signs, large and small."""


def _carried(made: Sequence[Tensor]) -> Tensor | None:
    """The label of each element, 0 for a constant; None where it is neither.

    Args:
        made: one result, under each numbering.
    """
    first = made[0]
    labels = (first - _NUMBERINGS[0][1]).nan_to_num().round().clamp(0, 2**31 - 1)
    pairs = zip(made, _NUMBERINGS, strict=True)
    is_label = torch.stack([each == step * labels + start for each, (step, start) in pairs]).all(0)
    is_constant = torch.stack([(each == first) | (each.isnan() & first.isnan()) for each in made])
    if not (is_label | is_constant.all(0)).all():
        return None
    return torch.where(is_label, labels, 0).to(torch.int32)


def _filled(found: Tensor, labels: Tensor) -> Tensor:
    """What is written to all channels alike, as to a row of an image, is of each of them.

    So are the zeros beside a diagonal that each channel has.
    """
    written = found == 0
    along = [found.amax(dim, keepdim=True) for dim in range(found.dim())]
    rest = [dim for dim, most in enumerate(along) if bool((written | (found == most)).all())]
    axes = [dim for dim in range(found.dim()) if dim not in rest]
    if not (rest and axes) or len(found[~written].unique()) < len(labels[labels > 0].unique()):
        return found
    filled = found.amax(rest, keepdim=True)
    is_alike = torch.equal(written.amax(axes), written.amin(axes))
    return filled.expand_as(found) if is_alike and _is_of(found, filled) else found


def _is_of(found: Tensor, filled: Tensor) -> bool:
    """Whether what carries a label carries this one."""
    return bool(((found == 0) | (found == filled)).all())


def _overlaid(planes: Sequence[Tensor]) -> list[Tensor]:
    """Planes of which those that lie along the same dimensions are one, as they never overlap."""
    found: list[Tensor] = []
    for plane in planes:
        place = next((n for n, other in enumerate(found) if axes_of(other) == axes_of(plane)), None)
        if place is None:
            found.append(plane)
        else:
            found[place] = torch.where(found[place] == 0, plane, found[place])
    return found


def _concatenate(call: Call) -> None:
    operands = list(call.bound["tensors"])
    out = call.made[0]
    dim = call.bound.get("dim", 0) % max(out.dim(), 1)
    stacked = call.name == "stack"
    parts = []
    for value in operands:
        if not stacked and value.dim() == 1 and not value.numel() and out.dim() > 1:
            continue
        planes = call.planes_of(value)
        shape = tuple(value.shape)
        if stacked:
            planes = tuple(plane.unsqueeze(dim) for plane in planes)
            shape = (*shape[:dim], 1, *shape[dim:])
        parts.append(Operand(planes, shape, call.loose(value, len(shape)) - {dim}))
    along = [next((p for p in part.planes if _lies_along(p, part, dim)), None) for part in parts]
    beside = [
        Operand(
            (
                *(p for p in part.planes if p.shape[dim] == 1 and p.numel() > 1),
                *_rows_beside(call, plane, along, dim),
            ),
            tuple(1 if axis == dim else size for axis, size in enumerate(part.extents)),
            part.loose,
        )
        for part, plane in zip(parts, along, strict=True)
    ]
    found = call.meeting.joined(beside, "concatenation")
    if any(plane is not None for plane in along):
        joined = _beside(parts, along, dim)
        axes = axes_of(joined)
        for plane in found:
            if axes_of(plane) < axes:
                joined = torch.where(joined == 0, plane, joined)
        found = [*(plane for plane in found if not axes_of(plane) < axes), joined]
    call.put(0, found)
    for plane in found:
        call.meeting.layout(plane, was_one=False)


def _lies_along(plane: Tensor, part: Operand, dim: int) -> bool:
    """Whether a part carries it along a dimension; one of one position does so everywhere."""
    return plane.shape[dim] > 1 or part.extents[dim] == plane.numel() == 1


def _rows_beside(
    call: Call, plane: Tensor | None, along: Sequence[Tensor | None], dim: int
) -> Planes:
    """The rows of a part beside which another carries no channels of its own.

    What lies beside a row, as what each group has besides its channels, goes when all of it goes.
    """
    if plane is None or all(other is not None for other in along):
        return ()
    rest = axes_of(plane) - {dim}
    return (call.meeting.over(plane, rest),) if rest else ()


def _beside(parts: Sequence[Operand], along: Sequence[Tensor | None], dim: int) -> Tensor:
    """One plane of several that lie beside each other along a dimension."""
    rows = []
    for part, plane in zip(parts, along, strict=True):
        none = torch.zeros((1,) * len(part.extents), dtype=torch.int32)
        row = none if plane is None else plane
        shape = list(row.shape)
        shape[dim] = part.extents[dim]
        rows.append(row.expand(shape))
    common = [max(row.shape[axis] for row in rows) for axis in range(rows[0].dim())]
    return torch.cat(
        [
            row.expand(
                [row.shape[axis] if axis == dim else size for axis, size in enumerate(common)]
            )
            for row in rows
        ],
        dim,
    )


def _repeats(plane: Tensor) -> bool:
    """Whether a channel is in several places, as a row of a table that is looked up."""
    labels = plane[plane > 0]
    return labels.numel() > 1 and len(labels.unique()) < labels.numel()


def _fold(call: Call) -> None:
    """Taps of windows are added up where these lie over each other: of one channel, or of none."""
    found = []
    for plane in call.planes(0):
        if axes_of(plane) != {call.operands[0].dim() - 2}:
            call.meeting.hold(labels_of(plane), reasons.UNKNOWN)
            continue
        labels = spread(plane, call.step.given[0]).double()
        count, total, square = (
            call.run_on({id(call.operands[0]): labels**power}) for power in (0, 1, 2)
        )
        if not torch.equal(square * count, total**2):
            call.meeting.hold(labels_of(plane), reasons.UNKNOWN)
            continue
        part = compact((total / count.clamp(min=1)).to(torch.int32))
        # Borders that windows do not reach are of the channels that are there.
        part = None if part is None else part.amax((-2, -1), keepdim=True)
        found += [] if part is None else [part]
    call.put(0, found)


MOVING: Mapping[str, Rule] = {
    **dict.fromkeys(operators.RESHAPES, _reshape),
    **dict.fromkeys(operators.MOVEMENT, _move),
    "col2im": _fold,
    **dict.fromkeys(("cat", "concat", "stack"), _concatenate),
}
