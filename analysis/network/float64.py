"""Running a network in float64, in which the proof is made.

A forward pass that asks for single precision by name (``x.float()``) gets double precision as
well, and what it brings along in a shorter type (a kernel of its own module) is widened where it is
used. So are the large weights of plain layers, which would else take most of the memory.

Depthwise convolutions take another route: in float64 torch runs them as one call for each channel,
which takes most of MobileNetV2's time; adding up the shifted inputs, tap by tap, computes the same
sums two to twenty times as fast, the more the smaller images are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.network.inference import FunctionMode
from analysis.network.modules import named_modules
from analysis.processes import budgets

__all__ = ["in_float64", "widened"]

_WIDER = {
    **dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64),
    **dict.fromkeys((torch.complex64, torch.complex32), torch.complex128),
}
"""The replacement of each shorter type."""

_CASTS = frozenset({Tensor.float, Tensor.half, Tensor.bfloat16})


@contextmanager
def in_float64(model: nn.Module) -> Iterator[None]:
    """Compute in float64 inside the block; afterwards every tensor is restored.

    Far cheaper than a converted copy: copying a module costs more than running it once.
    """
    modules = [*named_modules(model).values()]
    owned = {
        each: None
        for module in modules
        for each in module._parameters.values()
        if each is None or not _is_widened_where_used(module, each)
    }
    parameters = [(each, each.data) for each in owned if each is not None]
    buffers = [
        (module._buffers, name, buffer)
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    default = torch.get_default_dtype()
    try:
        for parameter, data in parameters:
            parameter.data = widened(data)
        for own, name, buffer in buffers:
            wider = widened(buffer)
            own[name] = buffer.clone() if wider is buffer else wider  # forward may write to it
        torch.set_default_dtype(torch.float64)
        with _Double():
            yield
    finally:
        with budgets.undisturbed():
            torch.set_default_dtype(default)
            for parameter, data in parameters:
                parameter.data = data
            for own, name, buffer in buffers:
                own[name] = buffer


def _is_widened_where_used(module: nn.Module, parameter: Tensor) -> bool:
    """Whether a weight is large, and nothing but its layer's own forward uses it.

    A lookup writes to rows that are held to a norm.
    """
    is_plain = type(module) in _PLAIN and getattr(module, "max_norm", None) is None
    return is_plain and parameter.numel() >= _LARGE


_PLAIN = frozenset({nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding})

_LARGE = 2**19
"""Values."""


def widened(tensor: Tensor) -> Tensor:
    """A floating-point or complex tensor in double precision, any other as it is."""
    wider = _WIDER.get(tensor.dtype)
    return tensor if wider is None else tensor.to(wider)


class _Double(FunctionMode):
    """Replaces shorter types by float64, and runs depthwise convolutions fast."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.conv2d and not kwargs and _is_depthwise(*args):
            return _convolve(*args)
        if func.__name__ in _GROUPED and len(args[0].shape) < len(args[1].shape):
            return _multiply_grouped(*map(_widened, args), **kwargs)
        if func in _CASTS or (func is Tensor.type and _names_short(args[1:])):
            return args[0].double()
        writes = func.__name__ in _WRITES or func.__name__.endswith("_")
        change = _of_type if writes else _widened
        args, kwargs = map(change, args), {key: change(value) for key, value in kwargs.items()}
        return func(*args, **kwargs)


_GROUPED = frozenset({"grouped_mm", "_grouped_mm"})


def _multiply_grouped(
    rows: Tensor, matrices: Tensor, *, offs: Tensor, bias: Tensor | None = None, **_: Any
) -> Tensor:
    """Rows of each group by its matrix, for which torch has no kernel in float64."""
    ends = offs.tolist()
    parts = zip([0, *ends[:-1]], ends, matrices, strict=True)
    found = torch.cat([rows[start:end] @ matrix for start, end, matrix in parts])
    return found if bias is None else found + bias


_WRITES = frozenset({"__set__", "__setitem__"})
"""Functions that write to their arguments, besides those whose name ends in ``_``."""


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return widened(value)
    if type(value) in (list, tuple):
        return type(value)(map(_widened, value))
    return _of_type(value)


def _of_type(value: Any) -> Any:
    """The wider one of a type, and any other value as it is."""
    return _WIDER.get(value, value) if isinstance(value, torch.dtype) else value


def _names_short(args: tuple[Any, ...]) -> bool:
    """Whether ``Tensor.type`` is asked for a shorter type, by a class or its name."""
    name = getattr(args[0], "__name__", args[0]) if args else ""
    return str(name).rpartition(".")[2] in ("FloatTensor", "HalfTensor", "BFloat16Tensor")


def _is_depthwise(
    inputs: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> bool:  # fmt: skip
    return (
        inputs.dtype == weight.dtype == torch.float64
        and inputs.dim() == 4
        and groups == weight.shape[0] == inputs.shape[1] > 1
        and all(_is_plain(value) for value in (stride, padding, dilation))
        and weight.shape[1] == 1
        and (bias is None or len(bias) == groups)
    )


def _convolve(
    inputs: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    (top, left), (down, right), (step_y, step_x) = map(_pair, (padding, dilation, stride))
    padded = functional.pad(inputs, (left, left, top, top))
    _, _, taps_y, taps_x = weight.shape
    height = (padded.shape[2] - down * (taps_y - 1) - 1) // step_y + 1
    width = (padded.shape[3] - right * (taps_x - 1) - 1) // step_x + 1
    taps = weight.permute(2, 3, 0, 1).contiguous().unsqueeze(-1)
    result = inputs.new_zeros(()) if bias is None else bias.view(-1, 1, 1)
    result = result.expand(len(inputs), groups, height, width)
    if width <= _SHORT_ROW:  # the inner loop is over channels: over a row it would hardly start
        padded, result = map(_channels_inside, (padded, result))
    result = result.clone()
    for y in range(taps_y):
        rows = slice(y * down, y * down + step_y * (height - 1) + 1, step_y)
        for x in range(taps_x):
            columns = slice(x * right, x * right + step_x * (width - 1) + 1, step_x)
            result.addcmul_(padded[:, :, rows, columns], taps[y, x])
    return result.contiguous()


_SHORT_ROW = 16
"""Numbers in a row of an image, of which there are more channels."""


def _channels_inside(images: Tensor) -> Tensor:
    """The same, with the channels side by side in memory; torch.vmap takes no memory_format."""
    return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _is_plain(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, tuple) and len(value) == 2)


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
