"""What the command advise prints, and its picture."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from analysis.records import Advice, Point, Run, SubjectInfo, ratio_text
from analysis.reporting import as_json
from analysis.reporting.latency_text import time_left
from analysis.reporting.tables import as_markdown, left

__all__ = ["advice", "as_data", "picture"]


def advice(found: Advice) -> str:
    """One line a pruning that reaches the targets, the one that is recommended, what is not known.

    Policies under which some do not reach them are listed apart, with the reason.
    """
    places = [place for place, run in enumerate(_runs(found)) if not _short(run)]
    lines = [*([_table(found, places)] if places else []), *_out_of_reach(_runs(found)), ""]
    if found.recommended is not None:
        lines += [f"recommended ({found.reason}):", found.points[found.recommended].command]
    else:
        lines.append(found.reason)
    if found.unmeasured:
        lines.append(f"not measured: {', '.join(found.unmeasured)}")
    return "\n".join(lines)


def _out_of_reach(runs: Sequence[Run]) -> Iterator[str]:
    """For each policy how many prunings leave more than was asked, and why the nearest does."""
    short = [run for run in runs if _short(run)]
    for policy in dict.fromkeys(run.config.policy for run in short):
        own = [run for run in short if run.config.policy == policy]
        nearest = min(own, key=lambda run: run.macs.share or 1.0)
        ways = sum(run.config.policy == policy for run in runs)
        yield f"{policy} misses the target in {len(own)} of {ways} ways: {_short(nearest)}"


def _short(run: Run) -> str:
    """Why a pruning leaves more than was asked; empty where it does not."""
    return next((each.message for each in run.failures if each.name == "meets_target"), "")


def _table(found: Advice, places: Sequence[int]) -> str:
    metric = next((run.metrics[0].name for run in _runs(found) if run.metrics), "")
    is_timed = any(run.latency for run in _runs(found))
    headers = ["policy", "scope", "importance", "ratio", "verdict", "MACs left", "params left"]
    more = [*(["time left"] if is_timed else []), *([metric] if metric else [])]
    rows = [
        (
            *_how(point.run),
            ratio_text(point.run.config.ratio),
            point.run.verification.verdict,
            left(point.run.macs),
            left(point.run.params),
            *([time_left(point.run)] if is_timed else []),
            *([_metric(point.run)] if metric else []),
            _said(found, place),
        )
        for place in places
        for point in [found.points[place]]
    ]
    return as_markdown([*headers, *more, ""], rows)


def _runs(found: Advice) -> list[Run]:
    return [point.run for point in found.points]


def _how(run: Run) -> tuple[str, str, str]:
    return run.config.policy, run.config.scope, run.config.importance


def _metric(run: Run) -> str:
    return f"{run.metrics[0].last:.4g}" if run.metrics else "-"


def _said(found: Advice, place: int) -> str:
    """What is to be said of a pruning beside its numbers."""
    if place == found.recommended:
        return "recommended"
    if place in found.front:
        return "on the front"
    failed = found.points[place].run.failures
    return f"fails {failed[0].name}" if failed else ""


def as_data(info: SubjectInfo, found: Advice) -> dict[str, Any]:
    """What ``advise --json`` prints."""
    return {
        **as_json.head(info),
        "points": [
            _advised(point, place in found.front) for place, point in enumerate(found.points)
        ],
        "recommended": found.recommended,
        "reason": found.reason,
        "unmeasured": list(found.unmeasured),
    }


def _advised(point: Point, is_on_front: bool) -> dict[str, Any]:
    run = point.run
    config = run.config
    return {
        "policy": config.policy,
        "scope": config.scope,
        "importance": config.importance,
        "ratio": config.ratio,
        "verdict": run.verification.verdict.value,
        "macs": run.macs.after,
        "params": run.params.after,
        "bytes": run.bytes_.after,
        "metric": as_json.finite(run.metrics[0].last) if run.metrics else None,
        "latency": _latency(run),
        "passed": run.passed,
        "front": is_on_front,
        "command": point.command,
    }


def _latency(run: Run) -> dict[str, float] | None:
    """The share of the dense network's time, with the interval of that median."""
    return asdict(run.time_left) if run.time_left else None


def picture(found: Advice, name: str) -> str:
    """The SVG of MACs beside the first metric and latency or, where none is measured, parameters.

    What is on the front is filled, and what fails is a cross.
    """
    from analysis.reporting.figures.drawing import drawn

    measures = [*_measures(_runs(found))]
    with drawn(f"advice-{name}", (5.6 * len(measures), 3.8)) as (figure, made):
        panels = figure.subplots(1, len(measures), squeeze=False)[0]
        for axes, (label, measure) in zip(panels, measures, strict=True):
            _plot(axes, found, measure)
            axes.set(xlabel="share of the MACs left", ylabel=label)
        figure.suptitle(f"{name}: what meets the targets")
    return made[0]


Measure = Callable[[Run], float | None]
"""A number of a pruning; None where it is not known."""


def _measures(runs: Sequence[Run]) -> Iterator[tuple[str, Measure]]:
    """What is drawn over the MACs, and how its axis is called."""
    metric = next((run.metrics[0].name for run in runs if run.metrics), "")
    is_timed = any(run.latency for run in runs)
    if metric:
        yield metric, lambda run: run.metrics[0].last if run.metrics else None
    if is_timed:
        yield (
            "share of the time left",
            lambda run: run.time_left.median if run.time_left else None,
        )
    if not metric and not is_timed:
        yield "share of the parameters left", lambda run: run.params.share


def _plot(axes: Any, found: Advice, measure: Measure) -> None:
    """Every pruning of which both numbers are known, and the name of the recommended one."""
    from analysis.reporting.figures.drawing import BLUE, FAILED, ORANGE

    for place, run in enumerate(_runs(found)):
        at = run.macs.share, measure(run)
        if None in at:
            continue
        is_best, is_on_front = place == found.recommended, place in found.front
        colour = ORANGE if is_best else BLUE if run.passed else FAILED
        marker, fill = "o" if run.passed else "x", "full" if is_on_front else "none"
        axes.plot(*at, marker, color=colour, markersize=8, fillstyle=fill)
        if is_best:
            said = ", ".join(_how(run))
            axes.annotate(said, at, xytext=(6, 6), textcoords="offset points")
