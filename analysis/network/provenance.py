"""Which channel feeds which, by running the network, not by rules for its operators.

Each channel that a layer makes is given a number, and its output is set to NaN in those items of
a batch that spell the number in binary, and its complement: 2 * bits items, one forward pass.
NaN survives whatever treats channels alone, in any order, so each layer further on reads off
which number arrives on which of its input channels. One of each pair of items is NaN: that
channel. None: nothing arrives. Both: more than one channel arrives.

Layers that mix channels stop the code, as do products of activations; an operator that spreads
it over channels (a softmax, a mean over channels) is noted, and the code is put back where it
was, so that the order of channels is still seen behind it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.network.inference import Inputs, forward, holds_nan, map_tensors, module_scope, walk
from analysis.network.layers import PRODUCTS, READS, has_own_forward, kind_of, makes_channels

__all__ = ["JOINED", "Flow", "Mixing", "trace_channels"]

JOINED = -2
"""More than one numbered channel arrives."""

_NOTHING = -1


@dataclass(frozen=True)
class Mixing:
    """An operator that spreads channels over others, and the module whose forward calls it."""

    module: str
    operator: str


@dataclass
class Flow:
    """What arrived where, in the order of the calls.

    Attributes:
        events: for each call of a layer, its name and the number that arrives on each of its
            input channels (None: nothing, `JOINED`: more than one); among them, each `Mixing`.
    """

    events: list[tuple[str, tuple[int | None, ...]] | Mixing] = field(default_factory=list)

    def arrivals(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        """The calls of layers alone."""
        for event in self.events:
            if not isinstance(event, Mixing):
                yield event


def trace_channels(
    model: nn.Module, inputs: Inputs, numbers: Mapping[str, Sequence[int | None]]
) -> Flow:
    """Follow numbered channels through a network, in one forward pass.

    A network that does not take a batch of another size is run once for each item instead; one
    that raises on NaN gives an empty flow.

    Args:
        model: in eval mode; not changed.
        inputs: example inputs; their first item is used.
        numbers: for each layer that is followed, the number of each of its output channels; None
            for a channel that is not followed.
    """
    greatest = max((n for row in numbers.values() for n in row if n is not None), default=0)
    bits = max(greatest.bit_length(), 1)
    at_once = max(min(_AT_ONCE // _elements(inputs), bits), 1)
    chunks = [range(2 * i, 2 * min(i + at_once, bits)) for i in range(0, bits, at_once)]
    try:
        parts = [
            _Pass(model, numbers, items).run(_repeated(inputs, len(items))) for items in chunks
        ]
    except _NotBatchedError:
        try:
            parts = [_Pass(model, numbers, [item]).run(inputs) for item in range(2 * bits)]
        except _NotBatchedError:
            return Flow()
    return _joined(parts)


_AT_ONCE = 2**20
"""Elements of the inputs of one pass, for each bit; larger networks are run in several."""


def _elements(inputs: Inputs) -> int:
    return max(sum(tensor[:1].numel() for tensor in walk(inputs) if tensor.dim()), 1)


class _NotBatchedError(Exception):
    """The network does not carry the items of the code along its first axis."""


def _repeated(inputs: Inputs, count: int) -> Inputs:
    sizes = {tensor.shape[0] for tensor in walk(inputs) if tensor.dim()}
    if len(sizes) != 1:
        raise _NotBatchedError

    def repeat(tensor: Tensor) -> Tensor:
        return tensor[:1].expand(count, *tensor.shape[1:]).clone() if tensor.dim() else tensor

    repeated: Inputs = map_tensors(inputs, repeat)
    return repeated


def _joined(parts: Sequence[list[Any]]) -> Flow:
    """One flow from the passes: the same calls in the same order, each with some of the items."""
    flow = Flow()
    marks = [[event for event in part if not isinstance(event, Mixing)] for part in parts]
    for event in parts[0]:
        if isinstance(event, Mixing):
            flow.events.append(event)
            continue
        calls = [part.pop(0) for part in marks if part]
        if len(calls) < len(parts):
            break  # the forward took another way for other values
        rows = torch.cat([rows for _, rows in calls])
        flow.events.append((event[0], _decoded(rows.view(-1, 2, rows.shape[1]))))
    return flow


def _decoded(marks: Tensor) -> tuple[int | None, ...]:
    """Numbers from marks of shape (bits, 2, channels): the bit is 1, the bit is 0."""
    ones, zeros = marks[:, 0], marks[:, 1]
    weights = 2 ** torch.arange(len(marks), device=marks.device).view(-1, 1)
    numbers = (ones * weights).sum(0)
    numbers[~(ones | zeros).any(0)] = _NOTHING
    numbers[(ones & zeros).any(0)] = JOINED
    return tuple(None if number == _NOTHING else number for number in numbers.tolist())


class _Pass:
    """One forward pass with the items of the code that the batch holds.

    Its events are `Mixing`, and for each call of a layer its name and whether each item marks each
    input channel, shape (items, channels).
    """

    def __init__(
        self,
        model: nn.Module,
        numbers: Mapping[str, Sequence[int | None]],
        items: Sequence[int],
    ) -> None:
        self._model = model
        self._items = items
        self._events: list[Any] = []
        self._codes = {name: self._code(row) for name, row in numbers.items()}

    def _code(self, numbers: Sequence[int | None]) -> Tensor:
        """Whether each item marks each channel: item 2i where bit i is 1, 2i + 1 where it is 0."""
        followed = torch.tensor([number is not None for number in numbers])
        values = torch.tensor([number or 0 for number in numbers])
        rows = [((values >> item // 2) % 2 == 1 - item % 2) & followed for item in self._items]
        return torch.stack(rows)

    def run(self, inputs: Inputs) -> list[Any]:
        with (
            self._hooked(),
            module_scope(self._model) as scope,
            torch.no_grad(),
            _Mixings(self._events, scope, len(self._items)),
        ):
            try:
                forward(self._model, inputs)
            except Exception as error:
                # Another size of batch, or NaN, is not what every forward can take.
                raise _NotBatchedError from error
        return self._events

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        handles = []
        for name, layer in self._model.named_modules():
            kind = kind_of(layer)
            if kind is None or not (kind.mixes or has_own_forward(layer)):
                continue
            stops = makes_channels(layer)
            read, passed_on = self._reader(name, kind.axis(layer), stops)
            handles.append(layer.register_forward_pre_hook(read, with_kwargs=True))
            if not stops:
                handles.append(layer.register_forward_hook(passed_on))
            if name in self._codes:
                marker = self._marker(name, kind.axis(layer))
                handles.append(layer.register_forward_hook(marker))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _reader(self, name: str, axis: int, stops: bool) -> tuple[Any, Any]:
        """Hooks that note what arrives, keep it out of the sums, and put it back behind them."""
        pending: list[Tensor] = []

        def read(_layer: nn.Module, args: Any, kwargs: Any) -> Any:
            values = [*args, *kwargs.values()]
            inputs = next((value for value in values if isinstance(value, Tensor)), None)
            if inputs is None or not inputs.is_floating_point():
                return None
            marked = inputs.isnan()
            self._events.append((name, self._arrived(marked, axis)))
            pending.append(marked)

            def clean(value: Any) -> Any:
                return torch.nan_to_num(value) if isinstance(value, Tensor) else value

            return tuple(map(clean, args)), {key: clean(value) for key, value in kwargs.items()}

        def pass_on(_layer: nn.Module, _args: Any, output: Any) -> Any:
            marked = pending.pop() if pending else None
            if marked is None or not isinstance(output, Tensor):
                return None
            if marked.shape != output.shape:  # a depthwise convolution moves positions
                channels = marked.movedim(axis, 1).flatten(2).any(2)
                if channels.shape[1] != output.shape[axis]:
                    return None
                marked = _spread(channels, output.dim(), axis)
            return output.masked_fill(marked, torch.nan)

        return read, pass_on

    def _arrived(self, marked: Tensor, axis: int) -> Tensor:
        items = len(self._items)
        if items > 1 and (marked.dim() < 2 or len(marked) % items):
            raise _NotBatchedError
        channels = marked.movedim(axis, -1)
        return channels.reshape(items, -1, channels.shape[-1]).any(1)

    def _marker(self, name: str, axis: int) -> Callable[..., Any]:
        code = self._codes[name]

        def mark(_layer: nn.Module, _args: Any, output: Any) -> Any:
            tensor = output if isinstance(output, Tensor) else output[0]
            if len(tensor) % len(code) or tensor.shape[axis] != code.shape[1]:
                raise _NotBatchedError
            rows = code.repeat_interleave(len(tensor) // len(code), 0).to(tensor.device)
            marked = tensor.masked_fill(_spread(rows, tensor.dim(), axis), torch.nan)
            return marked if isinstance(output, Tensor) else (marked, *output[1:])

        return mark


def _spread(rows: Tensor, dims: int, axis: int) -> Tensor:
    """Marks of shape (items, channels) with an axis of size 1 for every other axis."""
    shape = [1] * dims
    shape[0], shape[axis] = rows.shape
    return rows.view(shape)


_NEVER_MIX = frozenset(
    {
        "__get__", "any", "expand", "flatten", "isnan", "masked_fill", "movedim", "nan_to_num",
        "permute", "repeat_interleave", "reshape", "transpose", "view",
    }
)  # fmt: skip
"""Functions that move values and never join them; they need no look at what they return."""


class _Mixings(TorchFunctionMode):
    """Notes operators behind which a channel carries more numbers than any before had."""

    def __init__(self, events: list[Any], scope: list[str], items: int) -> None:
        super().__init__()
        self._events = events
        self._scope = scope
        self._items = items

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if self._items < 2 or name in _NEVER_MIX or name.endswith("_"):
            return result
        if not any(map(self._joins, walk(result))):
            return result
        operands = [value for value in walk((args, kwargs)) if holds_nan(value)]
        if any(map(self._joins, operands)):
            return result

        def with_code_of(chosen: Tensor | None) -> Any:
            """The function's result when only one operand carries its code."""

            def code_of_chosen(value: Tensor) -> Tensor:
                return value if value is chosen else _cleaned(value)

            some_args, some_kwargs = map_tensors((args, kwargs), code_of_chosen)
            return func(*some_args, **some_kwargs)

        alone = [with_code_of(operand) for operand in operands]
        orderly = [part for part in alone if not any(map(self._joins, walk(part)))]
        if len(orderly) == len(alone):
            return result  # a sum of two channels, each in its place
        reads = func in PRODUCTS or func in READS
        if not reads:
            self._events.append(Mixing(self._scope[-1] if self._scope else "", name))
        if orderly:
            return orderly[-1]
        clean = with_code_of(None)
        if not reads and isinstance(clean, Tensor) and clean.shape == operands[0].shape:
            return clean.masked_fill(operands[0].isnan(), torch.nan)
        return clean

    def _joins(self, tensor: Tensor) -> bool:
        """Whether any element is marked both where a bit of a number is 1 and where it is 0."""
        if not tensor.is_floating_point() or not tensor.dim() or tensor.shape[0] % self._items:
            return False
        marks = tensor.isnan()
        if not bool(marks.any()):
            return False
        pairs = marks.reshape(self._items // 2, 2, -1)
        return bool((pairs[:, 0] & pairs[:, 1]).any())


def _cleaned(tensor: Tensor) -> Tensor:
    return torch.nan_to_num(tensor) if tensor.is_floating_point() else tensor
