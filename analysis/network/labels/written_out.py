"""Attention and recurrent layers as the operators that they are made of."""

from collections.abc import Iterator, Mapping, Sequence
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
    """What functions say that the operators behind them do not; recurrent layers as operators.

    Attributes:
        within: the function that is running, of those whose operators are those of others.
        product: the same of those that are written out in products.
        asks_sizes: whether the code that calls functions may learn a size from what they return.
    """

    def __init__(self, sizes: SizesOnly | None) -> None:
        super().__init__()
        self.within = self.product = ""
        self.asks_sizes = False
        self._running = 0
        self._sizes = sizes

    def note_operator(self) -> None:
        """An operator is called: by no function where the code is not Python's, as of a script."""
        self.asks_sizes |= not self._running

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._running += 1
        try:
            result = self._called(func, args, kwargs or {})
        except BaseException:
            self.asks_sizes = True  # it may be caught
            raise
        finally:
            self._running -= 1
        # A number may be that of images, a list have something for each.
        if not (result is None or isinstance(result, Tensor) or func in _OF_ANY_SIZE):
            self.asks_sizes = True
        return result

    def _called(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self._sizes is not None and func in READING:
            self._sizes.look()
        named, product = _NAMED.get(func, ""), _PRODUCTS.get(func, "")
        if named or product:
            outer = self.within, self.product
            self.within, self.product = named or self.within, product or self.product
            try:
                return func(*args, **kwargs)
            finally:
                self.within, self.product = outer
        if func in _SET_DATA:
            _take_notes(*args)
        if func in _RECURRENT:
            with (
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.cudnn.flags(enabled=False),
            ):
                return func(*args, **kwargs)
        return func(*args, **kwargs)


_OF_ANY_SIZE = frozenset(
    {
        Tensor.dim, Tensor.ndimension, Tensor.is_floating_point, Tensor.is_complex,
        torch.is_floating_point, torch.is_complex,
        *(
            getattr(Tensor, name).__get__
            for name in ("device", "dtype", "is_cuda", "layout", "ndim", "requires_grad")
        ),
    }
)  # fmt: skip
"""Functions whose answer, no tensor, is the same at other sizes."""

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
