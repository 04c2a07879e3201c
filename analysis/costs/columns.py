"""How much of each column of a convention a network does, from the pass that follows channels.

Each amount is a product of a number and of labels, so that it follows a cut as MACs do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor, nn

from analysis.network.labels.calls import space_of
from analysis.network.labels.records import Space, Step
from analysis.network.passed import Passed, Term
from analysis.records import Convention

__all__ = ["Charged", "elements_in", "products_in"]


@dataclass(frozen=True, eq=False)
class Charged:
    """What one operator costs by one column.

    Attributes:
        term: with the layer that it is charged to.
        column: see `analysis.records.WORDS`.
        step: the operator.
    """

    term: Term
    column: str
    step: Step


def products_in(followed: Passed, convention: Convention) -> Iterator[Charged]:
    """What the MACs or FLOPs of a convention are products of."""
    names = {id(tensor): name for name, tensor in followed.parameters.items()}
    for step in followed.trace.calls:
        for layer, column, space in _Amounts(followed, step, names).all():
            cost = convention.counts.get(column, 0)
            if cost:
                term = Term(layer, step.place.operator, space.planes, cost * space.constant)
                yield Charged(term, column, step)


def elements_in(followed: Passed, terms: Sequence[Term], convention: Convention) -> Iterator[Term]:
    """Elements of parameters, and of statistics where the convention counts them.

    Args:
        followed: the network.
        terms: its parameters.
        convention: by kind, how many times one is counted.
    """
    norms = {name for name, module in followed.modules.items() if isinstance(module, _BATCH_NORMS)}
    for term in terms:
        owner, _, own = term.name.rpartition(".")
        kind = _KINDS_OF_NORM.get(own, own) if owner in norms else own
        times = convention.params.get(kind if kind in _KINDS else "weight", 0)
        if times:
            yield replace(term, constant=term.constant * times)
    times = convention.params.get("batch norm statistics", 0)
    for name in sorted(norms) if times else ():
        for own in ("running_mean", "running_var"):
            space = _channels(followed, name, own)
            yield Term(name, f"{name}.{own}", space.planes, times * space.constant)


_KINDS_OF_NORM = {"weight": "batch norm scale", "bias": "batch norm shift"}
_KINDS = ("weight", "bias", *_KINDS_OF_NORM.values())

_BATCH_NORMS = nn.modules.batchnorm._BatchNorm
_ATTENTION = (nn.MultiheadAttention,)
_PROJECTIONS = (*_ATTENTION, nn.modules.linear.NonDynamicallyQuantizableLinear)
_SOFTMAX = ("_softmax", "_safe_softmax")
_POOLS: Mapping[type, str] = {
    nn.AdaptiveAvgPool2d: "nn.AdaptiveAvgPool2d",
    nn.AvgPool2d: "nn.AvgPool2d",
    nn.MaxPool2d: "nn.MaxPool2d",
}
_ACTIVATIONS: Mapping[type, str] = {
    nn.ReLU: "nn.ReLU and nn.GELU",
    nn.GELU: "nn.ReLU and nn.GELU",
    nn.ReLU6: "nn.ReLU6",
}
_FUNCTIONS = ("relu", "gelu", "silu")


class _Amounts:
    """What one operator does, by column."""

    def __init__(self, followed: Passed, step: Step, names: Mapping[int, str]) -> None:
        self._followed, self._step, self._names = followed, step, names
        self._operator = step.place.operator
        self._module = followed.modules.get(step.place.module)

    def all(self) -> Iterator[tuple[str, str, Space]]:
        """The layer that each is charged to, the column and how much."""
        here = self._step.place.module
        for space in self._step.spaces:
            if space.kind == "product":
                yield from self._product(space)
            else:
                layer = self._followed.charged(self._step)
                yield from ((layer, *each) for each in self._visited(space))
        yield from ((here, *each) for each in self._elements())

    def _product(self, space: Space) -> Iterator[tuple[str, str, Space]]:
        layer = self._followed.charged(self._step)
        owner = self._followed.modules.get(layer)
        column = self._column(space, layer, owner)
        yield layer, column, space
        for name, amount in self._beside(column, space, layer, owner):
            yield layer, name, amount

    def _column(self, space: Space, layer: str, owner: nn.Module | None) -> str:
        if self._operator == "convolution":
            return "convolution"
        if self._step.within == "einsum":
            return "einsum"
        if not self._step.weights:
            return "attention" if isinstance(self._module, _ATTENTION) else "free attention"
        if isinstance(owner, _PROJECTIONS):
            return "projection"
        is_function = isinstance(owner, nn.Linear) and self._step.place.module != layer
        return "function linear" if is_function else "linear"

    def _beside(
        self, column: str, space: Space, layer: str, owner: nn.Module | None
    ) -> Iterator[tuple[str, Space]]:
        """What comes with a product: its bias, its outputs, its channels."""
        has_bias = _has_bias(owner) or _has_bias(self._module, "in_proj_bias")
        if column == "convolution":
            yield "convolution outputs", self._made
            if len(self._step.given) > _WITHOUT_BIAS:
                yield "convolution bias", self._made
            else:
                places = self._step.shapes[0][:1] + self._step.shapes[0][2:]
                taps = prod(places) * prod(self._step.given[1][2:])
                yield "convolution pairs", replace(space, constant=space.constant // taps)
        elif column == "projection" and has_bias:
            yield "attention bias", self._made
        elif column == "function linear" and has_bias:
            yield "function linear bias", self._made
        elif column == "linear" and isinstance(owner, nn.Linear):
            yield "linear weights once", self._held(owner, "weight")
            if has_bias:
                yield "linear bias", self._made
                yield "linear bias once", self._held(owner, "bias")

    def _visited(self, space: Space) -> Iterator[tuple[str, Space]]:
        """What is done with each element of a norm, of pooling or of upsampling."""
        yield space.kind, space
        if space.kind.startswith("batch norm"):
            yield "batch norm channels", _channels(self._followed, self._step.place.module)
        if type(self._module) is nn.LayerNorm:  # counters look their rules up by class
            yield "layer norm", space
        if isinstance(self._module, (nn.LayerNorm, _BATCH_NORMS)):
            for name, _ in self._module.named_parameters(recurse=False):
                yield "norm parameters", self._held(self._module, name)
        if "pool" in space.kind:
            yield from self._pooled(space)

    def _pooled(self, space: Space) -> Iterator[tuple[str, Space]]:
        kind = _POOLS.get(type(self._module))
        if kind is None:
            yield "pool functions", space
            return
        yield f"{kind} read", space
        if kind != "nn.MaxPool2d":
            yield f"{kind} made", self._made
        window = getattr(self._module, "kernel_size", None)
        if window is None:  # each element is read for one output
            yield "pool windows", space
        else:
            size = window**2 if isinstance(window, int) else prod(window)
            yield "pool windows", replace(self._made, constant=self._made.constant * size)

    def _elements(self) -> Iterator[tuple[str, Space]]:
        """What is done with each element that is made: activations and parts of attention."""
        kind = _ACTIVATIONS.get(type(self._module))
        if kind is not None and self._operator in _OF_ACTIVATIONS:
            yield kind, self._made
        elif self._operator in _FUNCTIONS:
            yield "activation functions", self._made
        inside = isinstance(self._module, _ATTENTION)
        if self._operator in _SOFTMAX and inside:
            yield "attention softmax", self._made
        elif self._operator in _SOFTMAX and self._step.within != "scaled_dot_product_attention":
            yield "softmax", self._made
        # Queries and keys are scaled by a root each, where others scale the queries.
        if self._operator == "mul" and inside and self._step.turn % 2:
            yield "attention scaling", self._made

    @property
    def _made(self) -> Space:
        """The elements of the result."""
        planes = self._step.planes[0] if self._step.planes else ()
        return space_of(_apart(planes), self._step.shapes[0])

    def _held(self, layer: nn.Module, own: str) -> Space:
        """The elements of a parameter, which may be named after another layer.

        Of one that is computed in each call, those of the tensor that it is computed of.
        """
        tensor = getattr(layer, own)
        # After a cut, what a hook sets is as it was until the next forward.
        alike = (each for each in layer.parameters() if each.dim() == tensor.dim())
        name = self._names.get(id(tensor)) or self._names[id(max(alike, key=Tensor.numel))]
        tensor = self._followed.parameters[name]
        trace, dims = self._followed.trace, range(tensor.dim())
        labelled = [dim for dim in dims if (name, dim) in trace.starts]
        planes = tuple(trace.labels(name, dim) for dim in labelled)
        return Space("", planes, prod(tensor.shape[dim] for dim in dims if dim not in labelled))


_WITHOUT_BIAS = 2
"""Tensors that a convolution takes: what it reads, and its weight."""
_OF_ACTIVATIONS = (*_FUNCTIONS, "hardtanh", "clamp")


def _has_bias(module: nn.Module | None, name: str = "bias") -> bool:
    return getattr(module, name, None) is not None


def _channels(followed: Passed, norm: str, statistics: str = "running_mean") -> Space:
    """The channels of a batch norm; one alone has no label, nor any where none is followed."""
    name = f"{norm}.{statistics}".removeprefix(".")
    if (name, 0) in followed.trace.starts:
        return Space("", (followed.trace.labels(name, 0),), 1)
    return Space("", (), getattr(followed.modules[norm], "num_features", 1))


def _apart(planes: Sequence[Any]) -> list[Any]:
    """Planes that lie along no dimension of another: each position is counted once."""
    found: list[Any] = []
    taken: set[int] = set()
    for plane in planes:
        axes = {axis for axis, size in enumerate(plane.shape) if size > 1}
        if not axes & taken:
            found.append(plane)
            taken |= axes
    return found
