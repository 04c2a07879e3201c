"""Why each counter's number is another: its convention, applied to what one forward pass calls.

`analysis.records.CONVENTIONS` says what a counter adds to the products (convolutions, linear
layers, attention) and what it misses of them, as its source does it. How much of each there is, is
measured here from calls of modules and functions, by another way than that of
`analysis.costs.columns`, and not from the counter's answer; what that does not add up to stays
unexplained.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import nn
from torch.nn import functional

from analysis.counters.work import Call, Work
from analysis.records import COLUMNS, CONVENTIONS, COUNTERS, PRODUCTS, WORDS

__all__ = ["AMOUNTS", "reasons"]


def reasons(counter: str, work: Work) -> dict[str, int]:
    """What the counter adds to the products and what it misses, by reason, where it is not 0."""
    counts = CONVENTIONS[COUNTERS[counter]].counts
    parts = {
        _reason(column, counts.get(column, 0)): (counts.get(column, 0) - (column in PRODUCTS))
        * amount(work)
        for column, amount in AMOUNTS.items()
        if counts.get(column, 0) != (column in PRODUCTS)
    }
    return {reason: macs for reason, macs in parts.items() if macs}


def _reason(column: str, cost: int) -> str:
    return f"{WORDS[column]}: {cost} each" if cost else f"{WORDS[column]}: none"


_ACTIVATIONS = (nn.ReLU, nn.GELU)
_ACTIVATION_CALLS = (functional.relu, functional.gelu, functional.silu)
_POOLS = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
_POOL_CALLS = (functional.avg_pool2d, functional.max_pool2d, functional.adaptive_avg_pool2d)


def _read(calls: Iterable[Call]) -> int:
    return sum(call.elements_read for call in calls)


def _made(calls: Iterable[Call]) -> int:
    return sum(call.elements_made for call in calls)


def _with_bias(calls: Iterable[Call]) -> Iterator[Call]:
    return (call for call in calls if call.callee.bias is not None)


def _not_called_by(calls: Iterable[Call], kinds: tuple[type, ...]) -> Iterator[Call]:
    return (call for call in calls if call.caller not in kinds)


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


def _linear(work: Work) -> int:
    every = sum(row.columns[_LINEAR] for row in work.table.layers)
    return every - _function_linear(work) - _projections(work)


def _attention(work: Work, *, inside: bool) -> int:
    """Products of activations, inside ``nn.MultiheadAttention`` or outside it."""
    return sum(
        row.columns[_ATTENTION]
        for row in work.table.layers
        if (row.kind == "MultiheadAttention") is inside
    )


def _einsum(work: Work) -> int:
    operators = (pair for row in work.table.layers for pair in row.operators)
    return sum(macs for operator, macs in operators if operator == "einsum")


def _softmax_inside(work: Work) -> int:
    """A softmax for each head and pair of positions."""
    total = 0
    for call in work.modules(nn.MultiheadAttention):
        items, positions, _ = call.read[0]
        total += items * positions * call.callee.num_heads * positions
    return total


def _function_bias(work: Work) -> int:
    calls = (call for call in work.functions(functional.linear) if len(call.read) == _BIASED)
    return _made(_not_called_by(calls, (nn.Linear,)))


_BIASED = 3
"""Tensors that a linear function takes with its bias."""


def _norm_parameters(work: Work) -> int:
    norms = work.instances(nn.BatchNorm2d, nn.LayerNorm)
    return sum(p.numel() for call in norms for p in call.callee.parameters())


def _activation_functions(work: Work) -> int:
    return _read(_not_called_by(work.functions(*_ACTIVATION_CALLS), _ACTIVATIONS))


def _pool_functions(work: Work) -> int:
    return _read(_not_called_by(work.functions(*_POOL_CALLS), _POOLS))


AMOUNTS: Mapping[str, Callable[[Work], int]] = {
    "linear": _linear,
    "function linear": _function_linear,
    "projection": _projections,
    "attention": lambda work: _attention(work, inside=True),
    "free attention": lambda work: _attention(work, inside=False) - _einsum(work),
    "einsum": _einsum,
    "batch norm": lambda work: _read(work.modules(nn.BatchNorm2d)),
    "layer norm": lambda work: _read(work.modules(nn.LayerNorm)),
    "norm parameters": _norm_parameters,
    "convolution bias": lambda work: _made(_with_bias(work.modules(nn.Conv2d))),
    "linear bias": lambda work: _made(_with_bias(work.modules(nn.Linear))),
    "function linear bias": _function_bias,
    "linear bias once": lambda work: _held_once(work, "bias"),
    "linear weights once": lambda work: _held_once(work, "weight"),
    "attention bias": lambda work: 4 * _read(work.modules(nn.MultiheadAttention)),
    "attention scaling": lambda work: _read(work.modules(nn.MultiheadAttention)),
    "attention softmax": _softmax_inside,
    "softmax": lambda work: _read(work.functions(functional.softmax)),
    "nn.ReLU and nn.GELU": lambda work: _made(work.modules(*_ACTIVATIONS)),
    "nn.ReLU6": lambda work: _made(work.modules(nn.ReLU6)),
    "activation functions": _activation_functions,
    "nn.AdaptiveAvgPool2d read": lambda work: _read(work.modules(nn.AdaptiveAvgPool2d)),
    "nn.AdaptiveAvgPool2d made": lambda work: _made(work.modules(nn.AdaptiveAvgPool2d)),
    "nn.AvgPool2d read": lambda work: _read(work.modules(nn.AvgPool2d)),
    "nn.AvgPool2d made": lambda work: _made(work.modules(nn.AvgPool2d)),
    "nn.MaxPool2d read": lambda work: _read(work.modules(nn.MaxPool2d)),
    "pool functions": _pool_functions,
}
"""How much of a column there is."""
