"""Products and sums over channels: what is read, what is made, and what meets in between."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from torch import Tensor

from analysis.network.labels import reasons
from analysis.network.labels.calls import Call, is_own, space_of
from analysis.network.labels.meeting import Operand
from analysis.network.labels.planes import Labels, axes_of, labels_of, relaid
from analysis.network.labels.records import Read

__all__ = ["CONTRACTIONS"]

Rule = Callable[[Call], None]


def _contract(
    call: Call,
    operands: Sequence[tuple[Operand, bool]],
    summed: frozenset[int],
    extents: Sequence[int],
    why: str,
) -> list[Tensor]:
    """The planes of a product, in its index space, without those that are summed over.

    Args:
        call: the operator.
        operands: with whether each is made of parameters alone.
        summed: dimensions that are summed over.
        extents: sizes of the space.
        why: what the operands are coupled by.
    """
    found = call.meeting.joined([operand for operand, _ in operands], why, is_product=True)
    # A weight's own planes are as many as its elements, also in a grouped convolution.
    own = [plane for operand, is_own in operands if is_own for plane in operand.planes]
    named = [(plane, *axis) for plane in own for axis in call.meeting.trace.axes_of(plane)]
    counted: list[Tensor] = []
    for plane in (*own, *found):
        if not any(axes_of(plane) & axes_of(other) for other in counted):
            counted.append(plane)
    call.step.spaces.append(space_of(counted, extents))
    rest = frozenset(range(len(extents))) - summed
    call.step.makes += [(name, dim) for plane, name, dim in named if axes_of(plane) <= rest]
    for plane in found:
        over = axes_of(plane) & summed
        readers = [(name, dim) for p, name, dim in named if axes_of(p) & over]
        if over:
            reads = [Read(*reader, labels_of(plane)) for reader in readers or [("", 0)]]
            call.step.reads += reads
    return _kept(call, own, found, rest)


def _kept(
    call: Call, own: Sequence[Tensor], found: Sequence[Tensor], rest: frozenset[int]
) -> list[Tensor]:
    """What is left of planes along the dimensions that are not summed over.

    What a weight makes comes first: labels themselves say more than what stands for several.
    """
    left = [plane for plane in (*own, *found) if axes_of(plane) and axes_of(plane) <= rest]
    left += [call.meeting.over(plane, rest) for plane in found if axes_of(plane) & rest]
    kept: list[Tensor] = []
    for plane in left:
        axes = axes_of(plane)
        if axes and not any(axes <= axes_of(other) for other in kept):
            kept = [other for other in kept if not axes_of(other) < axes] + [plane]
    return kept


def _convolution(call: Call) -> None:
    """(groups, out of each, in of each) is the index space; positions and taps stay apart."""
    images, weight = call.bound["input"], call.bound["weight"]
    transposed = call.bound.get("transposed", False)
    groups = call.bound["groups"]
    rank = images.dim()
    made = weight.shape[1] if transposed else weight.shape[0] // groups
    read = weight.shape[0] // groups if transposed else weight.shape[1]
    space = (groups, made, read)
    arriving = _arriving(call, groups, read)
    filters = _filters(call, space, transposed=transposed)
    loose = _repeated(call, filters, space, transposed=transposed)
    depthwise = groups > 1 and read == 1
    for plane in (*arriving, *filters):
        call.meeting.layout(plane, first=None if depthwise else 1)
    found = _contract(
        call,
        [
            (Operand(tuple(arriving), (groups, 1, read)), False),
            (Operand(tuple(filters), space, loose), is_own(weight)),
        ],
        frozenset({2}),
        space,
        "depthwise" if depthwise else "sequence",
    )
    images_of = images if transposed else call.made[0]
    by_image = [plane for plane in call.planes_of(images) if axes_of(plane) == {0}]
    times = images_of.shape[0] * prod(images_of.shape[2:]) * prod(weight.shape[2:])
    _outer(call, times, [labels_of(plane).ravel() for plane in by_image])
    every = (groups, made, 1)
    whole = [plane if plane.shape == every else plane.expand(every) for plane in found]
    planes = [relaid(plane, (1, -1, *(1,) * (rank - 2))) for plane in whole]
    planes = call.meeting.apart([*planes, *by_image])
    bias = call.bound.get("bias")
    if bias is not None:
        shape = tuple(call.made[0].shape)
        operands = [Operand(tuple(planes), shape), call.on_axis(bias, rank, 1)]
        planes = call.meeting.joined(operands, "bias")
    call.put(0, planes)


def _arriving(call: Call, groups: int, read: int) -> list[Tensor]:
    """The channels that a convolution reads, in its index space."""
    arriving = []
    for plane in call.planes_of(call.bound["input"]):
        if 1 in axes_of(plane):
            channels = call.meeting.over(plane, frozenset({1}))
            arriving.append(relaid(channels, (groups, 1, read)))
        elif axes_of(plane) - {0}:
            # A window over channels, as in efficient channel attention.
            call.meeting.hold(labels_of(plane), reasons.WINDOW)
    return arriving


def _filters(call: Call, space: Sequence[int], *, transposed: bool) -> list[Tensor]:
    """The planes of a convolution's weight in its index space."""
    groups, made, read = space
    made_axis, read_axis = (1, 0) if transposed else (0, 1)
    found = []
    for plane in call.planes_of(call.bound["weight"]):
        axes = axes_of(plane)
        if axes == {made_axis}:
            found.append(relaid(plane, (1, made, 1) if transposed else (groups, made, 1)))
        elif axes == {read_axis}:
            found.append(relaid(plane, (groups, 1, read) if transposed else (1, 1, read)))
        elif axes:
            call.meeting.hold(labels_of(plane), reasons.TAPS)
    return found


def _repeated(
    call: Call, filters: Sequence[Tensor], space: Sequence[int], *, transposed: bool
) -> frozenset[int]:
    """Dimensions of the index space along which a weight is one filter, as that of a blur."""
    weight, order = call.bound["weight"], (0, 2, 1) if transposed else (0, 1, 2)
    laid = (*(space[axis] for axis in order), *weight.shape[2:])
    labelled = frozenset().union(*map(axes_of, filters))
    free = [dim for dim, axis in enumerate(order) if space[axis] > 1 and axis not in labelled]
    return frozenset(order[dim] for dim in call.repeated_along(weight, laid, free))


def _outer(call: Call, times: int, channels: Sequence[Labels]) -> None:
    """So many times as many products, some of which are those of channels laid along the batch."""
    space = call.step.spaces.pop()
    constant = space.constant * times // prod(map(len, channels))
    call.step.spaces.append(replace(space, planes=(*space.planes, *channels), constant=constant))


def _placed(call: Call, value: Tensor, dims: Sequence[int], rank: int) -> Operand:
    """An operand whose dimensions lie at these places of an index space."""

    def shape_of(sizes: Sequence[int]) -> list[int]:
        shape = [1] * rank
        for dim, size in zip(dims, sizes, strict=True):
            shape[dim] = size
        return shape

    order = sorted(range(len(dims)), key=lambda place: dims[place])
    planes = tuple(
        plane.permute(order).reshape(shape_of(plane.shape)) for plane in call.planes_of(value)
    )
    loose = frozenset(dims[place] for place in call.loose(value, value.dim()))
    return Operand(planes, tuple(shape_of(value.shape)), loose)


def _product(first: str, second: str, added: str = "") -> Rule:
    """(..., rows, columns, summed) is the index space of a product of matrices."""

    def follow(call: Call) -> None:
        one, other = call.bound[first], call.bound[second]
        batch = max(one.dim(), other.dim(), 2) - 2
        rank = batch + 3
        rows, columns, inner = range(batch, rank)
        lead = list(range(batch))
        own = [*lead[batch - max(one.dim() - 2, 0) :], rows, inner][-one.dim() :]
        theirs = [*lead[batch - max(other.dim() - 2, 0) :], inner, columns]
        theirs = [inner] if other.dim() == 1 else theirs
        placed = _placed(call, one, own, rank), _placed(call, other, theirs, rank)
        extents = [max(sizes) for sizes in zip(*(each.extents for each in placed), strict=True)]
        found = _contract(
            call,
            [(placed[0], is_own(one)), (placed[1], is_own(other))],
            frozenset({inner}),
            extents,
            "sequence" if is_own(one) or is_own(other) else "product",
        )
        kept = [*lead, *([rows] if one.dim() > 1 else []), *([columns] if other.dim() > 1 else [])]
        gone = [dim for dim in range(rank) if dim not in kept]
        planes = [p.permute(*kept, *gone).reshape([p.shape[dim] for dim in kept]) for p in found]
        call.put(0, _added(call, planes, call.bound.get(added) if added else None))

    return follow


def _added(call: Call, planes: Sequence[Tensor], bias: Tensor | None) -> Sequence[Tensor]:
    """A product's planes once a bias is added."""
    if bias is None:
        return planes
    shape = tuple(call.made[0].shape)
    operands = [Operand(tuple(planes), shape), call.operand(bias, len(shape))]
    return call.meeting.joined(operands, "bias")


def _linear(call: Call) -> None:
    value, weight = call.bound["input"], call.bound["weight"]
    rank = value.dim() + 1
    columns, inner = rank - 2, rank - 1
    placed = _placed(call, value, [*range(rank - 2), inner], rank)
    filters = _placed(call, weight, [columns, inner], rank)
    found = _contract(
        call,
        [(placed, is_own(value)), (filters, is_own(weight))],
        frozenset({inner}),
        (*value.shape[:-1], *weight.shape),
        "sequence",
    )
    planes = [plane.squeeze(inner) for plane in found]
    call.put(0, _added(call, planes, call.bound.get("bias")))


_ALIGNED = 16
"""Bytes of which rows of a grouped product are a multiple."""


def _grouped(call: Call) -> None:
    """Rows that are each multiplied by one of several matrices, as tokens by their experts."""
    value, weight = call.bound["self"], call.bound["mat2"]
    if (value.dim(), weight.dim()) != (2, 3):
        for plane in (*call.planes_of(value), *call.planes_of(weight)):
            call.meeting.hold(labels_of(plane), reasons.UNKNOWN)
        return
    extents = (len(value), weight.shape[2], weight.shape[1])
    matrices = []
    for plane in call.planes_of(weight):
        if plane.shape[0] > 1:
            call.meeting.hold(labels_of(plane), reasons.CHOSEN)
        else:
            matrices.append(plane.permute(0, 2, 1))
    for plane in (*call.planes_of(value), *matrices):
        call.meeting.steps(plane, _ALIGNED // value.element_size())
    found = _contract(
        call,
        [
            (_placed(call, value, [0, 2], 3), is_own(value)),
            (Operand(tuple(matrices), (1, *extents[1:])), is_own(weight)),
        ],
        frozenset({2}),
        extents,
        "sequence" if is_own(weight) else "product",
    )
    call.put(0, _added(call, [plane.squeeze(2) for plane in found], call.bound.get("bias")))


def _embedding(call: Call) -> None:
    """Rows of a table: their channels arrive, which row is chosen by values."""
    weight = call.bound["weight"]
    rank = call.made[0].dim()
    found = []
    for plane in call.planes_of(weight):
        if plane.shape[0] > 1:
            call.meeting.hold(labels_of(plane), reasons.CHOSEN)
        else:
            found.append(plane.reshape((1,) * (rank - 1) + (-1,)))
            call.step.makes += call.meeting.trace.axes_of(plane)
    call.put(0, found)


def _deformed(call: Call) -> None:
    for name in ("offset", "mask"):
        for plane in call.planes_of(call.bound[name]):
            call.meeting.hold(labels_of(plane), reasons.POSITIONS)
    weight, images = call.bound["weight"], call.bound["input"]
    groups = images.shape[1] // weight.shape[1]
    call.bound = {**call.bound, "groups": groups}
    _convolution(call)


CONTRACTIONS: dict[str, Rule] = {
    "_addmm_activation": _product("mat1", "mat2", "self"),
    "_grouped_mm": _grouped,
    "_sparse_addmm": _product("mat1", "mat2", "self"),
    "addmm": _product("mat1", "mat2", "self"),
    "addmv": _product("mat", "vec", "self"),
    "baddbmm": _product("batch1", "batch2", "self"),
    "bmm": _product("self", "mat2"),
    "convolution": _convolution,
    "deform_conv2d": _deformed,
    "dot": _product("self", "tensor"),
    "embedding": _embedding,
    "linear": _linear,
    "mm": _product("self", "mat2"),
    "mv": _product("self", "vec"),
    "vdot": _product("self", "other"),
}
