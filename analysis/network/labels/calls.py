"""One operator as it is called: its operands and results, and what they carry."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from analysis.network.labels.aliases import Aliases
from analysis.network.labels.meeting import Meeting, Operand
from analysis.network.labels.planes import Planes, axes_of, labels_of, relaid
from analysis.network.labels.records import Space, Step

__all__ = [
    "Call",
    "StoppedError",
    "follows_inputs",
    "indexed",
    "is_fresh",
    "is_own",
    "is_uniform",
    "planes_of",
    "space_of",
]


class StoppedError(Exception):
    """Whoever watches the calls of a pass has seen enough of it."""


def planes_of(value: Any) -> Planes:
    """What a tensor carries."""
    return getattr(value, "_planes", ())


def is_fresh(value: Tensor) -> bool:
    """Whether a tensor was made in forward of nothing but sizes and numbers."""
    known: bool = getattr(value, "_fresh", not value.dim())
    return known


class Call:
    """An operator with its operands as they were before it ran, and where it is written down."""

    def __init__(
        self,
        meeting: Meeting,
        step: Step,
        within: str,
        func: Any,
        name: str,
        bound: Mapping[str, Any],
        args: Any,
        kwargs: Any,
        operands: Sequence[Tensor],
        given: Mapping[int, tuple[Planes, bool | None]],
        made: Sequence[Tensor],
        aliases: Aliases,
    ) -> None:
        self.meeting, self.step, self.aliases = meeting, step, aliases
        self.within = within
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
        return is_fresh(value) and (is_uniform(value) if uniform is None else uniform)

    def follows_inputs(self, value: Tensor) -> bool:
        """Whether an operand is an input of the model, or made of one."""
        return follows_inputs(value, self.meeting.trace.calls)

    def made_planes(self, place: int) -> Planes:
        """Of a result."""
        return planes_of(self.made[place])

    def put(self, place: int, planes: Sequence[Tensor]) -> None:
        """Say what a result carries; what lies in the same memory carries it there too."""
        value = self.made[place]
        planes = self.meeting.apart(planes)
        made, before = tuple(planes), self.planes_of(value)
        value._planes = made  # type: ignore[attr-defined]
        if self._args and value is self._args[0] and not _are_same(before, made):
            self.aliases.write(value, made)

    def loose(self, value: Tensor, dims: int) -> frozenset[int]:
        """Dimensions, counted as those of a result with so many, that may follow a cut."""
        if self.is_fresh(value):
            return frozenset(range(dims))
        labelled = frozenset().union(*map(axes_of, self.planes_of(value)))
        free = [dim for dim, size in enumerate(value.shape) if size > 1 and dim not in labelled]
        more = dims - value.dim()
        return frozenset(more + dim for dim in self.repeated_along(value, value.shape, free))

    def repeated_along(self, value: Tensor, shape: Sequence[int], dims: Iterable[int]) -> list[int]:
        """Of dimensions those along which an operand, in this shape, holds the same everywhere.

        It does so by how it was made in forward: expanded, or repeated of what no input decides.
        """
        if value.layout is not torch.strided:
            return []  # a sparse tensor repeats no number along a dimension
        laid = value if value.shape == shape else value.reshape(*shape)
        steps, is_constant = laid.stride(), self._is_made_of_constants(value)
        return [d for d in dims if steps[d] == 0 or (is_constant and _is_constant(laid, d))]

    def _is_made_of_constants(self, value: Tensor) -> bool:
        """Whether forward made an operand of nothing that an input decides, and did not write."""
        is_written = self._given.get(id(value), ((), None))[1] is not None
        is_made = is_fresh(value) or isinstance(getattr(value, "_source", None), tuple)
        return is_made and not is_written and not self.follows_inputs(value)

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
                is_along = args[0].stride(-1) == args[0].stride(-2) == 0
                args = tree_map(lambda v: v.double() if isinstance(v, Tensor) else v, args)
                made = func(*args, **kwargs).to(torch.int32)
                # What is added around an image is of the channels that are there.
                return made.amax(-1, keepdim=True).expand_as(made) if is_along else made
            return func(*args, **kwargs)

    def parameter(self, value: Tensor) -> str:
        """Name of the parameter that an operand is, or is made of; empty for an activation."""
        if not is_own(value):
            return ""
        planes = self.planes_of(value)
        axes = self.meeting.trace.axes_of(planes[0]) if planes else []
        return axes[0][0] if axes else ""

    def operand(self, value: Tensor, dims: int) -> Operand:
        """An operand of an elementwise operator, with as many dimensions as its result."""
        more, planes = (1,) * (dims - value.dim()), self.planes_of(value)
        if more:
            planes = tuple(plane.view(*more, *plane.shape) for plane in planes)
        return Operand(planes, (*more, *value.shape), self.loose(value, dims))

    def on_axis(self, value: Tensor, dims: int, axis: int) -> Operand:
        """A vector that belongs to one dimension of another tensor."""
        shape = [1] * dims
        shape[axis] = value.numel()
        planes = tuple(relaid(p, shape) for p in self.planes_of(value) if p.numel() > 1)
        return Operand(planes, tuple(shape), frozenset({axis} if self.is_fresh(value) else ()))

    def hold(self, planes: Iterable[Tensor], why: str) -> None:
        """Channels that stay."""
        for plane in planes:
            self.meeting.hold(labels_of(plane), why)


def is_own(value: Tensor) -> bool:
    """Whether a tensor is a parameter or buffer, or made of nothing else."""
    return getattr(value, "_own", False)


def _is_constant(value: Tensor, dim: int) -> bool:
    """Whether a tensor holds the same values at all positions of a dimension."""
    return value.numel() > 0 and bool((value == value.narrow(dim, 0, 1)).all())


def _are_same(planes: Planes, others: Planes) -> bool:
    pairs = zip(planes, others, strict=False)
    return len(planes) == len(others) and all(p is q or torch.equal(p, q) for p, q in pairs)


def follows_inputs(value: Tensor, calls: Sequence[Step]) -> bool:
    """Whether a tensor is an input of the model, or made of one.

    Args:
        value: of the pass.
        calls: every operator so far.
    """
    source = getattr(value, "_source", None)
    made_of_one = isinstance(source, tuple) and calls[source[0]].of_inputs
    given: bool = getattr(value, "_is_input", False)
    return given or made_of_one


def indexed(call: Call) -> Iterator[tuple[Tensor, range]]:
    """The indices that an operator is given, and the dimensions that each is of: a mask of all."""
    place = 0
    for each in call.bound["indices"]:
        size = each.dim() if each is not None and each.dtype is torch.bool else 1
        if each is not None:
            yield each, range(place, place + size)
        place += size


def is_uniform(value: Tensor) -> bool:
    """Whether it holds one value."""
    return value.numel() < 2 or bool((value == value.flatten()[0]).all())


def space_of(planes: Sequence[Tensor], extents: Sequence[int], kind: str = "product") -> Space:
    """The products or elements of an index space in which these planes lie."""
    varying = frozenset().union(*map(axes_of, planes)) if planes else frozenset()
    constant = prod(size for axis, size in enumerate(extents) if axis not in varying)
    return Space(kind, tuple(labels_of(plane).ravel() for plane in planes), constant)
