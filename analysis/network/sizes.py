"""Forward passes of which only sizes matter: convolutions and products are not computed.

What they would make is given as memory of its size, to which nothing is written. Whatever is
computed from that is as wrong, which is no matter as long as nobody looks: where an operator reads
values to decide what it does, or code does, the pass is made again with all that is computed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from analysis.network.inference import FunctionMode, OperatorMode
from analysis.network.operands import tensors_in

__all__ = ["READING", "Run", "SizesOnly", "computed", "running", "sized"]

Run = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]
"""What is done for an operator that is called with these arguments."""

T = TypeVar("T")


class _ValuesNeededError(Exception):
    """What was not computed is looked at."""


def computed(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The operator as it is."""
    return operator(*args, **kwargs)


def sized(work: Callable[["SizesOnly | None"], T]) -> T:
    """What work gives that asks for sizes alone; once more with all values where it needs some.

    Args:
        work: makes everything anew that it changes. It is given what runs its operators, or None
            where these are to be run as they are.

    Raises:
        Exception: whatever the work raises.
    """
    sizes = SizesOnly()
    try:
        found = work(sizes)
    except Exception:
        if not sizes.needed:
            raise
    else:
        if not sizes.needed:  # forward may go on after an error
            return found
    return work(None)


def running(sizes: "SizesOnly | None") -> AbstractContextManager[None]:
    """A block in which operators are run so; None runs them as they are."""
    return nullcontext() if sizes is None else sizes.running()


class SizesOnly:
    """Runs operators but for those that take longest.

    Attributes:
        needed: whether values were looked at that are not computed.
    """

    def __init__(self) -> None:
        self.needed = False
        # Memory of which the values were not computed, or were made of such, by its address. A
        # weak reference keeps that from being given away: a table that is made of a list there,
        # once it is free, would be taken for one of these.
        self._empty: dict[int, StorageWeakRef] = {}

    def run(self, operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What an operator makes, of the sizes that it has."""
        operands = tensors_in((*args, *kwargs.values()))
        empty = [value for value in operands if self.is_empty(value)]
        if empty and _looks(operator, args, kwargs, empty, self.is_empty):
            self.look()
        places = _COSTLY.get(operator)
        if places is not None and (empty or _is_long(args, places[0])):
            result = _sized(operator, places, args, kwargs, operands)
        elif len(operands) == len(empty) == 1 and _is_written_anew(operator):
            result = _written_anew(operator, args, kwargs)
        else:
            result = None
        skipped = result is not None
        if not skipped:
            result = operator(*args, **kwargs)
        for value in tensors_in((result,)) if skipped or empty or self._empty else ():
            self._note(value, skipped or bool(empty))
        return result

    def _note(self, value: Tensor, is_empty: bool) -> None:
        """Note whether the memory of a result has no values."""
        if value.layout is not torch.strided:
            return
        memory = value.untyped_storage()
        if not is_empty:
            self._empty.pop(memory._cdata, None)
        elif memory._cdata not in self._empty:
            self._empty[memory._cdata] = StorageWeakRef(memory)

    def is_empty(self, value: Tensor) -> bool:
        """Whether the values of a tensor were not computed, as far as is known."""
        return (
            bool(self._empty)
            and value.layout is torch.strided
            and value.untyped_storage()._cdata in self._empty
        )

    def look(self) -> None:
        """Values are looked at."""
        self.needed = True
        raise _ValuesNeededError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have PyTorch run its operators here in the block."""
        with _Operators(self), _Functions(self):
            yield


class _Operators(OperatorMode):
    """Has every operator run by `SizesOnly`."""

    def __init__(self, sizes: SizesOnly) -> None:
        super().__init__()
        self._sizes = sizes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._sizes.run(func, args, kwargs or {})


class _Functions(FunctionMode):
    """Sees what reads values and is no operator."""

    def __init__(self, sizes: SizesOnly) -> None:
        super().__init__()
        self._sizes = sizes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READING:
            self._sizes.look()
        return func(*args, **(kwargs or {}))


READING = frozenset(
    {
        Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__, Tensor.data_ptr,
        Tensor.untyped_storage, Tensor.storage,
    }
)  # fmt: skip
"""Functions that hand values to other code than PyTorch's."""

_ATEN = torch.ops.aten
_COSTLY: dict[Any, tuple[int, ...]] = {
    _ATEN.convolution.default: (0,),
    _ATEN.mm.default: (0,),
    _ATEN.addmm.default: (1,),
    _ATEN.bmm.default: (0, 1),
    _ATEN.native_batch_norm.default: (0,),
    _ATEN.max_pool2d_with_indices.default: (0,),
}
"""By operator the places of the operands whose first dimension is that of the result."""


def _is_long(args: Sequence[Any], place: int) -> bool:
    """Whether an operator takes longer than it takes to leave it out."""
    value, weight = args[place], args[place + 1]
    if value.dim() < _BATCHED:
        return True
    taps = weight.numel() if isinstance(weight, Tensor) else value.shape[1]
    return value.numel() // max(value.shape[1], 1) * taps > _SHORT


_SHORT = 2**22
"""Products that are computed in the time of some calls from Python."""

_MATRICES = frozenset({_ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default})
"""Operators whose result lies row by row in memory, however what they are given does."""

_TRAINING = 5
"""The argument of a batch norm that says whether it takes statistics of its input."""


def _sized(
    operator: Any,
    places: Sequence[int],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    operands: Sequence[Tensor],
) -> Any:
    """What has the size of what an operator gives; None where it is to run.

    The operator itself says so, and raises if need be, of no samples at all.
    """
    if operator is _ATEN.native_batch_norm.default and args[_TRAINING]:
        return None
    if kwargs or not all(map(_is_plain, operands)):
        return None
    if operator not in _MATRICES and not all(map(Tensor.is_contiguous, operands)):
        return None
    given, counts = list(args), {args[place].shape[0] for place in places}
    for place in places:
        given[place] = args[place][:0]
    if len(counts) > 1:
        return None
    (count,) = counts
    try:
        made = operator(*given)
    except Exception:
        return None  # with its own sizes it says what is wrong
    if isinstance(made, Tensor):
        return made.new_empty((count, *made.shape[1:]))
    return tuple(
        each if each.dim() < _BATCHED else each.new_empty((count, *each.shape[1:])) for each in made
    )


_BATCHED = 2
"""Dimensions that what has samples has at the least; statistics of channels have one."""


@cache
def _is_written_anew(operator: Any) -> bool:
    """Whether an operator writes each value of its first operand anew, as of an activation."""
    # By its schema: torch.Tag.inplace is younger than the oldest PyTorch that is supported.
    first = operator._schema.arguments[0].alias_info
    return torch.Tag.pointwise in operator.tags and first is not None and first.is_write


def _written_anew(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The operand, to which nothing is written; None where the operator is to run."""
    try:
        operator(args[0][:0], *args[1:], **kwargs)
    except Exception:
        return None
    return args[0]


def _is_plain(value: Tensor) -> bool:
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and value.is_floating_point()
        and value.dim() > 0
    )


def _looks(
    operator: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    empty: Sequence[Tensor],
    is_empty: Callable[[Tensor], bool],
) -> bool:
    """Whether an operator does something else for other values, or keeps them."""
    if _asks(operator) or not all(map(_is_value, empty)):
        return True
    written = (
        args[place] if place < len(args) else kwargs.get(name)
        for place, name in _written_places(operator)
    )
    return not all(map(is_empty, tensors_in(written)))


def _is_value(value: Tensor) -> bool:
    """Whether what is held are no places, counts or truths, by which others are chosen.

    Nor a single number, of which a table of other values may be made.
    """
    return (value.is_floating_point() or value.is_complex()) and value.dim() > 0


@cache
def _asks(operator: Any) -> bool:
    """Whether what an operator makes is of a size, or a number, that depends on values."""
    is_known = operator.namespace == "aten"
    return not is_known or not _DEPENDING.isdisjoint(operator.tags)


_DEPENDING = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})


@cache
def _written_places(operator: Any) -> tuple[tuple[int, str], ...]:
    """The arguments that an operator writes to: their places and names."""
    return tuple(
        (place, argument.name)
        for place, argument in enumerate(operator._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
