"""Functions over channels taken over those that stay alone, in place of the dense network's."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from analysis.network.inference import FunctionMode, holds_nan, map_tensors, walk

__all__ = ["KeptChannels"]

ATTENTION = functional.scaled_dot_product_attention

PRODUCTS = frozenset(
    {
        torch.matmul,
        Tensor.matmul,
        Tensor.__matmul__,
        Tensor.__rmatmul__,
        torch.linalg.matmul,
        torch.mm,
        Tensor.mm,
        torch.inner,
        torch.cdist,
        torch.tensordot,
        torch.bmm,
        Tensor.bmm,
        torch.baddbmm,
        Tensor.baddbmm,
        torch.einsum,
        ATTENTION,
    }
)
"""Functions that sum over channels of activations, as attention does."""

READS = frozenset(
    {
        functional.linear,
        functional.conv1d,
        functional.conv2d,
        functional.conv3d,
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
        torch.linalg.multi_dot,
        torch.chain_matmul,
        getattr(torch, "_grouped_mm", torch.chain_matmul),  # since torch 2.8
    }
)
"""Functions that read channels as layers do, with weights that no layer may own."""

COMBINE = frozenset(
    {
        "amax", "amin", "batch_norm", "layer_norm", "linalg_norm", "linalg_vector_norm",
        "local_response_norm", "log_softmax", "logsumexp", "max", "mean", "min", "norm",
        "normalize", "prod", "rms_norm", "softmax", "std", "std_mean", "sum", "var", "var_mean",
    }
)  # fmt: skip
"""Functions that may combine channels and can be taken over some of them alone."""


PLACES = frozenset(
    {"argmax", "argmin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "topk"}
)  # fmt: skip
"""Functions over channels that say at which they found what they return."""


_OF_ALL = frozenset({"argmax", "argmin"})
"""Those that say a place in the tensor as a whole where they are given no dimension."""


class KeptChannels(FunctionMode):
    """Inside the block, functions that combine channels leave the tagged ones out.

    Products of activations and functional layers skip them in their sums; a softmax, a mean or a
    norm over channels is taken over the kept ones alone.

    Args:
        scope: the stack of modules whose forward runs, see
            `analysis.network.inference.module_scope`.
        rescale: whether the product of queries and keys is scaled as if its width had always been
            that of the channels that stay: a network that derives 1/sqrt(width) from the shape
            does so once it is pruned.

    Attributes:
        rescaled: whether a product was scaled.
        combined: module and name of each function that was taken over kept channels.
        scrambled: the function, if there is one, that combines blocks of which some have lost more
            channels than others: once pruned, channels change their block.
    """

    def __init__(self, scope: list[str], *, rescale: bool) -> None:
        super().__init__()
        self._scope = scope
        self._rescale = rescale
        self.rescaled = False
        self.combined: list[tuple[str, str]] = []
        self.scrambled = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        reads = func in PRODUCTS or func in READS
        is_taken = reads or name in COMBINE or name in PLACES
        if not is_taken or not any(map(holds_nan, walk((args, kwargs)))):
            return func(*args, **kwargs)
        return self._read(func, args, kwargs) if reads else self._combine(func, args, kwargs)

    def _read(self, func: Any, args: Any, kwargs: Any) -> Any:
        given = {**dict(enumerate(args)), **kwargs}
        cleaned = {key: map_tensors(value, _without_tags) for key, value in given.items()}
        by_width = func is ATTENTION and kwargs.get("scale") is None and len(args) < 7
        if by_width or (self._rescale and func in PRODUCTS and func is not ATTENTION):
            tensors = [key for key, value in given.items() if isinstance(value, Tensor)]
            queries = tensors[1 if func in _ADDED else 0]
            scale = _width_ratio(given[queries])
            cleaned[queries] = cleaned[queries] * scale
            self.rescaled |= scale != 1.0
        return func(
            *(cleaned[place] for place in range(len(args))),
            **{name: cleaned[name] for name in kwargs},
        )

    def _combine(self, func: Any, args: Any, kwargs: Any) -> Any:
        plain = func(*args, **kwargs)
        if func.__name__ in _OF_ALL and len(args) < 2 and kwargs.get("dim") is None:
            return plain
        place = _tagged_axis(args[0]) if args and isinstance(args[0], Tensor) else None
        if place is None:
            if args and holds_nan(args[0]) and len(args[0].isnan().sum(-1).unique()) > 1:
                self.scrambled = self.scrambled or func.__name__
            return plain
        axis, kept = place
        width = args[0].shape[axis]
        part = func(
            args[0].index_select(axis, kept),
            *(_narrowed(value, width, kept) for value in args[1:]),
            **{key: _narrowed(value, width, kept) for key, value in kwargs.items()},
        )
        results = [
            _placed(whole, some, kept, says_where=func.__name__ in PLACES)
            for whole, some in zip(walk(plain), walk(part), strict=True)
        ]
        if any(
            int(whole.isnan().sum()) > int(result.isnan().sum())
            for whole, result in zip(walk(plain), results, strict=True)
        ):
            self.combined.append((self._scope[-1] if self._scope else "", func.__name__))
        return results[0] if isinstance(plain, Tensor) else type(plain)(results)


_ADDED = frozenset({torch.baddbmm, Tensor.baddbmm})
"""Products that are given first what they are added to."""


def _without_tags(tensor: Tensor) -> Tensor:
    return torch.nan_to_num(tensor) if holds_nan(tensor) else tensor


def _width_ratio(queries: Any) -> float:
    """Square root of the width of the last axis over the part of it that is not tagged."""
    if not holds_nan(queries):
        return 1.0
    width = queries.shape[-1]
    gone = int(queries.isnan().sum(-1).max())
    return (width / max(width - gone, 1)) ** 0.5


def _tagged_axis(tensor: Tensor) -> tuple[int, Tensor] | None:
    """The axis whose tagged indices hold every tag, and the indices that are left on it."""
    marks = tensor.isnan()
    for axis in range(tensor.dim()):
        gone = marks.movedim(axis, 0).flatten(1).all(1) if tensor.dim() > 1 else marks
        if int(gone.sum()) * (tensor.numel() // len(gone)) == int(marks.sum()) > 0:
            return axis, (~gone).nonzero().flatten()
    return None


def _narrowed(value: Any, width: int, kept: Tensor) -> Any:
    """An argument for the kept channels: a shape that ends in all of them, a value for each."""
    if isinstance(value, Tensor) and value.dim() == 1 and len(value) == width:
        return value[kept]
    if isinstance(value, tuple | list) and value and value[-1] == width:
        return (*value[:-1], len(kept))
    return value


def _placed(whole: Tensor, part: Tensor, kept: Tensor, *, says_where: bool) -> Tensor:
    """The part in place of the kept channels; as it is where the channels are gone from it.

    What says at which of them something is found says so of all channels.
    """
    if whole.shape == part.shape:
        return kept[part] if says_where and part.dtype is torch.long else part
    axis = next(
        i
        for i, sizes in enumerate(zip(whole.shape, part.shape, strict=True))
        if len(set(sizes)) > 1
    )
    tagged = torch.full_like(whole, torch.nan) if whole.is_floating_point() else whole.clone()
    return tagged.index_copy(axis, kept, part)
