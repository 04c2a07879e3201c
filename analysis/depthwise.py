"""Depthwise convolutions in float64, at the speed of the rest of the network.

In float64 torch runs a depthwise convolution as one call for each channel, which takes most of
MobileNetV2's time. Adding up the shifted inputs, tap by tap, computes the same sums three times
as fast.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["FastDepthwise"]


class FastDepthwise(TorchFunctionMode):
    """Inside the block, ``conv2d`` takes the faster route where it is depthwise and in float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.conv2d and not kwargs and _is_depthwise(*args):
            return _convolve(*args)
        return func(*args, **(kwargs or {}))


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
    result = inputs.new_zeros(()) if bias is None else bias.view(-1, 1, 1)
    result = result.expand(len(inputs), groups, height, width).clone()
    for y in range(taps_y):
        rows = slice(y * down, y * down + step_y * (height - 1) + 1, step_y)
        for x in range(taps_x):
            columns = slice(x * right, x * right + step_x * (width - 1) + 1, step_x)
            result.addcmul_(padded[:, :, rows, columns], weight[:, 0, y, x].view(-1, 1, 1))
    return result


def _is_plain(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, tuple) and len(value) == 2)


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
