"""What each kind of operator does to the labels of its operands."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from analysis.network.labels import operators, reasons
from analysis.network.labels.calls import Call, is_own, space_of
from analysis.network.labels.contractions import CONTRACTIONS
from analysis.network.labels.meeting import Operand
from analysis.network.labels.moving import MOVING, follow_moved
from analysis.network.labels.numbered import Numbers, places_over
from analysis.network.labels.planes import axes_of, labels_of
from analysis.network.labels.records import Read
from analysis.network.labels.separate import follow_separate
from analysis.network.labels.windows import in_one_window
from analysis.network.labels.writing import WRITING

__all__ = ["COUNTED", "follow"]

Rule = Callable[[Call], None]


def follow(call: Call) -> None:
    """Say what an operator's results carry, and write down what meets in it."""
    name, holds = call.name, call.meeting.trace.holds
    before = len(holds)
    rule = _RULES.get(name)
    if rule is not None:
        rule(call)
    elif operators.is_pointwise(call.func, name):
        _pointwise(call)
    elif name not in _LEAVES and not follow_moved(call):
        call.hold(call.arriving, reasons.UNKNOWN)
        follow_separate(call)
    call.step.is_fixed = any(hold.why == reasons.UNCUT for hold in holds[before:])


def _distances(call: Call) -> None:
    """A product of rows, of which each channel is summed over; what a cut does is not followed."""
    call.hold(call.arriving, reasons.UNKNOWN)
    call.step.spaces.append(space_of((), (*call.made[0].shape, call.operands[0].shape[-1])))


def _same(call: Call) -> None:
    call.put(0, call.planes(0))


def _pointwise(call: Call) -> None:
    shape = call.made[0].shape
    # Where one head is left, a norm's scale lies along as much as what it scales.
    given = sorted(call.operands, key=is_own)
    operands = [call.operand(value, len(shape)) for value in given]
    # A parameter that is added or multiplied is no second branch.
    own = any(call.parameter(value) for value in call.operands)
    why = "elementwise" if own else _WHY.get(call.name, "elementwise")
    found = call.meeting.joined(operands, why)
    for place in range(len(call.made)):
        call.put(place, found)


def _reduce(call: Call) -> None:
    value = call.operands[0]
    if call.within:
        _visit(call, call.planes(0), value.shape, call.within)
    dims = _dims(call.bound.get("dim"), value.dim())
    keep = call.bound.get("keepdim", False)
    _reduced(call, dims, keep, operators.REDUCTIONS[call.name])


_PLACES = {"argmax": 1, "argmin": 1, "max": 2, "median": 2, "min": 2, "nanmedian": 2}
"""Reductions that say at which place they found what they return: how many results these have."""


def _say_places(call: Call, dims: Sequence[int]) -> None:
    """The last result holds positions along some dimensions."""
    if any(axes_of(plane) & frozenset(dims) for plane in call.planes(0)):
        rows = places_over(call.planes(0), call.operands[0].shape, dims)
        call.made[-1]._numbers = Numbers.places(rows)  # type: ignore[attr-defined]


def _reduced(call: Call, dims: Sequence[int], keep: bool, what: str) -> None:
    value = call.operands[0]
    rest = frozenset(range(value.dim())) - frozenset(dims)
    found = []
    if call.name in _PLACES and len(call.made) == _PLACES[call.name]:
        _say_places(call, dims)
    for plane in call.planes(0):
        over = axes_of(plane) & frozenset(dims)
        if over and what:
            call.meeting.combine(plane, dims, what)
        if over and axes_of(plane) <= frozenset(dims):
            call.step.reads.append(Read("", 0, labels_of(plane)))
            continue
        left = call.meeting.over(plane, rest)
        found.append(left if keep else _squeezed(left, dims))
    for place, made in enumerate(call.made):
        if made.dim() == value.dim() - (0 if keep else len(dims)):
            call.put(place, found)


def _along(call: Call) -> None:
    value = call.operands[0]
    dims = _dims(call.bound.get("dim"), value.dim())
    if call.name == "renorm":  # of what lies along the others
        dims = [axis for axis in range(value.dim()) if axis not in dims]
    what = operators.ALONG[call.name]
    for plane in call.planes(0):
        if what and axes_of(plane) & frozenset(dims):
            call.meeting.combine(plane, dims, what)
    for place, made in enumerate(call.made):
        found = []
        for plane in call.planes(0):
            # A transform may be shorter along its dimensions, where other channels are no others.
            is_beside = made.dim() == value.dim() and axes_of(plane).isdisjoint(dims)
            if is_beside or made.shape == value.shape:
                found.append(plane)
            else:
                call.meeting.hold(labels_of(plane), reasons.UNKNOWN)
        call.put(place, found)
    if call.name in ("cummax", "cummin"):
        _say_places(call, dims)


def _spatial(call: Call) -> None:
    value = call.operands[0]
    positions = frozenset(range(value.dim() - operators.SPATIAL[call.name], value.dim()))
    whole, found = in_one_window(call, positions), []
    for plane in call.planes(0):
        channels = axes_of(plane) - positions
        if axes_of(plane) & whole:
            call.meeting.combine(plane, whole, operators.POOLS[call.name])
        if axes_of(plane) and axes_of(plane) <= whole:
            call.step.reads.append(Read("", 0, labels_of(plane)))
        elif channels or plane.numel() == 1:
            found.append(call.meeting.over(plane, channels) if channels else plane)
        else:
            call.meeting.hold(labels_of(plane), reasons.WINDOW)
    for other in call.operands[1:]:
        own = []
        for plane in call.planes_of(other):
            channels = axes_of(plane) - positions
            if channels and call.name in operators.UNPOOLS:
                own.append(call.meeting.over(plane, channels))
            else:
                call.meeting.hold(labels_of(plane), reasons.POSITIONS)
        if own:
            sides = (found, value), (own, other)
            meeting = [Operand(tuple(planes), tuple(each.shape)) for planes, each in sides]
            found = call.meeting.joined(meeting, "elementwise")
    for place, made in enumerate(call.made):
        if made.dim() == value.dim():
            call.put(place, found)
    shape = value.shape if "pool" in call.name else call.made[0].shape
    _visit(call, found, shape, call.within or call.name)


def _per_channel(call: Call) -> None:
    value = call.operands[0]
    dims = value.dim()
    operands = [Operand(call.planes(0), tuple(value.shape))]
    for other in call.operands[1:]:
        if other.numel() > 1:
            operands.append(call.on_axis(other, dims, 1))
    planes = call.meeting.joined(operands, "normalisation")
    call.put(0, planes)
    of_batch = call.bound.get("training") or "running_mean" not in call.bound
    kind = "norm" if of_batch else "batch norm"
    for plane in planes if of_batch else ():
        # As of a weight that is standardised over what each of its filters reads.
        if axes_of(plane) - {1}:
            call.meeting.combine(plane, axes_of(plane) - {1}, "batch norm")
    _visit(call, call.made_planes(0), value.shape, call.within or kind)


def _visit(call: Call, planes: Sequence[Tensor], shape: Sequence[int], kind: str) -> None:
    """Note elements that an operator does something with, and its scale where it has one."""
    weight = call.bound.get("weight")
    kind = kind if weight is not None or not kind.endswith("norm") else f"{kind} without scale"
    call.step.spaces.append(space_of(planes, shape, kind))


def _norm(call: Call, dims: Sequence[int], planes: Sequence[Tensor], what: str) -> None:
    """Statistics over dimensions, which a cut changes."""
    for plane in planes:
        if axes_of(plane) & frozenset(dims):
            call.meeting.combine(plane, dims, what)
    _normalised(call, planes)


def _normalised(call: Call, planes: Sequence[Tensor]) -> None:
    call.put(0, planes)
    _visit(call, planes, call.made[0].shape, "norm")


def _layer_norm(call: Call) -> None:
    value = call.operands[0]
    over = len(call.bound["normalized_shape"])
    dims = list(range(value.dim() - over, value.dim()))
    operands = [Operand(call.planes(0), tuple(value.shape))]
    operands += [call.operand(other, value.dim()) for other in call.operands[1:]]
    planes = call.meeting.joined(operands, "normalisation")
    _norm(call, dims, planes, "layer norm")


def _group_norm(call: Call) -> None:
    value = call.operands[0]
    groups, width = call.bound["group"], value.shape[1]
    operands = [Operand(call.planes(0), tuple(value.shape))]
    operands += [call.on_axis(other, value.dim(), 1) for other in call.operands[1:]]
    planes = call.meeting.joined(operands, "normalisation")
    for plane in planes:
        if axes_of(plane) == {1}:
            by_group = plane.reshape(groups, width // groups)
            if groups > 1:
                call.meeting.layout(by_group, first=1)
            call.meeting.combine(by_group, [1], "group norm")
        elif 1 in axes_of(plane):
            call.meeting.combine(plane, [1], "group norm")
    _normalised(call, planes)


def _weight_norm(call: Call) -> None:
    value, scale, dim = call.bound["v"], call.bound["g"], call.bound.get("dim", 0)
    operands = [
        Operand(call.planes_of(value), tuple(value.shape)),
        Operand(call.planes_of(scale), tuple(scale.shape)),
    ]
    planes = call.meeting.joined(operands, "weight norm")
    over = [axis for axis in range(value.dim()) if axis != dim]
    _norm(call, over, planes, "weight norm")
    call.step.spaces.clear()


def _gated(call: Call) -> None:
    """One half of a dimension multiplies the other."""
    value = call.operands[0]
    dim = call.bound.get("dim", -1) % value.dim()
    half = value.shape[dim] // 2
    for plane in call.planes(0):
        if plane.shape[dim] > 1:
            halves = plane.narrow(dim, 0, half), plane.narrow(dim, half, half)
            call.meeting.parts(plane, halves)
            call.meeting.couple(*halves, "multiplication")
    call.put(0, [p.narrow(dim, 0, half) if p.shape[dim] > 1 else p for p in call.planes(0)])


def _parts_of_complex(call: Call) -> None:
    """Both parts of a complex number are of its channel."""
    call.put(0, [plane.unsqueeze(-1) for plane in call.planes(0)])


def _complex_of_parts(call: Call) -> None:
    """Two numbers, side by side, are one."""
    found = []
    for plane in call.planes(0):
        if axes_of(plane) == {plane.dim() - 1}:
            call.meeting.hold(labels_of(plane), reasons.COMPLEX)
            continue
        first, second = plane.select(-1, 0), plane.select(-1, -1)
        if plane.shape[-1] > 1:
            call.meeting.parts(plane, [first, second])
            call.meeting.couple(first, second, "complex number")
        found.append(first)
    call.put(0, found)


def _ranked(call: Call) -> None:
    """Positions of one dimension are put in the order of their values; the others stay apart."""
    dim = call.bound.get("dim", -1) % max(call.operands[0].dim(), 1)
    found = []
    for plane in call.planes(0):
        if dim in axes_of(plane):
            call.meeting.combine(plane, [dim], operators.RANKING[call.name])
            call.meeting.hold(labels_of(plane), reasons.RANKED)
        else:
            found.append(plane)
    for place in range(len(call.made)):
        call.put(place, found)
    _say_places(call, [dim])


_NORMS: dict[str, Rule] = {
    "_fused_rms_norm": _layer_norm,
    "_weight_norm_interface": _weight_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
}


def _taken_in_turn(call: Call) -> None:
    """As many values are taken, one after the other, as a mask has places."""
    for plane in call.planes_of(call.bound["mask"]):
        call.meeting.hold(labels_of(plane), reasons.POSITIONS)
    _pointwise(call)


def _looked_for(call: Call) -> None:
    """Each element is looked for among numbers, which are no channels."""
    value = call.bound[_LOOKED_FOR[call.name]]
    if len(call.planes_of(value)) < len(call.arriving):
        call.hold(call.arriving, reasons.UNKNOWN)
    else:
        call.put(0, call.planes_of(value))
    among = call.bound.get("boundaries", call.bound.get("sorted_sequence"))
    if among is not None and any(axes_of(p) == {among.dim() - 1} for p in call.planes_of(among)):
        rows = places_over(call.planes_of(among), among.shape, [among.dim() - 1])
        call.made[0]._numbers = Numbers.places(rows)  # type: ignore[attr-defined]


def _nonzero(call: Call) -> None:
    """Positions of elements, a column for each dimension."""
    call.hold(call.arriving, reasons.UNKNOWN)
    value = call.operands[0]
    axes = frozenset[int]().union(*map(axes_of, call.planes(0)))
    if len(axes) == 1:
        (axis,) = axes
        rows = places_over(call.planes(0), value.shape, [axis])
        numbers = Numbers.places(rows, axis if value.dim() > 1 else None)
        call.made[0]._numbers = numbers  # type: ignore[attr-defined]


_LOOKED_FOR = {"bucketize": "self", "isin": "elements", "searchsorted": "self"}

_LEAVES = frozenset({"_local_scalar_dense", "is_same_size", "equal", "_assert_async", "size"})
"""Nothing of the operands arrives in a tensor."""

_WHY = {
    "add": "addition", "sub": "addition", "rsub": "addition", "addcmul": "multiplication",
    "mul": "multiplication", "div": "multiplication", "lerp": "addition", "where": "elementwise",
}  # fmt: skip


_RULES: dict[str, Rule] = {
    **dict.fromkeys((*operators.SAME, *operators.LIKE), _same),
    **dict.fromkeys(operators.REDUCTIONS, _reduce),
    **dict.fromkeys(operators.ALONG, _along),
    **dict.fromkeys(operators.SPATIAL, _spatial),
    **dict.fromkeys(operators.PER_CHANNEL, _per_channel),
    **dict.fromkeys(operators.RANKING, _ranked),
    **dict.fromkeys(_LOOKED_FOR, _looked_for),
    "_cdist_forward": _distances,
    "glu": _gated,
    "view_as_complex": _complex_of_parts,
    "view_as_real": _parts_of_complex,
    **CONTRACTIONS,
    **_NORMS,
    **MOVING,
    **WRITING,
    "masked_scatter": _taken_in_turn,
    "nonzero": _nonzero,
}

COUNTED = frozenset(
    {
        "_cdist_forward",
        *CONTRACTIONS,
        *_NORMS,
        *operators.PER_CHANNEL,
        *operators.SPATIAL,
        *operators.REDUCTIONS,
    }
)
"""Operators that cost something, of a single channel as well, which has no label."""


def _dims(given: Any, count: int) -> list[int]:
    if given is None or (isinstance(given, list | tuple) and not given):
        return list(range(count))
    return [
        dim % count if count else 0
        for dim in (given if isinstance(given, list | tuple) else [given])
    ]


def _squeezed(plane: Tensor, dims: Sequence[int]) -> Tensor:
    return plane.reshape([size for dim, size in enumerate(plane.shape) if dim not in dims])
