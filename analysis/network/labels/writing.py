"""Operators that write to places of a tensor."""

from collections.abc import Callable, Mapping

from torch import Tensor

from analysis.network.labels import reasons
from analysis.network.labels.calls import Call
from analysis.network.labels.meeting import Operand
from analysis.network.labels.moving import follow_moved
from analysis.network.labels.planes import axes_of, labels_of

__all__ = ["WRITING"]

Rule = Callable[[Call], None]


def _copied(call: Call) -> None:
    target, source = call.bound["self"], call.bound["src"]
    call.put(0, call.operand(source, target.dim()).planes)


def _added_at(call: Call) -> None:
    """Rows of one tensor go to places of another; every other dimension meets its own."""
    target = call.bound["self"]
    source = next(call.bound[name] for name in ("source", "src", "value") if name in call.bound)
    dim = call.bound.get("dim", 0) % target.dim()
    if any(dim in axes_of(plane) for plane in call.arriving) and follow_moved(call):
        return
    operands = []
    for value in (target, source):
        if not isinstance(value, Tensor):
            continue
        planes = []
        for plane in call.planes_of(value):
            if dim in axes_of(plane):
                call.meeting.hold(labels_of(plane), reasons.CHOSEN)
            else:
                planes.append(plane)
        extents = [1 if axis == dim else size for axis, size in enumerate(value.shape)]
        operands.append(Operand(tuple(planes), tuple(extents), call.loose(value, value.dim())))
    call.put(0, call.meeting.joined(operands, "addition"))


def _put_at(call: Call) -> None:
    """Values go to places that indices name; the dimensions behind these meet their own."""
    target, values = call.bound["self"], call.bound["values"]
    named = len(call.bound["indices"])
    rest = target.dim() - named
    is_named = any(min(axes_of(p), default=named) < named for p in call.planes_of(target))
    if is_named and follow_moved(call):
        return
    operands = []
    for value in (target, values):
        shared = min(rest, value.dim())
        lead = value.dim() - shared
        planes = []
        for plane in call.planes_of(value):
            if any(axis < lead for axis in axes_of(plane)):
                call.meeting.hold(labels_of(plane), reasons.CHOSEN)
            else:
                more = (1,) * (target.dim() - shared)
                planes.append(plane.reshape(*more, *plane.shape[lead:]))
        extents = (*(1,) * (target.dim() - shared), *value.shape[lead:])
        operands.append(Operand(tuple(planes), extents, call.loose(value, value.dim())))
    call.put(0, call.meeting.joined(operands, "addition"))


def _moved_to(call: Call) -> None:
    """A tensor takes the memory of another one, and what that carries."""
    source = call.bound.get("source")
    if isinstance(source, Tensor):
        call.put(0, call.planes_of(source))
    else:  # a storage
        call.hold(call.arriving, reasons.UNKNOWN)


WRITING: Mapping[str, Rule] = {
    "copy": _copied,
    "index_add": _added_at,
    "index_copy": _added_at,
    "index_reduce": _added_at,
    "index_put": _put_at,
    "_index_put_impl": _put_at,
    "scatter": _added_at,
    "scatter_add": _added_at,
    "scatter_reduce": _added_at,
    "set": _moved_to,
}
