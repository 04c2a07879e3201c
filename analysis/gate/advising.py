"""Which of several prunings to take: of those that are proved and meet what was asked, the best."""

from collections.abc import Sequence
from math import inf

from analysis.records import Advice, Metric, Point, Run

__all__ = ["advised"]


def advised(points: Sequence[Point]) -> Advice:
    """Prunings side by side, and one of them recommended.

    With a metric it is the one that loses least of the first that was measured; without, the one
    that removes the smallest share of channels: what that costs is not known.
    """
    good = [place for place, point in enumerate(points) if point.run.passed]
    front = tuple(place for place in good if not _is_beaten(place, good, points))
    unmeasured = []
    if not any(point.run.latency for point in points):
        unmeasured.append("latency (give --latency)")
    if not any(point.run.metrics for point in points):
        unmeasured.append("what it costs in a metric (give --evaluate)")
    if not good:
        return Advice(tuple(points), None, _why_none(points), front, tuple(unmeasured))
    best = min(front, key=lambda place: _lost(points[place].run))
    return Advice(tuple(points), best, _why(points[best].run, len(good)), front, tuple(unmeasured))


def _first(run: Run) -> Metric | None:
    return run.metrics[0] if run.metrics else None


def _lost(run: Run) -> tuple[float, float]:
    """What is to be least: the loss of the first metric, and then channels."""
    metric = _first(run)
    removed = run.channels.removed / max(run.channels.prunable, 1)
    return (metric.lost if metric else 0.0), removed


def _measured(run: Run) -> tuple[float, ...]:
    """All that less is better of."""
    costs = [size.after or 0 for size in (run.macs, run.params)]
    # Without a metric, channels that stay are all that speaks for a pruning.
    others = [metric.lost for metric in run.metrics] or [_lost(run)[1]]
    return (*costs, *others, *_time_left(run))


def _time_left(run: Run) -> tuple[float, ...]:
    """The share of the dense network's time, where every run's is known or none is asked for."""
    if run.latency is None:
        return ()
    return (run.time_left.median if run.time_left else inf,)


def _is_beaten(place: int, good: Sequence[int], points: Sequence[Point]) -> bool:
    own = _measured(points[place].run)
    others = (_measured(points[other].run) for other in good if other != place)
    return any(
        other != own and all(theirs <= mine for theirs, mine in zip(other, own, strict=True))
        for other in others
    )


def _why(run: Run, good: int) -> str:
    of = f"of {good} that are proved and meet what was asked, it"
    metric = _first(run)
    if metric is not None:
        return f"{of} loses least of {metric.name}: {metric.dense:g} became {metric.last:g}"
    return (
        f"{of} removes the smallest share of channels that is on the front: "
        f"{run.channels.removed} of {run.channels.prunable}"
    )


def _why_none(points: Sequence[Point]) -> str:
    """What the one fails of that leaves the smallest share of the MACs."""
    nearest = min(points, key=lambda point: point.run.macs.share or 1.0).run
    config = nearest.config
    return (
        f"none passes; {config.policy}, {config.scope}, {config.importance} comes nearest: "
        f"{nearest.failures[0].message}"
    )
