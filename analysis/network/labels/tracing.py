"""One forward pass with labelled channels."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from analysis.network.inference import (
    Inputs,
    forward,
    left_as_found,
    module_scope,
    one_line,
    walk,
)
from analysis.network.labels import operators
from analysis.network.labels.meeting import Meeting, Operand
from analysis.network.labels.planes import (
    Planes,
    axes_of,
    axis_plane,
    compact,
    labels_of,
    reshaped,
    spread,
)
from analysis.network.labels.records import Place, Read, Space, Step, Trace

__all__ = ["OUTPUT", "labelled_pass", "state_of"]

OUTPUT = "output"
"""Why channels stay that leave the model."""


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model that hold channels, by name; one that is shared has one name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() or tensor.is_complex():
            found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def labelled_pass(
    model: nn.Module,
    inputs: Inputs,
    labels: Mapping[tuple[str, int], Tensor] | None = None,
    watch: Callable[[Step], None] | None = None,
    count: int = 1,
) -> Trace:
    """Run a model once and follow its channels.

    Args:
        model: in eval mode.
        inputs: example inputs.
        labels: by tensor and dimension the labels of its positions; None numbers all of them.
        watch: called with each operator, also with those that no channel arrives at.
        count: the first label that is free, where labels are given.

    Raises:
        Exception: whatever the model's forward raises.
    """
    state = state_of(model)
    trace = _numbered(state) if labels is None else Trace({}, {}, count=count)
    for name, tensor in state.items():
        tensor._planes = _planes_of(name, tensor, trace, labels)  # type: ignore[attr-defined]
    try:
        with (
            left_as_found(model),
            module_scope(model) as scope,
            torch.no_grad(),
            _plain_operators(),
            _Tracer(trace, scope, watch, {id(t): n for n, t in state.items()}) as tracer,
        ):
            output = forward(model, inputs)
            for tensor in walk(output):
                tracer.leave(tensor)
    finally:
        for tensor in state.values():
            del tensor._planes  # type: ignore[attr-defined]
    return trace


@contextmanager
def _plain_operators() -> Iterator[None]:
    """Attention and recurrent layers as the operators that they are made of."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _OwnRecurrences():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _OwnRecurrences(TorchFunctionMode):
    """A library's recurrent layer would be one operator."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RECURRENT:
            with (
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.cudnn.flags(enabled=False),
            ):
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


_RECURRENT = (torch._VF.lstm, torch._VF.gru, torch._VF.rnn_tanh, torch._VF.rnn_relu)


def _numbered(state: Mapping[str, Tensor]) -> Trace:
    starts, sizes, count = {}, {}, 1
    for name, tensor in state.items():
        for dim, size in enumerate(tensor.shape):
            if size > 1:
                starts[name, dim], sizes[name, dim] = count, size
                count += size
    return Trace(starts, sizes, count=count)


def _planes_of(
    name: str, tensor: Tensor, trace: Trace, labels: Mapping[tuple[str, int], Tensor] | None
) -> Planes:
    dims = tensor.dim()
    if labels is not None:
        found = {dim: labels[name, dim] for dim in range(dims) if (name, dim) in labels}
    else:
        found = {
            dim: torch.from_numpy(trace.labels(name, dim))
            for dim, size in enumerate(tensor.shape)
            if size > 1
        }
    return tuple(axis_plane(row, dims, dim) for dim, row in found.items())


_OWN = tuple(
    os.path.dirname(path) + os.sep
    for path in (torch.__file__, os.path.dirname(os.path.dirname(__file__)))
)


def _line() -> str:
    """The line of the user's code that is running."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_OWN) and not name.startswith("<"):
            return f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def _planes(value: Any) -> Planes:
    return getattr(value, "_planes", ())


def _is_fresh(value: Tensor) -> bool:
    return getattr(value, "_fresh", False) or not value.dim()


class _Tracer(TorchDispatchMode):
    """Follows every operator of one pass."""

    def __init__(
        self,
        trace: Trace,
        scope: list[str],
        watch: Callable[[Step], None] | None,
        names: Mapping[int, str],
    ) -> None:
        super().__init__()
        self.trace = trace
        self.meeting = Meeting(trace)
        self._scope = scope
        self._watch = watch
        self._names = names
        self._now = Step(Place("", "", ""), 0)
        self._calls: Counter[Place] = Counter()

    def leave(self, output: Tensor) -> None:
        """Channels that leave the model stay."""
        for plane in _planes(output):
            self.meeting.hold(labels_of(plane), OUTPUT)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = operators.name_of(func)
        place = Place(name, self._scope[-1] if self._scope else "", _line())
        self._calls[place] += 1
        self._now = Step(place, self._calls[place])
        leaves = tree_leaves((args, kwargs))
        operands = [value for value in leaves if isinstance(value, Tensor)]
        arriving = [plane for value in operands for plane in _planes(value)]
        # What an operator writes to in place is read before.
        given = {id(value): (_planes(value), None) for value in operands}
        if operands and func._schema.is_mutable:
            given[id(operands[0])] = _planes(operands[0]), _is_uniform(operands[0])
        result = func(*args, **kwargs)
        made = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        self._now.constants = tuple(value for value in leaves if isinstance(value, float))
        if arriving and name not in operators.FACTORIES:
            bound = {own.name: v for own, v in zip(func._schema.arguments, args, strict=False)}
            call = Call(func, name, bound | kwargs, args, kwargs, operands, given, made)
            try:
                self._follow(call)
            except Exception as error:  # what cannot be followed is held, the rest goes on
                for plane in call.arriving:
                    self.meeting.hold(labels_of(plane), f"cannot be followed: {one_line(error)}")
            self._close(arriving, made)
        else:
            fresh = name in operators.FACTORIES or (operands and all(map(_is_fresh, operands)))
            for value in made:
                value._fresh = bool(fresh)  # type: ignore[attr-defined]
            if self._watch:
                self._watch(self._now)
        return result

    def _close(self, arriving: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        step = self._now
        for value in made:
            value._fresh = False  # type: ignore[attr-defined]
        step.shapes = tuple(tuple(value.shape) for value in made)
        step.planes = tuple(tuple(_planes(value)) for value in made)
        step.arriving = tuple(labels_of(plane).ravel() for plane in arriving)
        self.trace.steps.append(step)
        if self._watch:
            self._watch(step)

    # ------------------------------------------------------------------ kinds

    def _follow(self, call: "Call") -> None:
        name = call.name
        if name in _CONTRACTIONS:
            _CONTRACTIONS[name](self, call)
        elif name in operators.SAME:
            call.put(0, call.planes(0))
        elif name in operators.RESHAPES:
            self._reshape(call)
        elif name in operators.MOVEMENT:
            self._move(call)
        elif name in ("cat", "concat", "stack"):
            self._concatenate(call)
        elif name in _WRITES:
            _WRITES[name](self, call)
        elif name in operators.LIKE:
            call.put(0, call.planes(0))
        elif operators.is_pointwise(call.func, name):
            self._pointwise(call)
        elif name in operators.REDUCTIONS:
            self._reduce(call)
        elif name in operators.ALONG:
            self._along(call)
        elif name in operators.SPATIAL:
            self._spatial(call)
        elif name in operators.PER_CHANNEL:
            self._per_channel(call)
        elif name in _NORMS:
            _NORMS[name](self, call)
        elif name not in _LEAVES:
            for plane in call.arriving:
                self.meeting.hold(labels_of(plane), "unknown operator")

    def _reshape(self, call: "Call") -> None:
        before, after = call.operands[0].shape, call.made[0].shape
        found = []
        for plane in call.planes(0):
            made = reshaped(plane, before, after)
            if made is not None:
                found.append(made)
                self.meeting.layout(made, was_one=len(axes_of(plane)) < 2)
        call.put(0, found)

    def _move(self, call: "Call") -> None:
        first, *others = call.operands
        for value in others:
            for plane in call.planes_of(value):
                self.meeting.hold(labels_of(plane), "values used as positions")
        looked_up = any(not value.is_floating_point() and not _is_fresh(value) for value in others)
        found: list[list[Tensor]] = [[] for _ in call.made]
        for plane in call.planes(0):
            labels = spread(plane, first.shape)
            if call.name == "constant_pad_nd":
                labels = plane
            elif call.name == "as_strided":
                labels = torch.empty_strided(first.shape, first.stride(), dtype=torch.int32).copy_(
                    labels
                )
            answer = call.run_on({id(first): labels})
            parts = [compact(part) for part in tree_leaves(answer)]
            if looked_up and any(part is not None and _repeats(part) for part in parts):
                self.meeting.hold(labels_of(plane), "chosen by values")
                continue
            self.meeting.parts(plane, parts)
            for place, part in enumerate(parts):
                if part is not None:
                    found[place].append(part)
                    self.meeting.layout(part, was_one=len(axes_of(plane)) < 2)
        for place, planes in enumerate(found):
            call.put(place, planes)

    def _concatenate(self, call: "Call") -> None:
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
            parts.append(Operand(planes, shape, call.is_fresh(value)))
        beside = [
            Operand(
                tuple(p for p in part.planes if p.shape[dim] == 1 and p.numel() > 1),
                tuple(1 if axis == dim else size for axis, size in enumerate(part.extents)),
                part.fresh,
            )
            for part in parts
        ]
        found = self.meeting.joined(beside, "concatenation")
        if any(plane.shape[dim] > 1 or plane.numel() == 1 for p in parts for plane in p.planes):
            found.append(_beside(parts, dim))
        call.put(0, found)
        for plane in found:
            self.meeting.layout(plane, was_one=False)

    def _pointwise(self, call: "Call") -> None:
        shape = call.made[0].shape
        operands = [_operand(call, value, len(shape)) for value in call.operands]
        found = self.meeting.joined(operands, _WHY.get(call.name, "elementwise"))
        for place in range(len(call.made)):
            call.put(place, found)

    def _reduce(self, call: "Call") -> None:
        value = call.operands[0]
        dims = _dims(call.bound.get("dim"), value.dim())
        keep = call.bound.get("keepdim", False)
        self._reduced(call, dims, keep, operators.REDUCTIONS[call.name])

    def _reduced(self, call: "Call", dims: Sequence[int], keep: bool, what: str) -> None:
        value = call.operands[0]
        rest = frozenset(range(value.dim())) - frozenset(dims)
        found = []
        for plane in call.planes(0):
            over = axes_of(plane) & frozenset(dims)
            if over and what:
                self.meeting.combine(plane, what)
            if over and axes_of(plane) <= frozenset(dims):
                self._now.reads.append(Read("", 0, labels_of(plane)))
                continue
            left = self.meeting.over(plane, rest)
            found.append(left if keep else _squeezed(left, dims))
        for place, made in enumerate(call.made):
            if made.dim() == value.dim() - (0 if keep else len(dims)):
                call.put(place, found)

    def _along(self, call: "Call") -> None:
        value = call.operands[0]
        dims = _dims(call.bound.get("dim"), value.dim())
        what = operators.ALONG[call.name]
        for plane in call.planes(0):
            if what and axes_of(plane) & frozenset(dims):
                self.meeting.combine(plane, what)
        for place, made in enumerate(call.made):
            if made.shape == value.shape:
                call.put(place, call.planes(0))
            else:
                for plane in call.planes(0):
                    self.meeting.hold(labels_of(plane), "unknown operator")

    def _spatial(self, call: "Call") -> None:
        value = call.operands[0]
        positions = frozenset(range(value.dim() - operators.SPATIAL[call.name], value.dim()))
        found = []
        for plane in call.planes(0):
            if axes_of(plane) & positions:
                self.meeting.hold(labels_of(plane), "channels used as positions")
            else:
                found.append(plane)
        for other in call.operands[1:]:
            for plane in call.planes_of(other):
                self.meeting.hold(labels_of(plane), "values used as positions")
        for place, made in enumerate(call.made):
            if made.dim() == value.dim():
                call.put(place, found)

    def _per_channel(self, call: "Call") -> None:
        value = call.operands[0]
        dims = value.dim()
        operands = [Operand(call.planes(0), tuple(value.shape))]
        for other in call.operands[1:]:
            if other.numel() > 1:
                operands.append(_on_axis(call, other, dims, 1))
        call.put(0, self.meeting.joined(operands, "normalisation"))
        self._now.spaces.append(_space(call.made_planes(0), value.shape))

    def norm(self, call: "Call", dims: Sequence[int], planes: Sequence[Tensor], what: str) -> None:
        """Statistics over dimensions, which a cut changes."""
        for plane in planes:
            if axes_of(plane) & frozenset(dims):
                self.meeting.combine(plane, what)
        call.put(0, planes)
        self._now.spaces.append(_space(planes, call.made[0].shape))

    def contract(
        self,
        call: "Call",
        operands: Sequence[tuple[Operand, str, Sequence[int]]],
        summed: frozenset[int],
        extents: Sequence[int],
        why: str,
    ) -> list[Tensor]:
        """The planes of a product, in its index space, without those that are summed over.

        Args:
            operands: with the name of the parameter that it is, and by dimension of the space
                that parameter's own.
            summed: dimensions that are summed over.
            extents: sizes of the space.
        """
        found = self.meeting.joined([operand for operand, _, _ in operands], why)
        self._now.spaces.append(_space(found, extents))
        left = []
        rest = frozenset(range(len(extents))) - summed
        for operand, name, dims in operands:
            made = {dims[axis] for axis in rest if name and operand.extents[axis] > 1}
            self._now.makes += [(name, dim) for dim in made]
        for plane in found:
            over = axes_of(plane) & summed
            if over:
                named = [(name, dims) for _, name, dims in operands if name]
                for name, dims in named or [("", ())]:
                    for axis in over if name else [0]:
                        labels = labels_of(plane)
                        self._now.reads.append(Read(name, dims[axis] if name else 0, labels))
            if axes_of(plane) & rest:
                left.append(self.meeting.over(plane, rest))
        # What stands for several labels says no more than a plane of these labels themselves.
        return [p for p in left if not any(axes_of(p) < axes_of(other) for other in left)]

    def name(self, value: Tensor) -> str:
        """Of a parameter, or of a view of one; empty for an activation."""
        return self._names.get(id(value)) or self._names.get(id(value._base), "")


class Call:
    """An operator with its operands as they were before it ran."""

    def __init__(
        self,
        func: Any,
        name: str,
        bound: Mapping[str, Any],
        args: Any,
        kwargs: Any,
        operands: Sequence[Tensor],
        given: Mapping[int, tuple[Planes, bool | None]],
        made: Sequence[Tensor],
    ) -> None:
        self.func, self.name, self.bound = func, name, bound
        self._args, self._kwargs = args, kwargs
        self.operands, self._given, self.made = operands, given, made

    @property
    def arriving(self) -> list[Tensor]:
        """The planes of all operands."""
        return [plane for value in self.operands for plane in self.planes_of(value)]

    def planes(self, place: int) -> Planes:
        """Of an operand."""
        return self.planes_of(self.operands[place])

    def planes_of(self, value: Tensor) -> Planes:
        """Of an operand."""
        return self._given.get(id(value), ((), None))[0]

    def is_fresh(self, value: Tensor) -> bool:
        """Whether an operand was made of sizes and numbers and is the same everywhere."""
        uniform = self._given.get(id(value), ((), None))[1]
        return _is_fresh(value) and (_is_uniform(value) if uniform is None else uniform)

    def made_planes(self, place: int) -> Planes:
        """Of a result."""
        return _planes(self.made[place])

    def put(self, place: int, planes: Sequence[Tensor]) -> None:
        """Say what a result carries; what it is a view of carries it there too."""
        value = self.made[place]
        value._planes = tuple(planes)  # type: ignore[attr-defined]
        if value is self._args[0] if self._args else False:
            base = value._base
            if base is not None and base.is_contiguous():
                base._planes = _written(base, value, planes)  # type: ignore[attr-defined]

    def run_on(self, labels: Mapping[int, Tensor]) -> Any:
        """The operator's result on labels in place of operands."""

        def of(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return labels[id(value)] if id(value) in labels else value.cpu()

        func = self.func
        args, kwargs = tree_map(of, (self._args, self._kwargs))
        if self.name == "constant_pad_nd":
            # Along other dimensions what is added belongs to the channels that are there.
            plane, pad = args[0], list(args[1])
            for place in range(0, len(pad), 2):
                if plane.shape[-1 - place // 2] == 1:
                    pad[place : place + 2] = 0, 0
            return func(plane, pad, 0)
        with torch.no_grad():
            if self.name == "im2col":
                args = tree_map(lambda v: v.double() if isinstance(v, Tensor) else v, args)
                return func(*args, **kwargs).to(torch.int32)
            return func(*args, **kwargs)


def _written(base: Tensor, view: Tensor, planes: Sequence[Tensor]) -> Planes:
    """What a tensor carries once a part of it was written to."""
    found = []
    own = list(_planes(base))
    for plane in planes or [torch.zeros((1,) * view.dim(), dtype=torch.int32)]:
        whole = own.pop(0) if own else torch.zeros((1,) * base.dim(), dtype=torch.int32)
        whole = whole.expand(base.shape).contiguous()
        whole.as_strided(view.shape, view.stride(), view.storage_offset()).copy_(plane)
        found.append(compact(whole))
    return tuple(plane for plane in (*found, *own) if plane is not None)


def _beside(parts: Sequence[Operand], dim: int) -> Tensor:
    """One plane of several that lie beside each other along a dimension."""
    rows = []
    for part in parts:
        # A part of one position carries its channel everywhere.
        along = [p for p in part.planes if p.shape[dim] > 1 or part.extents[dim] == p.numel() == 1]
        row = along[0] if along else torch.zeros((1,) * len(part.extents), dtype=torch.int32)
        shape = list(row.shape)
        shape[dim] = part.extents[dim]
        rows.append(row.expand(shape))
    common = [max(row.shape[axis] for row in rows) for axis in range(rows[0].dim())]
    whole = torch.cat(
        [
            row.expand(
                [row.shape[axis] if axis == dim else size for axis, size in enumerate(common)]
            )
            for row in rows
        ],
        dim,
    )
    return whole


def _operand(call: Call, value: Tensor, dims: int) -> Operand:
    """An operand of an elementwise operator, with as many dimensions as its result."""
    more = (1,) * (dims - value.dim())
    planes = tuple(plane.view(*more, *plane.shape) for plane in call.planes_of(value))
    return Operand(planes, (*more, *value.shape), call.is_fresh(value))


def _repeats(plane: Tensor) -> bool:
    """Whether a channel is in several places, as a row of a table that is looked up."""
    labels = plane[plane > 0]
    return labels.numel() > 1 and len(labels.unique()) < labels.numel()


def _is_uniform(value: Tensor) -> bool:
    return value.numel() < 2 or bool((value == value.flatten()[0]).all())


def _on_axis(call: Call, value: Tensor, dims: int, axis: int) -> Operand:
    """A vector that belongs to one dimension of another tensor."""
    shape = [1] * dims
    shape[axis] = value.numel()
    planes = tuple(plane.reshape(shape) for plane in call.planes_of(value) if plane.numel() > 1)
    return Operand(planes, tuple(shape), call.is_fresh(value))


def _space(planes: Sequence[Tensor], extents: Sequence[int]) -> Space:
    varying = frozenset().union(*map(axes_of, planes)) if planes else frozenset()
    constant = prod(size for axis, size in enumerate(extents) if axis not in varying)
    return Space(tuple(labels_of(plane).ravel() for plane in planes), constant)


def _dims(given: Any, count: int) -> list[int]:
    if given is None or (isinstance(given, list | tuple) and not given):
        return list(range(count))
    return [
        dim % count if count else 0
        for dim in (given if isinstance(given, list | tuple) else [given])
    ]


def _squeezed(plane: Tensor, dims: Sequence[int]) -> Tensor:
    return plane.reshape([size for dim, size in enumerate(plane.shape) if dim not in dims])


# ---------------------------------------------------------------------- contractions


def _convolution(tracer: _Tracer, call: Call) -> None:
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
            tracer.meeting.hold(labels_of(plane), "channels used as positions")
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
            tracer.meeting.hold(labels_of(plane), "taps")
    depthwise = groups > 1 and read == 1
    for plane in (*arriving, *filters):
        tracer.meeting.layout(plane, first=None if depthwise else 1)
    outer = prod(call.made[0].shape[:1]) * prod(call.made[0].shape[2:]) * prod(weight.shape[2:])
    if transposed:
        outer = images.shape[0] * prod(images.shape[2:]) * prod(weight.shape[2:])
    dims = (made_axis, made_axis, read_axis)
    found = tracer.contract(
        call,
        [
            (Operand(tuple(arriving), (groups, 1, read)), "", ()),
            (Operand(tuple(filters), space), tracer.name(weight), dims),
        ],
        frozenset({2}),
        space,
        "depthwise" if depthwise else "sequence",
    )
    _outer(tracer, outer)
    planes = []
    for plane in found:
        flat_plane = plane.expand(groups, made, 1).reshape(1, -1, *(1,) * (rank - 2))
        planes.append(flat_plane)
    bias = call.bound.get("bias")
    if bias is not None:
        operands = [
            Operand(tuple(planes), tuple(call.made[0].shape)),
            _on_axis(call, bias, rank, 1),
        ]
        planes = tracer.meeting.joined(operands, "bias")
    call.put(0, planes)


def _outer(tracer: _Tracer, times: int) -> None:
    """So many times as many products."""
    space = tracer._now.spaces.pop()
    tracer._now.spaces.append(Space(space.planes, space.constant * times))


def _product(first: str, second: str, added: str = "") -> Callable[[_Tracer, Call], None]:
    """(…, rows, columns, summed) is the index space of a product of matrices."""

    def follow(tracer: _Tracer, call: Call) -> None:
        one, other = call.bound[first], call.bound[second]
        names = tracer.name(one), tracer.name(other)
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
        found = tracer.contract(
            call,
            [
                (
                    left,
                    names[0],
                    [_own_dim(one, where[0].get(axis, 0), tracer) for axis in range(rank)],
                ),
                (
                    right,
                    names[1],
                    [_own_dim(other, where[1].get(axis, 0), tracer) for axis in range(rank)],
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
                _operand(call, call.bound[added], len(shape)),
            ]
            planes = tracer.meeting.joined(operands, "bias")
        call.put(0, planes)

    return follow


def _own_dim(value: Tensor, place: int, tracer: _Tracer) -> int:
    """The dimension of the parameter behind a transposed view of it."""
    base = value._base
    if id(value) in tracer._names or base is None or base.dim() != value.dim():
        return place
    strides = list(base.stride())
    return strides.index(value.stride(place)) if value.stride(place) in strides else place


def _linear(tracer: _Tracer, call: Call) -> None:
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
    found = tracer.contract(
        call,
        [(left, "", ()), (right, tracer.name(weight), dims)],
        frozenset({inner}),
        (*value.shape[:-1], *weight.shape),
        "sequence",
    )
    planes = [plane.squeeze(inner) for plane in found]
    bias = call.bound.get("bias")
    if bias is not None:
        operands = [
            Operand(tuple(planes), tuple(call.made[0].shape)),
            _on_axis(call, bias, rank - 1, columns),
        ]
        planes = tracer.meeting.joined(operands, "bias")
    call.put(0, planes)


def _embedding(tracer: _Tracer, call: Call) -> None:
    """Rows of a table: their channels arrive, which row is chosen by values."""
    weight = call.bound["weight"]
    rank = call.made[0].dim()
    found = []
    for plane in call.planes_of(weight):
        if plane.shape[0] > 1:
            tracer.meeting.hold(labels_of(plane), "chosen by values")
        else:
            found.append(plane.reshape((1,) * (rank - 1) + (-1,)))
            tracer._now.makes.append((tracer.name(weight), 1))
    call.put(0, found)


def _deformed(tracer: _Tracer, call: Call) -> None:
    for name in ("offset", "mask"):
        for plane in call.planes_of(call.bound[name]):
            tracer.meeting.hold(labels_of(plane), "values used as positions")
    weight, images = call.bound["weight"], call.bound["input"]
    groups = images.shape[1] // weight.shape[1]
    call.bound = {**call.bound, "groups": groups}
    _convolution(tracer, call)


_CONTRACTIONS: dict[str, Callable[[_Tracer, Call], None]] = {
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

# ---------------------------------------------------------------------- normalisations


def _layer_norm(tracer: _Tracer, call: Call) -> None:
    value = call.operands[0]
    over = len(call.bound["normalized_shape"])
    dims = list(range(value.dim() - over, value.dim()))
    operands = [Operand(call.planes(0), tuple(value.shape))]
    operands += [_operand(call, other, value.dim()) for other in call.operands[1:]]
    planes = tracer.meeting.joined(operands, "normalisation")
    tracer.norm(call, dims, planes, "layer norm")


def _group_norm(tracer: _Tracer, call: Call) -> None:
    value = call.operands[0]
    groups, width = call.bound["group"], value.shape[1]
    operands = [Operand(call.planes(0), tuple(value.shape))]
    operands += [_on_axis(call, other, value.dim(), 1) for other in call.operands[1:]]
    planes = tracer.meeting.joined(operands, "normalisation")
    for plane in planes:
        if axes_of(plane) == {1} and groups > 1:
            tracer.meeting.layout(plane.reshape(groups, width // groups), first=1)
    tracer.norm(call, [1], planes, "group norm")


def _weight_norm(tracer: _Tracer, call: Call) -> None:
    value, scale, dim = call.bound["v"], call.bound["g"], call.bound.get("dim", 0)
    operands = [
        Operand(call.planes_of(value), tuple(value.shape)),
        Operand(call.planes_of(scale), tuple(scale.shape)),
    ]
    planes = tracer.meeting.joined(operands, "weight norm")
    over = [axis for axis in range(value.dim()) if axis != dim]
    tracer.norm(call, over, planes, "weight norm")
    tracer._now.spaces.clear()


_NORMS: dict[str, Callable[[_Tracer, Call], None]] = {
    "_fused_rms_norm": _layer_norm,
    "_weight_norm_interface": _weight_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
}

# ---------------------------------------------------------------------- writes


def _copied(tracer: _Tracer, call: Call) -> None:
    target, source = call.bound["self"], call.bound["src"]
    call.put(0, _operand(call, source, target.dim()).planes)


def _added_at(tracer: _Tracer, call: Call) -> None:
    """Rows of one tensor go to places of another; every other dimension meets its own."""
    target = call.bound["self"]
    source = next(call.bound[name] for name in ("source", "src", "value") if name in call.bound)
    dim = call.bound.get("dim", 0) % target.dim()
    operands = []
    for value in (target, source):
        if not isinstance(value, Tensor):
            continue
        planes = []
        for plane in call.planes_of(value):
            if dim in axes_of(plane):
                tracer.meeting.hold(labels_of(plane), "values used as positions")
            else:
                planes.append(plane)
        extents = [1 if axis == dim else size for axis, size in enumerate(value.shape)]
        operands.append(Operand(tuple(planes), tuple(extents), call.is_fresh(value)))
    call.put(0, tracer.meeting.joined(operands, "addition"))


def _put_at(tracer: _Tracer, call: Call) -> None:
    """Values go to places that indices name; the dimensions behind these meet their own."""
    target, values = call.bound["self"], call.bound["values"]
    named = len(call.bound["indices"])
    rest = target.dim() - named
    operands = []
    for value in (target, values):
        shared = min(rest, value.dim())
        lead = value.dim() - shared
        planes = []
        for plane in call.planes_of(value):
            if any(axis < lead for axis in axes_of(plane)):
                tracer.meeting.hold(labels_of(plane), "values used as positions")
            else:
                more = (1,) * (target.dim() - shared)
                planes.append(plane.reshape(*more, *plane.shape[lead:]))
        extents = (*(1,) * (target.dim() - shared), *value.shape[lead:])
        operands.append(Operand(tuple(planes), extents, call.is_fresh(value)))
    call.put(0, tracer.meeting.joined(operands, "addition"))


_WRITES: dict[str, Callable[[_Tracer, Call], None]] = {
    "copy": _copied,
    "index_add": _added_at,
    "index_copy": _added_at,
    "index_put": _put_at,
    "_index_put_impl": _put_at,
    "scatter": _added_at,
    "scatter_add": _added_at,
    "scatter_reduce": _added_at,
}

_LEAVES = frozenset({"_local_scalar_dense", "is_same_size", "equal", "_assert_async", "size"})
"""Nothing of the operands arrives in a tensor."""

_WHY = {
    "add": "addition", "sub": "addition", "rsub": "addition", "addcmul": "multiplication",
    "mul": "multiplication", "div": "multiplication", "lerp": "addition", "where": "elementwise",
}  # fmt: skip
