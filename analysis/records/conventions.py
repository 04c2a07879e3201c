"""The counting conventions of counters and of published tables, one row each.

A row gives the cost of one unit of each column. A column that it does not name costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from analysis.errors import InputError, did_you_mean

__all__ = [
    "CONVENTIONS",
    "COUNTERS",
    "FVCORE",
    "PRODUCTS",
    "WORDS",
    "Convention",
    "check_convention",
]

FVCORE: Mapping[str, int] = {
    "product": 1,
    "batch norm": 2,
    "batch norm without scale": 1,
    "norm": 5,
    "norm without scale": 4,
    "adaptive_avg_pool2d": 1,
    "upsample_nearest2d": 1,
    "upsample_bilinear2d": 4,
    "grid_sampler_2d": 4,
}
"""MACs of each product, and of each element of the other operators that fvcore counts."""

PRODUCTS: Mapping[str, str] = {
    "convolution": "product of a convolution",
    "linear": "product of a linear layer that is called as a module",
    "function linear": "product of a linear layer whose weights a function takes",
    "projection": "projection of nn.MultiheadAttention",
    "attention": "product of attention inside nn.MultiheadAttention",
    "free attention": "product of attention outside nn.MultiheadAttention",
    "einsum": "product of an einsum",
}
"""The columns of products, and their units."""

WORDS: Mapping[str, str] = {
    **PRODUCTS,
    "batch norm": "batch norm",
    "layer norm": "nn.LayerNorm",
    "norm parameters": "parameter of a norm",
    "batch norm channels": "channel of a batch norm",
    "convolution bias": "bias of a convolution",
    "convolution outputs": "output of a convolution, as if it had a bias",
    "convolution pairs": "channel read and made of a convolution without bias",
    "linear bias": "bias of nn.Linear",
    "function linear bias": "bias of a linear layer whose weights a function takes",
    "linear bias once": "bias of nn.Linear, once a call whatever the positions",
    "linear weights once": "weight of nn.Linear, once a call whatever the positions",
    "attention bias": "bias in nn.MultiheadAttention",
    "attention scaling": "query scaled in nn.MultiheadAttention",
    "attention softmax": "softmax in nn.MultiheadAttention",
    "softmax": "softmax that is a function",
    "nn.ReLU and nn.GELU": "nn.ReLU and nn.GELU",
    "nn.ReLU6": "nn.ReLU6",
    "activation functions": "relu, gelu or silu outside of nn.ReLU and nn.GELU",
    "nn.AdaptiveAvgPool2d read": "nn.AdaptiveAvgPool2d, read",
    "nn.AdaptiveAvgPool2d made": "nn.AdaptiveAvgPool2d, made",
    "nn.AvgPool2d read": "nn.AvgPool2d, read",
    "nn.AvgPool2d made": "nn.AvgPool2d, made",
    "nn.MaxPool2d read": "nn.MaxPool2d, read",
    "pool windows": "place of a pooling window",
    "pool functions": "pooling that is a function alone, read",
    "norm": "layer or group norm",
    **{
        kind: kind.replace("_", " ")
        for kind in FVCORE
        if kind not in ("product", "batch norm", "norm")
    },
}
"""What one unit of each column is."""

_PARAMS: Mapping[str, int] = MappingProxyType(
    {"weight": 1, "bias": 1, "batch norm scale": 1, "batch norm shift": 1}
)
"""Parameters as PyTorch counts them; the running statistics of batch norms are buffers."""

_NO_NORM: Mapping[str, int] = MappingProxyType({"weight": 1, "bias": 1})


@dataclass(frozen=True)
class Convention:
    """How a counter or the author of a table counts.

    Attributes:
        unit: ``MACs`` or ``FLOPs``.
        counts: for each column of `WORDS`, the cost of one unit.
        params: for each kind of parameter, how many times it is counted.
        says: what is counted, in words.
    """

    unit: str
    counts: Mapping[str, int]
    says: str
    params: Mapping[str, int] = field(default_factory=lambda: _PARAMS)


_EVERY = dict.fromkeys(PRODUCTS, 1)
_ATTENTION = ("attention", "free attention", "einsum")
_LAYERS = {column: 1 for column in PRODUCTS if column not in _ATTENTION}
_CALLED = {"convolution": 1, "linear": 1}
"""The products of called modules. Products of functions and of attention are missed."""


def _norm(cost: int) -> Mapping[str, int]:
    """For each element of a batch norm, with or without a scale."""
    return {"batch norm": cost, "batch norm without scale": cost}


_INSIDE = {"attention bias": 1, "attention scaling": 1, "attention softmax": 1}
_POOLS = {
    "nn.AdaptiveAvgPool2d read": 1,
    "nn.AvgPool2d read": 1,
    "nn.MaxPool2d read": 1,
}
_ACTIVATIONS = {"nn.ReLU and nn.GELU": 1, "nn.ReLU6": 1}
_THOP_POOLS = {
    "nn.AdaptiveAvgPool2d read": 1,
    "nn.AdaptiveAvgPool2d made": 1,
    "nn.AvgPool2d made": 1,
}
_OLD_THOP = {**_CALLED, "convolution bias": 1, **_norm(2), **_THOP_POOLS}
_TORCH_PRUNING = {
    **_EVERY,
    "function linear": 0,
    "free attention": 0,
    "einsum": 0,
    **_norm(2),
    "layer norm": 2,
    "convolution bias": 1,
    "linear bias once": 1,
    **_ACTIVATIONS,
    **_POOLS,
    **_INSIDE,
}

CONVENTIONS: dict[str, Convention] = {
    "fvcore": Convention(
        "MACs",
        {**_EVERY, **{kind: cost for kind, cost in FVCORE.items() if kind != "product"}},
        "products of convolutions, linear layers and attention; batch norm 2 an element, other "
        "norms 5, adaptive average pooling 1",
    ),
    "torchvision": Convention("MACs", _EVERY, "products of convolutions, linear layers, attention"),
    "conv-linear": Convention("MACs", _LAYERS, "products of convolutions and linear layers"),
    "tensorflow": Convention(
        "MACs", _LAYERS, "as conv-linear; parameters without those of batch norm", _NO_NORM
    ),
    "tensorflow-slim": Convention(
        "MACs",
        {**_LAYERS, "adaptive_avg_pool2d": 1},
        "as conv-linear, and 1 an element that is pooled at the end; batch norm has a shift and "
        "two statistics a channel for parameters, and no scale",
        {**_NO_NORM, "batch norm shift": 1, "batch norm statistics": 1},
    ),
    "slimmable": Convention(
        "MACs",
        {**_LAYERS, "adaptive_avg_pool2d": 1},
        "as conv-linear, and 1 an element that is pooled at the end",
    ),
    "flops": Convention(
        "FLOPs", dict.fromkeys(_LAYERS, 2), "2 a product of convolutions and linear layers"
    ),
    "flops-without-norm": Convention(
        "FLOPs",
        dict.fromkeys(_LAYERS, 2),
        "as flops; parameters without those of batch norm",
        _NO_NORM,
    ),
    "weights": Convention(
        "MACs", _LAYERS, "as conv-linear; weights alone are parameters", {"weight": 1}
    ),
    "torch-pruning": Convention(
        "MACs",
        _TORCH_PRUNING,
        "modules by their class: bias 1 (of nn.Linear once a call), batch and layer norm 2 an "
        "element, activations and pooling 1; functions are missed",
    ),
    "torch-pruning-without-layer-norm": Convention(
        "MACs",
        {**_TORCH_PRUNING, "layer norm": 0},
        "as torch-pruning, layer norms not counted",
    ),
    "linear-with-bias": Convention(
        "MACs",
        {**_LAYERS, "linear bias once": 1},
        "as conv-linear, and the bias of nn.Linear once a call",
    ),
    "thop": Convention(
        "MACs",
        {**_CALLED, **_norm(4), "layer norm": 4, **_THOP_POOLS},
        "modules by their class: norms 4 an element, adaptive average pooling 1 an element read "
        "and made; functions and attention are missed",
    ),
    "thop-0.0.31": Convention(
        "MACs", _OLD_THOP, "as thop, with the bias of convolutions, and batch norm 2 an element"
    ),
    "paddle": Convention(
        "MACs",
        _OLD_THOP,
        "as thop-0.0.31; the statistics of batch norm are parameters too",
        {**_PARAMS, "batch norm statistics": 1},
    ),
    "ptflops": Convention(
        "MACs",
        {
            **_EVERY,
            "function linear": 0,
            "einsum": 0,
            **_norm(2),
            "layer norm": 1,
            "convolution bias": 1,
            "linear bias": 1,
            "nn.ReLU and nn.GELU": 2,
            "nn.ReLU6": 1,
            "activation functions": 1,
            **dict.fromkeys(_POOLS, 2),
            "pool functions": 1,
            "softmax": 1,
            **_INSIDE,
        },
        "modules by their class, and functions: activations and pooling that are modules count "
        "twice, once for the function that each calls",
    ),
    "ptflops-aten": Convention(
        "MACs",
        {
            **_EVERY,
            "attention": 0,
            "convolution bias": 1,
            "linear bias": 1,
            "function linear bias": 1,
            "attention bias": 1,
        },
        "operators: products and their bias, without fused attention",
    ),
    "torchinfo": Convention(
        "MACs",
        {
            "convolution": 1,
            "einsum": 0,
            "linear weights once": 1,
            "convolution bias": 1,
            "linear bias once": 1,
            "norm parameters": 1,
        },
        "parameters times what they make: nn.Linear at one position, norms once a parameter",
    ),
    "pytorchcv": Convention(
        "FLOPs",
        {
            "convolution": 2,
            "convolution pairs": -1,
            "linear": 2,
            **_norm(4),
            "nn.ReLU and nn.GELU": 1,
            "nn.ReLU6": 1,
            "pool windows": 1,
        },
        "2 a product, less 1 a channel read and made of a convolution without bias; batch norm 4 "
        "an element, activations 1, pooling 1 a place of its window",
    ),
    "mmrazor": Convention(
        "MACs",
        {"convolution": 1, **_norm(2), **_ACTIVATIONS},
        "the backbone: convolutions, batch norm 2 an element, activations 1",
    ),
    "mmrazor-without-activations": Convention(
        "MACs",
        {"convolution": 1, **_norm(2)},
        "the backbone: convolutions, and batch norm 2 an element",
    ),
    "norm-channels": Convention(
        "MACs",
        {**_LAYERS, "batch norm channels": 1},
        "as conv-linear, and 1 a channel of each batch norm",
    ),
    "convolution-outputs": Convention(
        "MACs",
        {**_LAYERS, "convolution outputs": 1},
        "as conv-linear, and 1 an output of each convolution",
    ),
    "metapruning": Convention(
        "MACs",
        {
            **_LAYERS,
            "linear bias": 1,
            **_norm(1),
            "nn.ReLU and nn.GELU": 1,
            "pool windows": 1,
        },
        "as conv-linear, bias of nn.Linear, batch norm and nn.ReLU 1 an element, pooling 1 a place "
        "of its window",
    ),
}
"""By name, in the order in which reports list them."""


COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        "torch-pruning": "torch-pruning",
        "thop": "thop",
        "ptflops (pytorch)": "ptflops",
        "ptflops (aten)": "ptflops-aten",
        "torchinfo": "torchinfo",
    }
)
"""The convention of each counter that the report compares."""


def check_convention(name: str) -> Convention:
    """The convention of this name.

    Raises:
        InputError: there is none of this name; lists the names.
    """
    if name not in CONVENTIONS:
        hint = did_you_mean(str(name), CONVENTIONS, f"expected one of {', '.join(CONVENTIONS)}")
        raise InputError(f"convention {name!r} is not known; {hint}")
    return CONVENTIONS[name]
