"""Tensors that hold positions of channels, and what operators do with these.

A cut of a channel gives those behind it other positions. Where these look up the same channels
again, or meet the position of every channel, that is no matter: the result lies along the channels.
Used in any other way they are numbers, which a cut changes.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.network.labels import operators
from analysis.network.labels.calls import Call, indexed
from analysis.network.labels.planes import Labels, axes_of, rows_of
from analysis.network.labels.records import Numbered

__all__ = ["Numbers", "follow_numbers", "numbers_of", "places_over"]


Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a tensor holds.

    Attributes:
        rows: the labels of which it holds positions, a row for each place; of each operand that it
            was made of.
        values: what it holds for each position; None if that is made of several, or not known.
        cancels: whether what is the same in several positions may have cancelled out.
        column: along the last dimension, where they are; None if everywhere.
    """

    rows: tuple[Labels, ...]
    values: Values | None
    cancels: bool = False
    column: int | None = None

    @classmethod
    def places(cls, rows: Labels, column: int | None = None) -> "Numbers":
        """The positions themselves."""
        return cls((rows,), np.arange(rows.shape[1], dtype=np.float64), column=column)

    @property
    def row(self) -> Labels | None:
        """The labels of which it holds the positions, where these are the same everywhere."""
        if self.values is None or not (self.values == np.arange(len(self.values))).all():
            return None
        (rows,) = self.rows
        return rows[0] if (rows == rows[0]).all() else None


def numbers_of(value: Any) -> Numbers | None:
    """Positions that a tensor holds."""
    found: Numbers | None = getattr(value, "_numbers", None)
    return found


def places_over(planes: Sequence[Tensor], shape: Sequence[int], dims: Sequence[int]) -> Labels:
    """The labels along dimensions of a tensor, of which an operator says a position.

    Positions over several dimensions count all their elements.
    """
    along = [plane for plane in planes if axes_of(plane) & frozenset(dims)]
    if len(dims) == 1:
        return rows_of(along[0], dims)
    sizes = [size if dim in dims else 1 for dim, size in enumerate(shape)]
    rest = [size for dim, size in enumerate(along[0].shape) if dim not in dims]
    plane = along[0].expand([max(pair) for pair in zip(sizes, along[0].shape, strict=True)])
    return rows_of(plane, dims).reshape(prod(rest), -1)


def follow_numbers(call: Call) -> Iterator[Numbered]:
    """Say which results hold positions of channels, or lie along them, and note what uses these.

    Yields:
        Uses of positions as numbers, or to look up others than their own channels.
    """
    held = {id(value): numbers_of(value) for value in call.operands}
    given = {key: numbers for key, numbers in held.items() if numbers is not None}
    if not given:
        return
    use = _USES.get(call.name)
    if use is None and call.name in operators.MOVED:
        use = _moved
    if use is None and operators.is_pointwise(call.func, call.name):
        use = _calculated
    yield from (use or _used)(call, given)


Given = Mapping[int, Numbers]
Use = Callable[[Call, Given], Iterable[Numbered]]


def _noted(call: Call, rows: Labels, **more: Any) -> Numbered:
    return Numbered(_number(call), rows, **more)


def _number(call: Call) -> int:
    return len(call.meeting.trace.calls) - 1


def _is_constant(call: Call, value: Tensor) -> bool:
    """Whether an operand holds the same for all inputs, and no channels."""
    return not (call.planes_of(value) or call.follows_inputs(value))


def _used(call: Call, given: Given) -> Iterator[Numbered]:
    """As numbers."""
    for numbers in given.values():
        if numbers.column is None:
            values = None if numbers.values is None else numbers.values[:, None]
            for rows in numbers.rows:
                yield _noted(call, rows, values=values, cancels=numbers.cancels)


def _kept(call: Call, given: Given) -> Iterable[Numbered]:
    """Some of them, whatever their positions are: as their order stays, so does the largest."""
    for place in _VALUES.get(call.name, (0,)):
        if place < len(call.made):
            _hold(call.made[place], [given.get(id(value)) for value in call.operands])
    return ()


_VALUES = {"aminmax": (0, 1)}
"""Places of results that hold what the operands hold; the first alone of all others."""


def _hold(
    made: Tensor,
    held: Sequence[Numbers | None],
    *,
    calculated: bool = False,
    cancels: bool = False,
) -> None:
    """A result holds positions that operands hold; None for an operand that holds others."""
    known = [numbers for numbers in held if numbers is not None and numbers.column is None]
    if not known:
        return
    rows = {each.tobytes(): each for numbers in known for each in numbers.rows}
    values = known[0].values
    if len(rows) > 1 or len(known) < len(held) or calculated:
        values = None
    if not all(_are_same(each.values, values) for each in known):
        values = None
    cancels |= any(each.cancels for each in known)
    made._numbers = Numbers(tuple(rows.values()), values, cancels)  # type: ignore[attr-defined]


def _are_same(values: Values | None, others: Values | None) -> bool:
    return values is not None and others is not None and np.array_equal(values, others)


def _beside(call: Call, given: Given) -> Iterable[Numbered]:
    """Several tensors in one, or one or the other."""
    held = [given.get(id(value)) for value in call.operands if value.dtype is not torch.bool]
    _hold(call.made[0], held)
    return ()


def _copied(call: Call, given: Given) -> Iterable[Numbered]:
    _hold(call.made[0], [given.get(id(call.bound["src"]))], calculated=True)
    return ()


def _moved(call: Call, given: Given) -> Iterator[Numbered]:
    first, *others = call.operands
    yield from _addressed(call, [each for each in others if id(each) in given], first, given)
    numbers = given.get(id(first))
    if numbers is None:
        return
    for place, made in enumerate(call.made):
        moved = numbers if numbers.column is None else _of_column(call, numbers, place)
        if moved is not None:
            made._numbers = moved  # type: ignore[attr-defined]


def _of_column(call: Call, numbers: Numbers, place: int) -> Numbers | None:
    """Positions that are in one of several columns, of each of which a result is made."""
    columns = call.step.given[0][-1]
    dim = call.bound.get("dim", 0) % len(call.step.given[0])
    if call.name in ("unbind", "select") and dim == len(call.step.given[0]) - 1:
        column = place if call.name == "unbind" else call.bound["index"] % columns
        return replace(numbers, column=None) if column == numbers.column else None
    return numbers if call.name in operators.SAME else None


def _addressed(
    call: Call, indices: Sequence[Tensor], target: Tensor, given: Given
) -> Iterator[Numbered]:
    """Positions say which elements of a tensor an operator takes, or writes to."""
    for value in indices:
        numbers, dim = given[id(value)], _dimension(call, value, target)
        if dim is not None and numbers.column is None:
            yield from _at(call, numbers, target, dim)


def _dimension(call: Call, index: Tensor, target: Tensor) -> int | None:
    """The dimension along which an operand says where; None where it is of several."""
    if "indices" not in call.bound or call.name == "embedding":
        count = target.dim()
        dim: int = call.bound.get("dim", 0) % max(count, 1)
        return dim if call.name != "take" or count == 1 else None
    return next((dims.start for each, dims in indexed(call) if each is index), None)


def _at(call: Call, numbers: Numbers, target: Tensor, dim: int) -> Iterator[Numbered]:
    """Positions of channels along a dimension of a tensor: are these the same channels?"""
    rows = [rows_of(plane, [dim]) for plane in call.planes_of(target) if dim in axes_of(plane)]
    shared = [row for row in rows if any(np.isin(own, row[row > 0]).any() for own in numbers.rows)]
    own = numbers.row
    if shared and (own is None or shared[0].shape[1] != own.size):
        return  # these in other places, which their labels tell
    if own is not None and rows:
        yield _noted(call, own[None], others=(shared or rows)[0][:1])
        return
    # One that keeps its size holds something else than channels, or all of them.
    place = next(n for n, value in enumerate(call.operands) if value is target)
    of = None if own is None or not _is_constant(call, target) else _rows_of_values(target, dim)
    along = None if target.numel() == target.shape[dim] and of is not None else (place, dim)
    for each in numbers.rows:
        yield _noted(call, each, values=of, along=along, cancels=numbers.cancels)


def _rows_of_values(table: Tensor, dim: int) -> NDArray[Any]:
    rows = table.detach().movedim(dim, 0)
    found: NDArray[Any] = rows.reshape(len(rows), -1).cpu().double().numpy()
    return found


def _looked_up(call: Call, given: Given) -> Iterator[Numbered]:
    table = call.bound["weight"] if call.name == "embedding" else call.operands[0]
    yield from _addressed(call, [each for each in call.operands if id(each) in given], table, given)


def _written(call: Call, given: Given) -> Iterator[Numbered]:
    """Values go to positions: the result lies along the channels."""
    target = call.bound["self"]
    indices = call.bound.get("indices", [call.bound.get("index")])
    named = [each for each in indices if id(each) in given]
    yield from _addressed(call, named, target, given)
    held = [given.get(id(each)) for each in call.operands if all(each is not n for n in named)]
    _hold(call.made[0], held, calculated=True)
    for value in named:
        dim, row = _dimension(call, value, target), given[id(value)].row
        if dim is not None and row is not None:
            _lay(call, row, dim)


def _lay(call: Call, row: Labels, dim: int) -> None:
    """The result has something for each channel along a dimension, if that has as many."""
    made, planes = call.made[0], call.made_planes(0)
    is_known = any(dim in axes_of(plane) for plane in planes)
    if not is_known and made.shape[dim] == row.size > 1:
        call.meeting.trace.laid.append(Numbered(_number(call), row[None], along=(0, dim)))
        sizes = [1] * made.dim()
        sizes[dim] = row.size
        call.put(0, [*planes, torch.from_numpy(row.reshape(sizes).copy())])


def _compared(call: Call, given: Given) -> Iterator[Numbered]:
    """With each other, with the position of every channel, or with numbers."""
    compare = getattr(operator, call.name)
    numbers = [given.get(id(value)) for value in call.operands]
    if len(numbers) == 2 and None not in numbers:
        one, other = (each.row for each in numbers if each is not None)
        if one is not None and other is not None and one.size == other.size:
            yield _noted(call, one[None], others=other[None])
        return
    place = next(n for n, each in enumerate(numbers) if each is not None)
    held = numbers[place]
    assert held is not None
    if len(numbers) == 1:
        other_value = torch.as_tensor(call.bound["other"]).view(1)
    else:
        other_value = call.operands[1 - place]
        dim = _lies_along(call, held, call.operands[place], other_value)
        if dim is not None and held.row is not None:
            _lay(call, held.row, dim)
            return
        if not _is_constant(call, other_value):
            yield from _used(call, given) if held.values is not None else ()
            return
        if held.values is None and other_value.numel() > 1:
            return  # as places that are counted over all images
    turned = place == 1
    yield from _compared_with(
        call, held, (lambda a, b: compare(b, a)) if turned else compare, other_value
    )


def _compared_with(
    call: Call, numbers: Numbers, compare: Callable[[Any, Any], Any], others: Tensor
) -> Iterator[Numbered]:
    """What comes of it for each position: where that is the same for the next, nobody sees it."""
    given = others.detach().cpu().flatten()[None]
    for rows in numbers.rows if numbers.column is None else ():
        found = None
        if numbers.values is not None:
            found = compare(torch.from_numpy(numbers.values)[:, None], given).numpy()
        yield _noted(call, rows, values=found, cancels=numbers.cancels)


def _lies_along(call: Call, numbers: Numbers, value: Tensor, other: Tensor) -> int | None:
    """The dimension of a result along which another tensor holds the position of every channel."""
    row = numbers.row
    if row is None or other.numel() != row.size or not _is_constant(call, other):
        return None
    if not torch.equal(other.flatten().double().cpu(), torch.arange(row.size).double()):
        return None
    dims = call.made[0].dim()
    (dim,) = (n + dims - other.dim() for n, size in enumerate(other.shape) if size > 1)
    own = dim - dims + value.dim()
    return dim if own < 0 or value.shape[own] == 1 else None


def _is_in(call: Call, given: Given) -> Iterator[Numbered]:
    elements, others = call.bound.get("elements"), call.bound.get("test_elements")
    numbers = given.get(id(elements)), given.get(id(others))
    one, other = (each.row if each is not None else None for each in numbers)
    if one is not None and other is not None and one.size == other.size:
        yield _noted(call, one[None], others=other[None])
    elif numbers[0] is None and other is not None and isinstance(elements, Tensor):
        held = numbers[1]
        alone = elements.new_zeros(()).cpu()  # of which every dimension is free
        dim = _lies_along(call, held, alone, elements) if held is not None else None
        if dim is None:
            yield from _used(call, given)
        else:
            _lay(call, other, dim)
    elif numbers[0] is not None and isinstance(others, Tensor) and _is_constant(call, others):
        yield from _compared_with(call, numbers[0], torch.isin, others)
    else:
        yield from _used(call, given)


def _counted(call: Call, given: Given) -> Iterator[Numbered]:
    """How often each channel is named; of as many as the largest position says, little is known."""
    numbers = numbers_of(call.operands[0])
    row = None if numbers is None else numbers.row
    bins = call.bound.get("minlength" if call.name == "bincount" else "bins")
    if row is not None and bins == row.size:
        _lay(call, row, 0)
    elif call.name != "bincount" or numbers is None:
        yield from _used(call, given)


def _calculated(call: Call, given: Given) -> Iterator[Numbered]:
    """With numbers, or with each other; what is made of whole ones may look channels up."""
    made, others = call.made[0], [each for each in call.operands if id(each) not in given]
    if len(given) == 1 and all(_is_constant(call, each) and each.numel() == 1 for each in others):
        found = _made_of(call, given)
        if found is not _UNKNOWN:
            if isinstance(found, Numbers):
                made._numbers = found  # type: ignore[attr-defined]
            return
    if made.is_floating_point() or made.dtype is torch.bool:
        yield from _used(call, given)
        return
    cancels = len(given) > 1 and call.name not in ("add", "mul")
    held = [given.get(id(value)) for value in call.operands]
    _hold(made, held, calculated=True, cancels=cancels)


def _made_of(call: Call, given: Given) -> object:
    """What an operator makes of positions by itself.

    Returns:
        None where these are positions of no channel; `_UNKNOWN` where nobody knows.
    """
    value = next(each for each in call.operands if id(each) in given)
    numbers, by = given[id(value)], call.bound.get("other")
    if isinstance(by, int) and numbers.row is not None:
        shared = _shared_out(call, numbers.row, by)
        if shared is not _UNKNOWN:
            return shared
    if numbers.values is None:
        return _UNKNOWN
    try:
        made = call.run_on({id(value): torch.from_numpy(numbers.values).to(value.dtype)})
    except Exception:  # it takes them in this shape alone
        return _UNKNOWN
    if not isinstance(made, Tensor) or made.numel() != len(numbers.values):
        return _UNKNOWN
    return replace(numbers, values=made.flatten().double().numpy())


def _converted(call: Call, given: Given) -> Iterable[Numbered]:
    """In another type, of which some round."""
    found = _made_of(call, given)
    (numbers,) = given.values()
    made = found if isinstance(found, Numbers) else numbers
    call.made[0]._numbers = made  # type: ignore[attr-defined]
    return ()


_UNKNOWN = object()


def _shared_out(call: Call, row: Labels, by: int) -> object:
    """A position over several dimensions, divided into those along each of them."""
    if by < 1 or row.size % by or call.name not in _DIVIDING:
        return _UNKNOWN
    if call.name == "div" and call.bound.get("rounding_mode") is None:
        return _UNKNOWN
    blocks = row.reshape(-1, by)
    if call.name == "remainder":
        blocks = blocks.T
    if (blocks == blocks[:, :1]).all():
        return Numbers.places(blocks[None, :, 0]) if len(blocks) > 1 else None
    return None if (blocks == blocks[:1]).all() else _UNKNOWN


_DIVIDING = frozenset({"div", "floor_divide", "remainder"})


def _taken(call: Call, given: Given) -> Iterator[Numbered]:
    """Code gets a position, as a number."""
    for numbers in given.values():
        for rows in numbers.rows if numbers.column is None else ():
            yield _noted(call, rows, is_taken=True, cancels=numbers.cancels)


def _left_out(call: Call, given: Given) -> Iterable[Numbered]:
    """Nothing of what they are is in the result."""
    return ()


_USES: Mapping[str, Use] = {
    **dict.fromkeys(
        (
            "amax", "amin", "aminmax", "kthvalue", "masked_select", "max", "maximum", "median",
            "min", "minimum", "mode", "sort", "topk", "_unique2", "unique_consecutive",
            "unique_dim",
        ),
        _kept,
    ),
    **dict.fromkeys(("cat", "stack", "where"), _beside),
    "_to_copy": _converted,
    "copy": _copied,
    **dict.fromkeys(("embedding", "take"), _looked_up),
    **dict.fromkeys(operators.WRITES, _written),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), _compared),
    **dict.fromkeys(("bincount", "histc"), _counted),
    **dict.fromkeys(("cumsum", "prod", "sum"), _calculated),
    **dict.fromkeys((*operators.LIKE, *operators.FACTORIES), _left_out),
    **dict.fromkeys(("_assert_async", "equal", "is_nonzero", "is_same_size", "size"), _left_out),
    operators.ITEM: _taken,
    "isin": _is_in,
}  # fmt: skip
