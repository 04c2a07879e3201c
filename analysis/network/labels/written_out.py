"""Attention and recurrent layers as the operators that they are made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from analysis.network.inference import FunctionMode
from analysis.network.sizes import READING, SizesOnly

__all__ = ["Functions", "plain_operators"]


@contextmanager
def plain_operators(sizes: SizesOnly | None) -> Iterator["Functions"]:
    """Attention and recurrent layers as the operators that they are made of."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), Functions(sizes) as functions:
            yield functions
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class Functions(FunctionMode):
    """What functions say that the operators behind them do not; recurrent layers as operators."""

    def __init__(self, sizes: SizesOnly | None) -> None:
        super().__init__()
        self.within = self.product = ""
        self._sizes = sizes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._sizes is not None and func in READING:
            self._sizes.look()
        named, product = _NAMED.get(func, ""), _PRODUCTS.get(func, "")
        if named or product:
            outer = self.within, self.product
            self.within, self.product = named or self.within, product or self.product
            try:
                return func(*args, **(kwargs or {}))
            finally:
                self.within, self.product = outer
        if func in _SET_DATA:
            _take_notes(*args)
        if func in _RECURRENT:
            with (
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.cudnn.flags(enabled=False),
            ):
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


_SET_DATA = frozenset({Tensor.data.__set__})  # type: ignore[attr-defined]


def _take_notes(tensor: Tensor, other: Tensor) -> None:
    """``tensor.data = other`` takes the memory of another tensor without an operator."""
    for noted in ("_planes", "_source", "_numbers"):
        if hasattr(other, noted):
            setattr(tensor, noted, getattr(other, noted))
        elif hasattr(tensor, noted):
            setattr(tensor, noted, () if noted == "_planes" else None)


_NAMED = {
    torch.nn.functional.adaptive_avg_pool2d: "adaptive_avg_pool2d",
    torch._C._nn.adaptive_avg_pool2d: "adaptive_avg_pool2d",
    torch.instance_norm: "norm",
    torch.nn.functional.instance_norm: "norm",
}
"""Functions whose operators are those of others."""

_PRODUCTS = {
    torch.nn.functional.scaled_dot_product_attention: "scaled_dot_product_attention",
    torch.functional.einsum: "einsum",
}
"""Functions that are written out in products, which counters tell from others."""

_RECURRENT = frozenset({torch._VF.lstm, torch._VF.gru, torch._VF.rnn_tanh, torch._VF.rnn_relu})
