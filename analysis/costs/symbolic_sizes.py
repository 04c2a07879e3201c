"""Sizes of traced tensors in terms of the widths of layers (shape inference with symbols).

A trace of the network tells, for each tensor, its shape. Which of these sizes are numbers of
channels, and of whose, is followed from the layers that make channels through the operators
behind them: a mean over positions keeps the channels, a concatenation adds them up, a flattening
multiplies them by the positions, attention's heads divide them. A size that is written into the
model's code is a constant.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from analysis.costs.op_handles import (
    list_of,
)
from analysis.costs.op_handles import shape_of as _shape_of
from analysis.network.layers import is_depthwise, kind_of, makes_channels
from analysis.records import Extent, Meeting

__all__ = [
    "Extents",
    "Rule",
    "Sizes",
    "constant",
    "extents_of",
    "is_transposed",
    "place_of",
    "unknown",
]

Extents = tuple[Extent, ...]


def constant(size: int) -> Extent:
    """A size that no layer's width moves."""
    return Extent(size)


def _width(layer: str, axis: str, size: int, share: Fraction | int = 1) -> Extent:
    """A size that is a share of a layer's width (share 1) or several of it."""
    return Extent(size, (((layer, axis), share),))


def extents_of(modules: Mapping[str, nn.Module], name: str) -> Extents:
    """What the sizes of a parameter or buffer are made of.

    Args:
        modules: all modules of the model, by name.
        name: of the tensor, as in the model's state dict.
    """
    layer, _, part = name.rpartition(".")
    tensor = getattr(modules[layer], part)
    owner = layer.rpartition(".")[0]
    if isinstance(modules.get(owner), nn.MultiheadAttention):
        # Its own forward uses the projection's weights, which are cut with its channels.
        return tuple(_width(owner, "out", size) for size in tensor.shape)
    return _of_tensor(layer, modules[layer], part, tensor)


def _of_tensor(name: str, module: Any, part: str, tensor: Tensor) -> Extents:
    constants = tuple(constant(size) for size in tensor.shape)
    if not tensor.dim() or tensor.numel() == 1:
        return constants
    if kind_of(module) is None:
        return _of_parameter(f"{name}.{part}" if name else part, tensor)
    if isinstance(module, nn.MultiheadAttention):
        return tuple(
            _width(name, "out", size, Fraction(size, module.embed_dim)) for size in tensor.shape
        )
    if tensor.dim() == 1 or not makes_channels(module):
        channels = 0 if is_depthwise(module) else tensor.dim() - 1
        size = tensor.shape[channels]
        return (*constants[:channels], _width(name, "out", size), *constants[channels + 1 :])
    if isinstance(module, nn.Embedding):
        return (constants[0], _width(name, "out", tensor.shape[1]))
    groups = getattr(module, "groups", 1)
    first, second = ("in", "out") if getattr(module, "transposed", False) else ("out", "in")
    return (
        _width(name, first, tensor.shape[0]),
        _width(name, second, tensor.shape[1], Fraction(1, groups) if groups > 1 else 1),
        *constants[2:],
    )


def _of_parameter(name: str, tensor: Tensor) -> Extents:
    """A parameter that no layer owns: torch-pruning cuts its last dimension that is not 1."""
    extents = [constant(size) for size in tensor.shape]
    if isinstance(tensor, nn.Parameter):
        last = max(place for place, size in enumerate(tensor.shape) if size > 1)
        extents[last] = _width(name, "out", tensor.shape[last])
    return tuple(extents)


class Sizes:
    """Follows the sizes of one trace.

    Args:
        held: for the name of a value that is a tensor of the model's own, what its sizes are made
            of; None for any other.
        rule_of: for the kind of an operator, what its sizes are made of; see
            `analysis.costs.size_rules`.
    """

    def __init__(
        self,
        held: Callable[[str], Extents | None],
        rule_of: "Callable[[str], Rule]",
    ) -> None:
        self._held = held
        self._rule_of = rule_of
        self._known: dict[str, Extents] = {}
        self._meetings: dict[tuple[Extent, Extent], str] = {}
        self._splits: dict[Extent, str] = {}
        self.node: Any = None

    def meet(self, node: Any, one: Extent, other: Extent) -> None:
        """Note that an operator needs two sizes to be equal."""
        pair = one, other
        if one == other or one.hidden or other.hidden or pair in self._meetings:
            return
        if one.varies or other.varies:
            self._meetings[pair] = place_of(node)

    def split(self, node: Any, part: Extent) -> None:
        """Note a size that is a part of one that was split, and must stay whole."""
        if part.parts and part not in self._splits:
            self._splits[part] = place_of(node)

    @property
    def splits(self) -> tuple[tuple[str, Extent], ...]:
        """All sizes that were split off, with the operator that does."""
        return tuple((where, extent) for extent, where in self._splits.items())

    @property
    def meetings(self) -> tuple[Meeting, ...]:
        """All sizes that were seen to meet."""
        return tuple(Meeting(where, *pair) for pair, where in self._meetings.items())

    def of(self, value: Any) -> Extents:
        """What each size of a tensor in the trace is made of; empty for what is no tensor."""
        name = value.debugName()
        if name not in self._known:
            shape = _shape_of(value)
            made = () if shape is None else self._held(name) or self._made(value, shape)
            self._known[name] = made
        return self._known[name]

    def _made(self, value: Any, shape: tuple[int, ...]) -> Extents:
        node = value.node()
        if node.kind() in ("prim::ListUnpack", "prim::TupleUnpack"):
            node = next(node.inputs()).node()
        inputs = list(node.inputs())
        rule = self._rule_of(node.kind())
        for operand in (value for each in inputs for value in (each, *list_of(each))):
            self.of(operand)
        self.node = node  # set by now for good: what the operands come from is known
        made = rule(self, inputs, shape)
        if made is None or tuple(extent.size for extent in made) != shape:
            made = tuple(map(unknown, shape))
        if not any(extent.hidden is _HERE for extent in made):
            return made
        # What comes of constants alone is constant, whatever the operator.
        operands = [value for each in inputs for value in (each, *list_of(each))]
        varies = any(extent.varies for value in operands for extent in self.of(value))
        where = place_of(node)
        return tuple(
            extent
            if extent.hidden is not _HERE
            else unknown(extent.size, where)
            if varies
            else constant(extent.size)
            for extent in made
        )

    def joined(self, candidates: Sequence[Extent], size: int) -> Extent:
        """The size of an elementwise result: an operand's that follows a width, if there is one."""
        same = [extent for extent in candidates if extent.size == size]
        varying = [extent for extent in same if extent.varies]
        chosen = next(
            (extent for extent in varying if not extent.hidden),
            varying[0] if varying else constant(size),
        )
        for extent in same if size > 1 else ():
            self.meet(self.node, chosen, extent)
        return chosen


Rule = Callable[[Sizes, Sequence[Any], tuple[int, ...]], Extents | None]

_HERE = "here"
"""Marks a size that a rule cannot follow; the operator's name is put in its place."""


def unknown(size: int, where: str = _HERE) -> Extent:
    """A size of which a rule cannot tell what it is made of."""
    return Extent(size, (), where)


def is_transposed(inputs: Sequence[Any]) -> bool:
    """Whether a convolution's weight holds what it reads before what it makes."""
    flag = inputs[6].toIValue() if len(inputs) > 6 else False
    return flag is True


def place_of(node: Any) -> str:
    """An operator of a trace and the module that calls it, in words."""
    module = node.scopeName().split("/")[-1]
    operator = node.kind().split("::")[-1]
    return f"operator {operator} in " + (f"`{module}`" if module else "the model's own forward")
