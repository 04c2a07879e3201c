"""The kinds of operators: what each does to the labels of its operands. A new one is one row.

Names are those of ATen's functional operators. What PyTorch itself tags as pointwise needs no row.
"""

from functools import cache
from typing import Any

import torch

__all__ = [
    "ALONG",
    "BESIDE",
    "BRANCHES",
    "COPIES",
    "FACTORIES",
    "LIKE",
    "MOVED",
    "MOVEMENT",
    "PER_CHANNEL",
    "POOLS",
    "PRODUCTS",
    "RANDOM",
    "REDUCTIONS",
    "RESHAPES",
    "SAME",
    "SPATIAL",
    "UNPOOLS",
    "WRITES",
    "WRITTEN_OUT",
    "arguments_of",
    "is_pointwise",
    "name_of",
]

RESHAPES = frozenset({"view", "_unsafe_view", "reshape", "_reshape_alias"})
"""The same elements in the same order, in another shape."""

COPIES = frozenset({"alias", "clone", "contiguous", "detach"})
"""The same tensor, copied where memory asks for it."""

SAME = frozenset(
    {
        "alias", "clone", "contiguous", "detach", "dropout", "lift_fresh", "lift_fresh_copy",
        "native_dropout", "_to_copy", "view_as_real_copy", "_conj", "conj",
    }
)  # fmt: skip
"""The same elements in the same places."""

MOVEMENT = frozenset(
    {
        "as_strided", "channel_shuffle", "constant_pad_nd", "diagonal", "diagonal_copy", "expand",
        "flip", "gather", "im2col", "index", "index_select", "movedim", "narrow", "permute",
        "pixel_shuffle", "pixel_unshuffle", "native_channel_shuffle", "repeat",
        "repeat_interleave", "roll", "rot90", "select", "slice", "split", "split_with_sizes",
        "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "chunk", "squeeze", "t",
        "take_along_dim", "transpose", "tril", "triu", "unbind", "unfold", "unsqueeze",
    }
)  # fmt: skip
"""Elements in other places: the operator itself is run on the labels."""

MOVED = MOVEMENT | RESHAPES | SAME
"""Operators whose result has the operand's elements and no others, but for zeros."""

PRODUCTS = frozenset(
    {
        "_addmm_activation", "_sparse_addmm", "addmm", "addmv", "baddbmm", "bmm", "dot", "linear",
        "matmul", "mm", "mv", "vdot",
    }
)  # fmt: skip
"""Products of matrices, of which PyTorch chooses one by the shapes."""

BESIDE = frozenset({"block_diag", "cat", "copy", "hstack", "stack", "vstack"})
"""Elements of several operands in one tensor."""

WRITTEN_OUT = (
    SAME
    | RESHAPES
    | PRODUCTS
    | {"add", "as_strided", "expand", "permute", "squeeze", "t", "transpose", "unsqueeze"}
)
"""Operators that PyTorch writes a product out in, of which it chooses by sizes."""

REDUCTIONS = {
    "all": "all", "amax": "largest", "amin": "smallest", "aminmax": "smallest and largest",
    "any": "any", "argmax": "place of the largest",
    "argmin": "place of the smallest", "count_nonzero": "count", "linalg_vector_norm": "norm",
    "logsumexp": "log of the sum of exponentials", "max": "largest", "mean": "mean",
    "median": "median", "min": "smallest", "nanmedian": "median", "nansum": "sum",
    "norm": "norm", "prod": "product", "std": "standard deviation",
    "std_mean": "standard deviation", "sum": "sum", "var": "variance", "var_mean": "variance",
}  # fmt: skip
"""Dimensions go; what is taken over them."""

ALONG = {
    "_log_softmax": "softmax", "_softmax": "softmax", "_safe_softmax": "softmax",
    "cummax": "running maximum", "cummin": "running minimum", "cumprod": "running product",
    "cumsum": "running sum", "logcumsumexp": "running sum", "renorm": "norm",
    "_fft_c2c": "Fourier transform", "_fft_c2r": "Fourier transform",
    "_fft_r2c": "Fourier transform",
}  # fmt: skip
"""Elements along dimensions are combined and the dimensions stay; what is taken."""

ITEM = "_local_scalar_dense"
"""A number is taken out of a tensor, as by `torch.Tensor.item`."""

BRANCHES = frozenset({"_assert_async", ITEM, "equal", "is_nonzero", "item"})
"""Values leave the tensors, to decide what a forward pass goes on with."""

LOOKUPS = frozenset({"embedding", "gather", "index", "index_select", "take_along_dim"})
"""Rows or elements of the first operand, by numbers."""

WRITES = frozenset(
    {
        "_index_put_impl", "index_add", "index_copy", "index_fill", "index_put", "index_reduce",
        "scatter", "scatter_add", "scatter_reduce",
    }
)  # fmt: skip
"""Operators that write to places of the first operand that a further one names."""

RANKING = {
    "kthvalue": "ranking", "mode": "most frequent", "sort": "ranking", "topk": "ranking",
}  # fmt: skip
"""Elements along a dimension are ordered by their values, and all of them or some are taken; what
is."""

SPATIAL = {
    "_adaptive_avg_pool2d": 2, "_adaptive_avg_pool3d": 3, "adaptive_avg_pool1d": 1,
    "adaptive_max_pool2d": 2, "adaptive_max_pool3d": 3, "avg_pool1d": 1, "avg_pool2d": 2,
    "avg_pool3d": 3, "adaptive_avg_pool2d": 2, "adaptive_avg_pool3d": 3,
    "fractional_max_pool2d": 2, "max_pool2d_with_indices": 2, "max_pool3d_with_indices": 3,
    "max_pool2d": 2, "max_unpool2d": 2, "max_unpool3d": 3, "mkldnn_max_pool2d": 2,
    "reflection_pad1d": 1,
    "reflection_pad2d": 2, "reflection_pad3d": 3, "replication_pad1d": 1, "replication_pad2d": 2,
    "replication_pad3d": 3, "upsample_bicubic2d": 2, "upsample_bilinear2d": 2,
    "upsample_linear1d": 1, "upsample_nearest1d": 1, "upsample_nearest2d": 2,
    "upsample_nearest3d": 3, "upsample_trilinear3d": 3, "_upsample_bicubic2d_aa": 2,
    "_upsample_bilinear2d_aa": 2, "_upsample_nearest_exact1d": 1, "_upsample_nearest_exact2d": 2,
    "_upsample_nearest_exact3d": 3, "roi_align": 2, "roi_pool": 2, "grid_sampler_2d": 2,
    "grid_sampler_3d": 3,
}  # fmt: skip
"""Each channel by itself, over so many last dimensions; further operands say where."""

UNPOOLS = frozenset({"max_unpool2d", "max_unpool3d"})
"""Elements of each channel go to positions that a further operand says, one for each of them."""

POOLS = {
    "_adaptive_avg_pool2d": "mean", "_adaptive_avg_pool3d": "mean", "adaptive_avg_pool1d": "mean",
    "adaptive_avg_pool2d": "mean", "adaptive_avg_pool3d": "mean", "adaptive_max_pool2d": "largest",
    "adaptive_max_pool3d": "largest", "avg_pool1d": "mean", "avg_pool2d": "mean",
    "avg_pool3d": "mean", "max_pool2d": "largest", "max_pool2d_with_indices": "largest",
    "max_pool3d_with_indices": "largest", "mkldnn_max_pool2d": "largest",
}  # fmt: skip
"""What is taken over each window of positions, by those of `SPATIAL` that have one."""

PER_CHANNEL = frozenset(
    {
        "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
        "miopen_batch_norm", "native_batch_norm", "_batch_norm_no_update",
        "_batch_norm_with_update", "batch_norm_with_update",
    }
)  # fmt: skip
"""Statistics and parameters for each position of dimension 1."""

LIKE = frozenset(
    {
        "empty_like",
        "full_like",
        "ones_like",
        "rand_like",
        "randn_like",
        "randint_like",
        "zeros_like",
    }
)
"""Shaped as the operand, whatever that holds."""

FACTORIES = frozenset(
    {
        "arange", "empty", "empty_strided", "eye", "full", "linspace", "logspace", "new_empty",
        "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones", "rand", "randint",
        "randn",
        "scalar_tensor", "tril_indices", "triu_indices", "zeros", "bernoulli_p", "fft_fftfreq",
    }
)  # fmt: skip
"""Made of nothing but sizes and numbers."""

RANDOM = frozenset(
    {
        "_sample_dirichlet", "_standard_gamma", "bernoulli", "binomial", "cauchy", "exponential",
        "geometric", "log_normal", "multinomial", "native_dropout", "normal",
        "normal_functional", "poisson", "rand", "rand_like", "randint", "randint_like", "randn",
        "randn_like", "random", "randperm", "rrelu_with_noise", "rrelu_with_noise_functional",
        "uniform",
    }
)  # fmt: skip
"""Operators that draw random numbers."""

_MORE_POINTWISE = frozenset(
    {"bernoulli", "clamp", "copysign", "hardtanh", "masked_fill", "nan_to_num", "normal",
     "normal_functional", "uniform", "where", "exponential", "_foreach_add", "hardswish", "silu",
     "fill", "_prelu_kernel", "floor_divide", "log_sigmoid_forward",
     "fake_quantize_per_tensor_affine_cachemask",
     "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
     "zero", "isnan", "isinf", "complex", "polar", "view_as_complex_",
     "rrelu_with_noise", "rrelu_with_noise_functional"}
)  # fmt: skip


@cache
def arguments_of(func: Any) -> tuple[str, ...]:
    """The names of an operator's arguments."""
    return tuple(argument.name for argument in func._schema.arguments)


@cache
def name_of(func: Any) -> str:
    """The operator's name, that of its functional form where it works in place."""
    packet = func.overloadpacket.__name__
    return packet[:-1] if packet.endswith("_") and not packet.endswith("__") else packet


@cache
def sizes_by_values(func: Any, name: str) -> bool:
    """Whether values may decide the shape of the result, as of what a mask selects."""
    return torch.Tag.dynamic_output_shape in func.tags and name != "index"


@cache
def is_pointwise(func: Any, name: str) -> bool:
    """Whether each element of the result comes of the elements in its place."""
    return torch.Tag.pointwise in func.tags or name in _MORE_POINTWISE
