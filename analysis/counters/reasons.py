"""Why each counter's number is another: its rules, applied to what one forward pass calls.

A rule names what a counter adds to the products (convolutions, linear layers, attention) and what
it misses of them, as its source does it. Rules are arithmetic on calls that were observed, not on
the counter's answer; what they do not add up to stays unexplained.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from torch import nn
from torch.nn import functional

from analysis.counters.work import Call, Work
from analysis.records import COLUMNS

__all__ = ["REASONS", "reasons"]

Parts = dict[str, int]

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU)
_ACTIVATION_CALLS = (functional.relu, functional.gelu, functional.silu)
_POOLS = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
_POOL_CALLS = (functional.avg_pool2d, functional.max_pool2d, functional.adaptive_avg_pool2d)

# One wording for one reason, so that counters can be compared.
_CONVOLUTION_BIAS = "bias of convolutions"
_NO_FUNCTION_LINEAR = "no linear layer whose weights a function takes"
_NO_PROJECTION = "no projection of nn.MultiheadAttention"
_NO_ATTENTION = "no product of attention"
_ATTENTION_EXTRAS = "scaling, softmax and bias in nn.MultiheadAttention"
_ACTIVATION_MODULES = "activations that are modules, at 1 an element"
_POOL_MODULES = "pooling that is a module, at 1 an element read"
_BIAS_ONCE = "bias of nn.Linear, once a call whatever the positions"


def reasons(counter: str, work: Work) -> Parts:
    """What the counter adds to the products and what it misses, by reason, where it is not 0."""
    return {reason: macs for reason, macs in REASONS[counter](work).items() if macs}


def _torch_pruning(work: Work) -> Parts:
    return {
        "batch norm at 2 an element": 2 * _read(work.modules(nn.BatchNorm2d)),
        "nn.LayerNorm at 2 an element": 2 * _read(work.modules(nn.LayerNorm)),
        _CONVOLUTION_BIAS: _convolution_bias(work),
        _BIAS_ONCE: _held_once(work, "bias"),
        _ACTIVATION_MODULES: _made(work.modules(*_ACTIVATIONS)),
        _POOL_MODULES: _read(work.modules(*_POOLS)),
        _ATTENTION_EXTRAS: _attention_extras(work),
        _NO_FUNCTION_LINEAR: -_function_linear(work),
        "no product of attention outside nn.MultiheadAttention": -_attention(work, inside=False),
    }


def _thop(work: Work) -> Parts:
    adaptive = list(work.modules(nn.AdaptiveAvgPool2d))
    return {
        "batch norm at 4 an element": 4 * _read(work.modules(nn.BatchNorm2d)),
        "nn.LayerNorm at 4 an element": 4 * _read(work.modules(nn.LayerNorm)),
        "nn.AdaptiveAvgPool2d at 1 an element read and made": _read(adaptive) + _made(adaptive),
        "nn.AvgPool2d at 1 an element made": _made(work.modules(nn.AvgPool2d)),
        _NO_PROJECTION: -_projections(work),
        _NO_FUNCTION_LINEAR: -_function_linear(work),
        _NO_ATTENTION: -_attention(work),
    }


def _ptflops_pytorch(work: Work) -> Parts:
    activations = list(work.functions(*_ACTIVATION_CALLS))
    pools = list(work.functions(*_POOL_CALLS))
    return {
        "batch norm at 2 an element": 2 * _read(work.modules(nn.BatchNorm2d)),
        "nn.LayerNorm at 1 an element": _read(work.modules(nn.LayerNorm)),
        _CONVOLUTION_BIAS: _convolution_bias(work),
        "bias of nn.Linear": _made(_with_bias(work.modules(nn.Linear))),
        _ACTIVATION_MODULES: _made(work.modules(*_ACTIVATIONS)),
        "activations that are modules, once more for the function that each calls": _read(
            _called_by(activations, _ACTIVATIONS)
        ),
        "activations that are functions alone": _read(
            _called_by(activations, _ACTIVATIONS, other=True)
        ),
        _POOL_MODULES: _read(work.modules(*_POOLS)),
        "pooling that is a module, once more for the function that it calls": _read(
            _called_by(pools, _POOLS)
        ),
        "pooling that is a function alone": _read(_called_by(pools, _POOLS, other=True)),
        "softmax that is a function": _read(work.functions(functional.softmax)),
        _ATTENTION_EXTRAS: _attention_extras(work),
        _NO_FUNCTION_LINEAR: -_function_linear(work),
        "no product of an einsum": -_einsum(work),
    }


def _ptflops_aten(work: Work) -> Parts:
    with_bias = (call for call in work.functions(functional.linear) if len(call.read) == 3)
    return {
        _CONVOLUTION_BIAS: _convolution_bias(work),
        "bias of linear layers": _made(with_bias) + _attention_bias(work),
        "no product of fused attention": -_attention(work, inside=True),
    }


def _torchinfo(work: Work) -> Parts:
    norms = work.instances(nn.BatchNorm2d, nn.LayerNorm)
    linear = sum(call.elements_made * call.callee.in_features for call in work.modules(nn.Linear))
    return {
        _CONVOLUTION_BIAS: _convolution_bias(work),
        _BIAS_ONCE: _held_once(work, "bias"),
        "norms at 1 a parameter": sum(
            parameter.numel() for call in norms for parameter in call.callee.parameters()
        ),
        "nn.Linear at one position only": _held_once(work, "weight") - linear,
        _NO_PROJECTION: -_projections(work),
        _NO_FUNCTION_LINEAR: -_function_linear(work),
        _NO_ATTENTION: -_attention(work),
    }


REASONS: dict[str, Callable[[Work], Parts]] = {
    "torch-pruning": _torch_pruning,
    "thop": _thop,
    "ptflops (pytorch)": _ptflops_pytorch,
    "ptflops (aten)": _ptflops_aten,
    "torchinfo": _torchinfo,
}
"""The rules of each counter of `analysis.counters.others`."""


def _read(calls: Iterable[Call]) -> int:
    return sum(call.elements_read for call in calls)


def _made(calls: Iterable[Call]) -> int:
    return sum(call.elements_made for call in calls)


def _with_bias(calls: Iterable[Call]) -> Iterator[Call]:
    return (call for call in calls if call.callee.bias is not None)


def _called_by(
    calls: Sequence[Call], kinds: tuple[type, ...], *, other: bool = False
) -> Iterator[Call]:
    """Calls that a module of these classes makes; with ``other``, the rest."""
    return (call for call in calls if (call.caller in kinds) is not other)


def _convolution_bias(work: Work) -> int:
    return _made(_with_bias(work.modules(nn.Conv2d)))


def _held_once(work: Work, parameter: str) -> int:
    """Elements of a parameter of nn.Linear, once a call."""
    held = (getattr(call.callee, parameter) for call in work.modules(nn.Linear))
    return sum(tensor.numel() for tensor in held if tensor is not None)


_LINEAR, _ATTENTION = COLUMNS.index("linear"), COLUMNS.index("attention")


def _function_linear(work: Work) -> int:
    """Of nn.Linear that are never called: their weights are given to a function."""
    return sum(
        row.columns[_LINEAR]
        for row in work.table.layers
        if row.kind == "Linear" and row.layer not in work.names
    )


def _projections(work: Work) -> int:
    kinds = ("MultiheadAttention", "NonDynamicallyQuantizableLinear")
    return sum(row.columns[_LINEAR] for row in work.table.layers if row.kind in kinds)


def _attention(work: Work, *, inside: bool | None = None) -> int:
    """Products of activations, inside ``nn.MultiheadAttention``, outside it or both."""
    return sum(
        row.columns[_ATTENTION]
        for row in work.table.layers
        if inside is None or (row.kind == "MultiheadAttention") is inside
    )


def _einsum(work: Work) -> int:
    operators = (pair for row in work.table.layers for pair in row.operators)
    return sum(macs for operator, macs in operators if operator == "einsum")


def _attention_bias(work: Work) -> int:
    """Of the queries', keys', values' and output's projection."""
    return 4 * _read(work.modules(nn.MultiheadAttention))


def _attention_extras(work: Work) -> int:
    """Queries scaled, a softmax for each head and pair of positions, and the bias."""
    total = _attention_bias(work)
    for call in work.modules(nn.MultiheadAttention):
        items, positions, width = call.read[0]
        total += items * positions * (width + call.callee.num_heads * positions)
    return total
