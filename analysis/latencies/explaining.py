"""Whether the time of a layer fell with its MACs and, if not, why."""

from math import prod

from analysis.records import Machine, Sizes, Spread, Work

__all__ = ["explained"]

_MOST = 0.9
"""The part of the work that went must have gone of the time, to say that it fell with it."""

_NEAR = 2.0
"""A layer whose time is at most so many times that of an empty call is near it."""


def explained(ratio: Spread, dense: Work, pruned: Work, overhead: float, machine: Machine) -> str:
    """The key of `analysis.records.EXPLANATIONS` that holds; only what the numbers show is said.

    Args:
        ratio: of the layer's own times.
        dense: its work before pruning.
        pruned: its work after it.
        overhead: seconds of as many empty calls of its kind.
        machine: with its peaks.
    """
    if (dense.macs, dense.bytes) == (pruned.macs, pruned.bytes):
        return "same-work"
    fell = _fell(ratio, Sizes(dense.macs, pruned.macs).share)
    if fell:
        return "fell"
    # What a call takes whatever it computes is no part of what follows the work.
    net = _without(overhead, ratio, dense.seconds)
    if pruned.seconds <= _NEAR * overhead or _fell(net, Sizes(dense.macs, pruned.macs).share):
        return "small"
    is_memory_bound = machine.is_memory_bound(pruned)
    if is_memory_bound and _fell(net, Sizes(dense.bytes, pruned.bytes).share):
        return "memory-bound"
    if is_memory_bound is False and _fell(net, _padded(dense, pruned, machine.vector)):
        return "width"
    return "not-explained" if fell is False or not dense.macs else "unclear"


def _without(overhead: float, ratio: Spread, seconds: float) -> Spread:
    """The ratio of what is left of both times; of a layer that took this long before pruning."""
    if seconds <= overhead:
        return ratio
    median, low, high = (
        (each * seconds - overhead) / (seconds - overhead)
        for each in (ratio.median, ratio.low, ratio.high)
    )
    return Spread(median, low, high, ratio.coverage)


def _fell(ratio: Spread, share: float | None) -> bool | None:
    """Whether time fell as work did; None where the interval holds both answers, or no work."""
    if share is None or share >= 1:
        return None
    gone = _MOST * (1 - share)
    if 1 - ratio.high >= gone:
        return True
    return None if 1 - ratio.low >= gone else False


def _padded(dense: Work, pruned: Work, vector: int) -> float | None:
    """The share of MACs left if widths are filled up to whole vectors, where pruning left none.

    None where every width that was whole stays so.
    """
    broken = [
        was % vector == 0 and now % vector
        for was, now in zip(dense.widths, pruned.widths, strict=False)
    ]
    share = Sizes(dense.macs, pruned.macs).share
    if share is None or not any(broken):
        return None
    return share * _filling(pruned.widths, vector) / _filling(dense.widths, vector)


def _filling(widths: tuple[int, ...], vector: int) -> float:
    """How much greater a product is of widths that are whole vectors; of one channel none are."""
    return prod(-(-width // vector) * vector / width for width in widths if width > 1)
