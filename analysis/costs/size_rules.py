"""What the sizes of each operator's result are made of: a rule for each kind of operator."""

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

from analysis.costs.op_handles import (
    CONVOLUTIONS,
    NORMALIZATIONS,
    PRODUCTS,
    einsum_letters,
    list_of,
)
from analysis.costs.op_handles import shape_of as _shape_of
from analysis.costs.symbolic_sizes import Extents, Rule, Sizes, constant, is_transposed, unknown
from analysis.records import Extent

__all__ = ["rule_of"]


def _integers(value: Any) -> list[int | None]:
    """Numbers among an operator's arguments; None for one that is computed."""
    if value.node().kind() == "prim::ListConstruct":
        return [number for each in value.node().inputs() for number in _integers(each)]
    number = value.toIValue() if value.node().kind() == "prim::Constant" else None
    if isinstance(number, list):
        return list(number)
    return [number if isinstance(number, int) and not isinstance(number, bool) else None]


def _like_the_operands(
    sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]
) -> Extents | None:
    """Elementwise, with broadcasting; else position by position, like the first operand."""
    operands = [sizes.of(value) for value in inputs if _shape_of(value)]
    if not operands:
        return None
    if all(
        len(operand) <= len(shape)
        and all(e.size in (1, size) for e, size in zip(operand[::-1], shape[::-1], strict=False))
        for operand in operands
    ):
        return tuple(
            sizes.joined([operand[-place] for operand in operands if len(operand) >= place], size)
            for place, size in zip(range(len(shape), 0, -1), shape, strict=True)
        )
    return _position_by_position(sizes, inputs, shape)


def _position_by_position(
    sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]
) -> Extents | None:
    """Sizes that stay are the first operand's; of those that change only constants are known."""
    first = sizes.of(next(value for value in inputs if _shape_of(value)))
    if len(first) != len(shape):
        return None
    return tuple(
        extent if extent.size == size else unknown(size) if extent.varies else constant(size)
        for extent, size in zip(first, shape, strict=True)
    )


def _convolved(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    """(N, out, *positions); the weight is (out, in / groups, *taps), transposed the other way."""
    images, weight = sizes.of(inputs[0]), sizes.of(inputs[1])
    made = weight[0]
    if is_transposed(inputs) and weight[1].varies:
        made = weight[1].times(Fraction(shape[1], weight[1].size))
    keeps = set(_integers(inputs[3])) == {1}
    positions = [
        constant(size)
        if not before.varies
        else before
        if keeps and before.size == size
        else unknown(size)
        for before, size in zip(images[2:], shape[2:], strict=True)
    ]
    return (images[0], made, *positions)


def _linear(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    return (*sizes.of(inputs[0])[:-1], sizes.of(inputs[1])[0])


def _product(first: int, second: int) -> Rule:
    def rule(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
        a, b = sizes.of(inputs[first]), sizes.of(inputs[second])
        rows = a[-2:-1] if len(a) > 1 else ()
        columns = b[-1:] if len(b) > 1 else ()
        batch = shape[: len(shape) - len(rows) - len(columns)]
        stacks = [operand[:-2] for operand in (a, b)]
        joined = [
            sizes.joined([stack[-place] for stack in stacks if len(stack) >= place], size)
            for place, size in zip(range(len(batch), 0, -1), batch, strict=True)
        ]
        return (*joined, *rows, *columns)

    return rule


def _inner(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    return (*sizes.of(inputs[0])[:-1], *sizes.of(inputs[1])[:-1])


def _attention(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    return (*sizes.of(inputs[0])[:-1], sizes.of(inputs[2])[-1])


def _einsum(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    try:
        operands, result = einsum_letters(inputs)
    except ValueError:
        return None
    found: dict[str, Extent] = {}
    for letters, value in zip(operands, list_of(inputs[1]), strict=True):
        for letter, extent in zip(letters, sizes.of(value), strict=True):
            if letter not in found or extent.varies:
                found[letter] = extent
    return tuple(found[letter] for letter in result)


def _embedded(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    return (*sizes.of(inputs[1]), sizes.of(inputs[0])[-1])


def _parts(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """Equal parts of a dimension; what a number in the model's code cuts off stays as large."""
    extents = sizes.of(inputs[0])
    place = _integers(inputs[2])[0] if len(inputs) > 2 else 0
    if place is None or len(extents) != len(shape):
        return None
    whole, size = extents[place], shape[place]
    by_size = sizes.node.kind() in ("aten::split", "aten::split_with_sizes")
    numbers = _integers(inputs[1]) if by_size else []
    return (*extents[:place], _part(sizes, whole, size, numbers), *extents[place + 1 :])


def _part(sizes: Sizes, whole: Extent, size: int, numbers: Sequence[int | None]) -> Extent:
    if not whole.varies:
        return constant(size)
    if numbers and None not in numbers:
        sizes.meet(sizes.node, whole, constant(whole.size))
        return constant(size)
    if whole.size % size or len(numbers) > 1:
        return unknown(size)
    part = whole.times(Fraction(size, whole.size))
    sizes.split(sizes.node, part)
    return part


_LAST = 2**62
"""More than any index: a slice up to it goes to the end."""


def _sliced(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """What is cut off by a number in the model's code stays as large; the rest follows."""
    extents = sizes.of(inputs[0])
    place, start, end, step = (_integers(value)[0] for value in inputs[1:5])
    if place is None or len(extents) != len(shape):
        return None
    whole, size = extents[place], shape[place]
    start = 0 if inputs[2].node().mustBeNone() else start
    end = _LAST if inputs[3].node().mustBeNone() else end
    if not whole.varies or (size == whole.size and step == 1 and start == 0 and end == _LAST):
        part = whole if whole.varies else constant(size)
    elif start is None or end is None or step != 1:
        part = unknown(size)
    elif start >= 0 and (end < 0 or end >= _LAST):
        part = Extent(size, whole.parts, whole.hidden)  # all but some
    elif (start < 0 and end < _LAST) or (start >= 0 and end >= 0):
        part = constant(size)
    else:
        part = constant(size) if start < 0 else unknown(size)
    return (*extents[:place], part, *extents[place + 1 :])


def _narrowed(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    extents = sizes.of(inputs[0])
    place, length = _integers(inputs[1])[0], _integers(inputs[3])[0]
    if place is None:
        return None
    written = length is not None or not extents[place].varies
    part = constant(shape[place]) if written else unknown(shape[place])
    return (*extents[:place], part, *extents[place + 1 :])


def _indexed(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """Numbers of channels in a tensor: there must be as many channels as they were made for."""
    extents = sizes.of(inputs[0])
    if len(extents) != len(shape):
        return None
    if sizes.node.kind() == "aten::index":
        indices = list_of(inputs[1])
        places = [p for p, value in enumerate(indices) if _shape_of(value) is not None]
    else:
        places = [place for place in _integers(inputs[1]) if place is not None]
    for place in places:
        sizes.meet(sizes.node, extents[place], constant(extents[place].size))
    chosen = {place % len(extents) for place in places}
    return tuple(
        constant(size) if place in chosen else extent
        for place, (extent, size) in enumerate(zip(extents, shape, strict=True))
    )


def _shuffled(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """Channels to positions, or back: (..., C, H, W)."""
    extents = sizes.of(inputs[0])
    if any(extent.varies for extent in extents[-2:]):
        return None
    channels = extents[-3].times(Fraction(shape[-3], extents[-3].size))
    sizes.split(sizes.node, channels)
    return (*extents[:-3], channels, *map(constant, shape[-2:]))


def _permuted(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    extents, order = sizes.of(inputs[0]), _integers(inputs[1])
    return tuple(extents[place] for place in order if place is not None)


def _transposed(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    extents = list(sizes.of(inputs[0]))
    places = [_integers(value)[0] for value in inputs[1:3]] or [0, -1]
    first, second = places if len(extents) > 1 else (0, 0)
    if first is None or second is None:
        return None
    extents[first], extents[second] = extents[second], extents[first]
    return tuple(extents)


def _moved(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    extents = sizes.of(inputs[0])
    rank = len(extents)
    source, target = ([(n or 0) % rank for n in _integers(value)] for value in inputs[1:3])
    rest = iter(place for place in range(rank) if place not in source)
    goes = dict(zip(target, source, strict=True))
    return tuple(extents[goes[place] if place in goes else next(rest)] for place in range(rank))


def _matrix_transposed(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    *batch, rows, columns = sizes.of(inputs[0])
    return (*batch, columns, rows)


def _reversed(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    return sizes.of(inputs[0])[::-1]


def _concatenated(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    parts = [extents for value in list_of(inputs[0]) if (extents := sizes.of(value))]
    place = _integers(inputs[1])[0]
    if place is None or not parts:
        return None
    joined = [
        sizes.joined([part[index] for part in parts], size) for index, size in enumerate(shape)
    ]
    joined[place] = sum((part[place] for part in parts[1:]), parts[0][place])
    return tuple(joined)


def _stacked(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    parts = [sizes.of(value) for value in list_of(inputs[0])]
    place = _integers(inputs[1])[0]
    if place is None:
        return None
    place %= len(shape)
    each = [sizes.joined(same, same[0].size) for same in zip(*parts, strict=True)]
    return (*each[:place], constant(shape[place]), *each[place:])


def _expanded(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents:
    """Sizes of 1 become the numbers given, or the sizes of another tensor."""
    extents, like = sizes.of(inputs[0]), sizes.of(inputs[1])
    new = len(shape) - len(extents)
    numbers = list_of(inputs[1]) if not like else []
    return tuple(
        extents[place - new]
        if place >= new and extents[place - new].size == size
        else like[place]
        if like
        else _number(sizes, numbers[place], size)
        if len(numbers) == len(shape)
        else unknown(size)
        for place, size in enumerate(shape)
    )


def _number(sizes: Sizes, value: Any, size: int) -> Extent:
    """A number among an operator's arguments: written, or the size of a tensor."""
    while value.node().kind() in ("aten::Int", "prim::NumToTensor"):
        value = next(value.node().inputs())
    node = value.node()
    if node.kind() == "prim::Constant":
        return constant(size)
    if node.kind() == "aten::size":
        inputs = list(node.inputs())
        place = _integers(inputs[1])[0]
        if place is not None:
            return sizes.of(inputs[0])[place]
    return unknown(size)


def _created(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """A new tensor, of the sizes given."""
    numbers = next((list_of(value) for value in inputs[:2] if list_of(value)), [])
    if len(numbers) != len(shape):
        return None
    return tuple(_number(sizes, *pair) for pair in zip(numbers, shape, strict=True))


def _selected(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """One entry of a dimension, which goes."""
    extents = sizes.of(inputs[0])
    place = _integers(inputs[1])[0]
    if place is None:
        return None
    place %= len(extents)
    return (*extents[:place], *extents[place + 1 :])


def _reduced(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """A mean, a sum, a maximum over some dimensions, which become 1 or go."""
    if len(inputs) > 1 and _shape_of(inputs[1]) is not None:
        return _like_the_operands(sizes, inputs, shape)  # the larger of two tensors
    extents = sizes.of(inputs[0])
    lists = [value for value in inputs[1:] if value.node().kind() == "prim::ListConstruct"]
    places = {
        number % len(extents)
        for value in (lists or inputs[1:2])
        for number in _integers(value)
        if number is not None
    } or set(range(len(extents)))
    if len(shape) == len(extents):
        return tuple(constant(1) if i in places else e for i, e in enumerate(extents))
    return tuple(extent for place, extent in enumerate(extents) if place not in places)


def _reshaped(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    """Neighbouring sizes merge or split; a number in the model's code does not follow a width."""
    written = [False] * len(shape)
    if len(inputs) > 1 and inputs[1].node().kind() == "prim::ListConstruct":
        numbers = _integers(inputs[1])
        if len(numbers) == len(shape):
            written = [number is not None and number != -1 for number in numbers]
    return _regrouped(sizes, sizes.of(inputs[0]), shape, written)


def _unflattened(sizes: Sizes, inputs: Sequence[Any], shape: tuple[int, ...]) -> Extents | None:
    extents = sizes.of(inputs[0])
    place, numbers = _integers(inputs[1])[0], _integers(inputs[2])
    if place is None:
        return None
    place %= len(extents)
    written = [False] * len(shape)
    written[place : place + len(numbers)] = [n is not None and n != -1 for n in numbers]
    return _regrouped(sizes, extents, shape, written)


def _regrouped(
    sizes: Sizes, extents: Extents, shape: tuple[int, ...], written: Sequence[bool]
) -> Extents | None:
    result: list[Extent] = []
    before, after = list(extents), list(zip(shape, written, strict=True))
    while before or after:
        merged, split = before[:1], after[:1]
        del before[:1], after[:1]
        while prod(e.size for e in merged) != prod(size for size, _ in split):
            smaller = prod(e.size for e in merged) < prod(size for size, _ in split)
            source: list[Any] = before if smaller else after
            if not source:
                return None
            (merged if smaller else split).append(source.pop(0))
        result += _exchanged(sizes, merged, split)
    return tuple(result)


def _exchanged(
    sizes: Sizes, merged: Sequence[Extent], split: Sequence[tuple[int, bool]]
) -> list[Extent]:
    """Sizes with the same product as the merged ones; one of them follows what varies."""
    varying = [extent for extent in merged if extent.varies]
    if not varying:
        return [constant(size) for size, _ in split]
    if len(varying) > 1:
        return [unknown(size) for size, _ in split]
    whole = [place for place, (size, _) in enumerate(split) if size == varying[0].size]
    free = [place for place, (_, is_written) in enumerate(split) if not is_written]
    # Heads come before the channels of a head, so the last size that is free is that of channels.
    choice = [place for place in free if place in whole] or [p for p in free if split[p][0] > 1]
    follows = choice[-1] if choice else None
    result = [constant(size) for size, _ in split]
    if follows is not None:
        size = split[follows][0]
        result[follows] = varying[0].times(Fraction(size, varying[0].size))
        sizes.split(sizes.node, result[follows])
    return result


_RULES: dict[str, Rule] = {
    **dict.fromkeys(CONVOLUTIONS, _convolved),
    **dict.fromkeys((*NORMALIZATIONS, "aten::rms_norm", "aten::prelu"), _position_by_position),
    **{operator: _product(rule.first, rule.second) for operator, rule in PRODUCTS.items()},
    "aten::linear": _linear,
    "aten::inner": _inner,
    "aten::scaled_dot_product_attention": _attention,
    "aten::einsum": _einsum,
    "aten::embedding": _embedded,
    "aten::permute": _permuted,
    **dict.fromkeys(("aten::transpose", "aten::swapaxes", "aten::swapdims"), _transposed),
    "aten::movedim": _moved,
    "aten::moveaxis": _moved,
    **dict.fromkeys(("aten::mT", "aten::adjoint", "aten::mH"), _matrix_transposed),
    **dict.fromkeys(("aten::t", "aten::numpy_T"), _reversed),
    "aten::cat": _concatenated,
    "aten::concat": _concatenated,
    "aten::stack": _stacked,
    "aten::expand": _expanded,
    "aten::expand_as": _expanded,
    **{
        f"aten::{name}": _created
        for name in (
            "empty", "full", "new_empty", "new_full", "new_ones", "new_zeros", "ones", "rand",
            "randn", "zeros",
        )
    },
    "aten::select": _selected,
    **dict.fromkeys(
        ("aten::chunk", "aten::split", "aten::split_with_sizes", "aten::tensor_split"), _parts
    ),
    "aten::slice": _sliced,
    "aten::narrow": _narrowed,
    **dict.fromkeys(("aten::index", "aten::index_select"), _indexed),
    **dict.fromkeys(("aten::pixel_shuffle", "aten::pixel_unshuffle"), _shuffled),
    "aten::unbind": _selected,
    **{
        f"aten::{name}": _reduced
        for name in (
            "all", "amax", "amin", "any", "argmax", "argmin", "linalg_vector_norm", "logsumexp",
            "max", "mean", "median", "min", "prod", "std", "sum", "var",
        )
    },
    **{
        f"aten::{name}": _reshaped
        for name in (
            "_unsafe_view", "contiguous", "flatten", "ravel", "reshape", "reshape_as", "squeeze",
            "unsqueeze", "view", "view_as",
        )
    },
    "aten::unflatten": _unflattened,
}  # fmt: skip
"""By operator; any other works element by element, or keeps its first operand's sizes."""


def rule_of(kind: str) -> Rule:
    """What the sizes of a result are made of, for the kind of an operator."""
    return _RULES.get(kind, _like_the_operands)
