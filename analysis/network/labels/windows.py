"""Windows over positions: those that slide, and those that hold all of a dimension."""

from typing import Any

from analysis.network.labels import operators
from analysis.network.labels.calls import Call

__all__ = ["in_one_window"]


def in_one_window(call: Call, positions: frozenset[int]) -> frozenset[int]:
    """Dimensions of which one window holds every position: nothing slides over these."""
    if call.name not in operators.POOLS:
        return frozenset()
    dims, value, made = sorted(positions), call.operands[0], call.made[0]
    alone = frozenset(dim for dim in dims if made.shape[dim] == 1)
    if "adaptive" in call.name:
        return alone
    kernel, padding, dilation = (
        _for_each(call.bound.get(name, start), len(dims))
        for name, start in (("kernel_size", 1), ("padding", 0), ("dilation", 1))
    )
    return alone & {
        dim
        for dim, size, before, step in zip(dims, kernel, padding, dilation, strict=True)
        if step == 1 and size - before >= value.shape[dim]
    }


def _for_each(given: Any, count: int) -> list[int]:
    """A number for each of several dimensions, which may be given once for all of them."""
    values = list(given) if isinstance(given, list | tuple) else [given]
    return values if len(values) == count else values[:1] * count
