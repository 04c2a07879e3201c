"""A ratio that meets a target of latency: nothing predicts it, so it is pruned and measured."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from torch import nn

from analysis.latencies.measuring import decided
from analysis.pipeline import Dense, Outcome
from analysis.records import Config, Spread, Target, Timing

__all__ = ["fast_enough", "in_time"]

Made = TypeVar("Made")

_TOPS = (0.95, 0.9, 0.8, 0.7, 0.5)
"""Where a search begins: a larger ratio may leave more, as of layers that would be emptied."""

_HALVINGS = 6


def in_time(
    dense: Dense,
    config: Config,
    sketch: Callable[[Config], nn.Module | None],
    prune: Callable[[Config], tuple[Outcome, Made]],
    timing: Timing,
) -> tuple[Outcome, Made]:
    """The pruning at the smallest ratio found that meets the targets, those of latency included.

    Args:
        dense: the network.
        config: what is asked, of which the ratio is sought.
        sketch: prunes a copy as a config says, without a proof; None where it cannot.
        prune: prunes a copy as a config says, and proves it.
        timing: how latency is measured.

    Returns:
        What ``prune`` did at that ratio; where none meets the targets, at that which leaves least,
        and the outcome says so.
    """
    limit = min(each.limit for each in config.targets if each.is_measured)
    start, others = 0.0, tuple(each for each in config.targets if not each.is_measured)
    if others:
        outcome, made = prune(replace(config, targets=others))
        start = outcome.run.config.ratio
        if outcome.unreached:
            return _asked(outcome, config, outcome.unreached), made

    def spread_at(ratio: float) -> Spread | None:
        pruned = sketch(replace(config, ratio=ratio, sought=False))
        if pruned is None:
            return None
        return decided(dense.model, pruned, dense.inputs, timing, config.targets).ratio

    ratio, why_not = fast_enough(limit, start, spread_at)
    outcome, made = prune(replace(config, ratio=ratio, sought=False))
    return _asked(outcome, config, why_not), made


def _asked(outcome: Outcome, config: Config, why_not: str) -> Outcome:
    """The outcome of a pruning at a ratio, as what was sought."""
    asked = replace(outcome.run.config, targets=config.targets, sought=True)
    return replace(outcome, run=replace(outcome.run, config=asked), unreached=why_not)


def fast_enough(
    limit: float, start: float, spread_at: Callable[[float], Spread | None]
) -> tuple[float, str]:
    """The smallest ratio found whose latency is within a limit, and why none is.

    Between a ratio that is fast enough and one that is not, the way is halved. What is aimed at is
    below the limit by the width of the interval, so that another measurement says the same.

    Args:
        limit: the share of the dense network's time that may stay.
        start: the least ratio that may be taken.
        spread_at: measures at a ratio; None where nothing can be pruned at it.
    """
    tried: dict[float, Spread] = {}

    def meets(ratio: float) -> bool:
        spread = spread_at(ratio)
        if spread is not None:
            tried[ratio] = spread
        return spread is not None and 2 * spread.high - spread.low <= limit

    if start and meets(start):
        return start, ""
    high = next((ratio for ratio in _TOPS if ratio > start and meets(ratio)), None)
    if high is None:
        return _nearest(limit, start, tried)
    low = start
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high, ""


def _nearest(limit: float, start: float, tried: dict[float, Spread]) -> tuple[float, str]:
    """The ratio that leaves least, and by how much it misses the limit, if it does."""
    if not tried:
        return start, "the network cannot be pruned at any ratio that was tried"
    ratio = min(tried, key=lambda each: tried[each].high)
    least = tried[ratio]
    if least.high <= limit:
        return ratio, ""
    return ratio, (
        f"no ratio that was tried is known to leave {Target('latency', limit).words}: the least is "
        f"{least}, at ratio {ratio:g}"
    )
