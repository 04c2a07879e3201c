"""Products and sums over channels: what is read, what is made, and what meets in between."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from torch import Tensor

from analysis.network.labels.calls import Call, space_of
from analysis.network.labels.meeting import Operand
from analysis.network.labels.planes import axes_of, labels_of
from analysis.network.labels.records import Read

__all__ = ["CONTRACTIONS"]

Rule = Callable[[Call], None]


def _contract(
    call: Call,
    operands: Sequence[tuple[Operand, str, Sequence[int]]],
    summed: frozenset[int],
    extents: Sequence[int],
    why: str,
) -> list[Tensor]:
    """The planes of a product, in its index space, without those that are summed over.

    Args:
        call: the operator.
        operands: with the name of the parameter that it is, and by dimension of the space
            that parameter's own.
        summed: dimensions that are summed over.
        extents: sizes of the space.
        why: what the operands are coupled by.
    """
    found = call.meeting.joined([operand for operand, _, _ in operands], why)
    tensor = next((name for _, name, _ in operands if name), "")
    # A weight's own planes are as many as its elements, also in a grouped convolution.
    own = [plane for operand, name, _ in operands if name for plane in operand.planes]
    taken = frozenset().union(*map(axes_of, own))
    counted = [*own, *(plane for plane in found if not axes_of(plane) & taken)]
    call.step.spaces.append(space_of(counted, extents, tensor=tensor))
    left = []
    rest = frozenset(range(len(extents))) - summed
    for operand, name, dims in operands:
        made = {dims[axis] for axis in rest if name and operand.extents[axis] > 1}
        call.step.makes += [(name, dim) for dim in made]
    for plane in found:
        over = axes_of(plane) & summed
        if over:
            named = [(name, dims) for _, name, dims in operands if name]
            for name, dims in named or [("", ())]:
                for axis in over if name else [0]:
                    labels = labels_of(plane)
                    call.step.reads.append(Read(name, dims[axis] if name else 0, labels))
        if axes_of(plane) & rest:
            left.append(call.meeting.over(plane, rest))
    # What stands for several labels says no more than a plane of these labels themselves.
    return [p for p in left if not any(axes_of(p) < axes_of(other) for other in left)]


def _convolution(call: Call) -> None:
    """(groups, out of each, in of each) is the index space; positions and taps stay apart."""
    images, weight = call.bound["input"], call.bound["weight"]
    transposed = call.bound.get("transposed", False)
    groups = call.bound["groups"]
    rank = images.dim()
    made_axis, read_axis = (1, 0) if transposed else (0, 1)
    made = weight.shape[1] if transposed else weight.shape[0] // groups
    read = weight.shape[0] // groups if transposed else weight.shape[1]
    space = (groups, made, read)
    arriving = []
    for plane in call.planes_of(images):
        if axes_of(plane) - {1}:
            call.meeting.hold(labels_of(plane), "channels used as positions")
        else:
            arriving.append(plane.reshape(-1).view(groups, 1, read))
    filters = []
    for plane in call.planes_of(weight):
        axes = axes_of(plane)
        if axes == {made_axis}:
            shape = (groups, made, 1) if not transposed else (1, made, 1)
            filters.append(plane.reshape(shape))
        elif axes == {read_axis}:
            shape = (1, 1, read) if not transposed else (groups, 1, read)
            filters.append(plane.reshape(shape))
        else:
            call.meeting.hold(labels_of(plane), "taps")
    depthwise = groups > 1 and read == 1
    for plane in (*arriving, *filters):
        call.meeting.layout(plane, first=None if depthwise else 1)
    outer = prod(call.made[0].shape[:1]) * prod(call.made[0].shape[2:]) * prod(weight.shape[2:])
    if transposed:
        outer = images.shape[0] * prod(images.shape[2:]) * prod(weight.shape[2:])
    dims = (made_axis, made_axis, read_axis)
    found = _contract(
        call,
        [
            (Operand(tuple(arriving), (groups, 1, read)), "", ()),
            (Operand(tuple(filters), space), call.parameter(weight), dims),
        ],
        frozenset({2}),
        space,
        "depthwise" if depthwise else "sequence",
    )
    _outer(call, outer)
    planes = []
    for plane in found:
        flat_plane = plane.expand(groups, made, 1).reshape(1, -1, *(1,) * (rank - 2))
        planes.append(flat_plane)
    bias = call.bound.get("bias")
    if bias is not None:
        operands = [
            Operand(tuple(planes), tuple(call.made[0].shape)),
            call.on_axis(bias, rank, 1),
        ]
        planes = call.meeting.joined(operands, "bias")
    call.put(0, planes)


def _outer(call: Call, times: int) -> None:
    """So many times as many products."""
    space = call.step.spaces.pop()
    call.step.spaces.append(replace(space, constant=space.constant * times))


def _product(first: str, second: str, added: str = "") -> Rule:
    """(…, rows, columns, summed) is the index space of a product of matrices."""

    def follow(call: Call) -> None:
        one, other = call.bound[first], call.bound[second]
        names = call.parameter(one), call.parameter(other)
        batch = max(one.dim(), other.dim()) - 2
        is_vector = other.dim() == 1
        rank = max(batch, 0) + 3
        rows, columns, inner = rank - 3, rank - 2, rank - 1

        def spread_out(value: Tensor, dims: Sequence[int]) -> Operand:
            def placed(shape: Sequence[int]) -> tuple[int, ...]:
                full = [1] * rank
                for dim, size in zip(dims, shape, strict=True):
                    full[dim] = size
                return tuple(full)

            def plane_of(plane: Tensor) -> Tensor:
                order = sorted(range(len(dims)), key=lambda place: dims[place])
                moved = plane.permute(order)
                return moved.reshape(placed(plane.shape))

            planes = tuple(map(plane_of, call.planes_of(value)))
            return Operand(planes, placed(value.shape), call.is_fresh(value))

        lead = list(range(batch)) if batch > 0 else []
        own = [*lead[batch - (one.dim() - 2) :], rows, inner] if one.dim() > 1 else [inner]
        theirs = [inner] if is_vector else [*lead[batch - (other.dim() - 2) :], inner, columns]
        left, right = spread_out(one, own), spread_out(other, theirs)
        extents = [max(a, b) for a, b in zip(left.extents, right.extents, strict=True)]
        where = {dim: place for place, dim in enumerate(own)}, {d: p for p, d in enumerate(theirs)}
        found = _contract(
            call,
            [
                (
                    left,
                    names[0],
                    [_own_dim(one, where[0].get(axis, 0), call) for axis in range(rank)],
                ),
                (
                    right,
                    names[1],
                    [_own_dim(other, where[1].get(axis, 0), call) for axis in range(rank)],
                ),
            ],
            frozenset({inner}),
            extents,
            "sequence" if any(names) else "product",
        )
        shape = call.made[0].shape
        kept = [*lead, *([rows] if one.dim() > 1 else []), *([] if is_vector else [columns])]
        planes = [
            plane.permute(*kept, *(d for d in range(rank) if d not in kept)) for plane in found
        ]
        planes = [plane.reshape(plane.shape[: len(kept)]) for plane in planes]
        if added and call.bound.get(added) is not None:
            operands = [
                Operand(tuple(planes), tuple(shape)),
                call.operand(call.bound[added], len(shape)),
            ]
            planes = call.meeting.joined(operands, "bias")
        call.put(0, planes)

    return follow


def _own_dim(value: Tensor, place: int, call: Call) -> int:
    """The dimension of the parameter behind a transposed view of it."""
    base = value._base
    if id(value) in call._names or base is None or base.dim() != value.dim():
        return place
    strides = list(base.stride())
    return strides.index(value.stride(place)) if value.stride(place) in strides else place


def _linear(call: Call) -> None:
    value, weight = call.bound["input"], call.bound["weight"]
    rank = value.dim() + 1
    columns, inner = rank - 2, rank - 1

    def moved(plane: Tensor) -> Tensor:
        return plane.reshape(*plane.shape[:-1], 1, plane.shape[-1])

    left = Operand(
        tuple(map(moved, call.planes_of(value))), (*value.shape[:-1], 1, value.shape[-1])
    )
    lead = (1,) * (value.dim() - 1)
    right = Operand(
        tuple(plane.reshape(*lead, *plane.shape) for plane in call.planes_of(weight)),
        (*lead, *weight.shape),
    )
    dims = [0] * rank
    dims[inner] = 1
    found = _contract(
        call,
        [(left, "", ()), (right, call.parameter(weight), dims)],
        frozenset({inner}),
        (*value.shape[:-1], *weight.shape),
        "sequence",
    )
    planes = [plane.squeeze(inner) for plane in found]
    bias = call.bound.get("bias")
    if bias is not None:
        operands = [
            Operand(tuple(planes), tuple(call.made[0].shape)),
            call.on_axis(bias, rank - 1, columns),
        ]
        planes = call.meeting.joined(operands, "bias")
    call.put(0, planes)


def _embedding(call: Call) -> None:
    """Rows of a table: their channels arrive, which row is chosen by values."""
    weight = call.bound["weight"]
    rank = call.made[0].dim()
    found = []
    for plane in call.planes_of(weight):
        if plane.shape[0] > 1:
            call.meeting.hold(labels_of(plane), "chosen by values")
        else:
            found.append(plane.reshape((1,) * (rank - 1) + (-1,)))
            call.step.makes.append((call.parameter(weight), 1))
    call.put(0, found)


def _deformed(call: Call) -> None:
    for name in ("offset", "mask"):
        for plane in call.planes_of(call.bound[name]):
            call.meeting.hold(labels_of(plane), "values used as positions")
    weight, images = call.bound["weight"], call.bound["input"]
    groups = images.shape[1] // weight.shape[1]
    call.bound = {**call.bound, "groups": groups}
    _convolution(call)


CONTRACTIONS: dict[str, Rule] = {
    "_addmm_activation": _product("mat1", "mat2", "self"),
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
}
