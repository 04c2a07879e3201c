"""Two reports compared: Markdown for the comment of a pull request, and the same as JSON."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from analysis.gate.baseline import METRICS, Difference, Row
from analysis.gate.comparison import Change, NamedRun, RunChange, is_regression
from analysis.records import ratio_text
from analysis.reporting.as_json import SCHEMA
from analysis.reporting.tables import as_markdown, cell, count

__all__ = ["HEADERS", "as_data", "cells", "markdown", "summary"]

HEADERS = ("", "network", "asked", "what changed")
_ROWS = 50
"""Rows of the table: with the lines around it, at most 60 lines."""

_REASON = 160
"""The greatest length of a reason in a row."""

_NAMES = {
    "channels_requested": "channels asked",
    "channels_removed": "channels removed",
    "groups_dropped": "groups dropped",
    "macs": "MACs",
    "params": "parameters",
}


def markdown(changes: Sequence[RunChange], after: Sequence[NamedRun]) -> str:
    """At most 60 lines, what failed first.

    Args:
        changes: what changed.
        after: the later runs, of which those that are the same are counted.
    """
    lines = [f"### {summary(changes)}", ""]
    if changes:
        rows = [map(cell, cells(each)) for each in changes[:_ROWS]]
        lines += [as_markdown(HEADERS, rows), ""]
    if changes[_ROWS:]:
        lines += [f"{len(changes) - _ROWS} more rows are in the JSON (`--json FILE`).", ""]
    changed = {id(each.after) for each in changes}
    same = sum(id(run) not in changed for _, run in after)
    return "\n".join([*lines, f"{_prunings(same)} unchanged."])


def summary(changes: Iterable[RunChange]) -> str:
    """How many prunings went which way, in one line."""
    counted = Counter(each.change for each in changes)
    parts = [f"{counted[change]} {change}" for change in Change if counted[change]]
    return f"Prunings compared: {', '.join(parts) or 'nothing changed'}"


def _prunings(number: int) -> str:
    return f"{number} pruning{'' if number == 1 else 's'}"


def cells(change: RunChange) -> tuple[str, str, str, str]:
    """The row of one change."""
    config = change.config
    word = f"**{change.change}**" if change.change is Change.WORSE else str(change.change)
    asked = f"{config.policy}, {config.scope}, {ratio_text(config.ratio)}"
    return word, f"`{change.network}`", asked, "; ".join(_parts(change))


def _parts(change: RunChange) -> Iterator[str]:
    if not change.differences:
        run = change.after or change.before
        assert run is not None
        yield f"verdict {run.verification.verdict}{_because(change)}"
        return
    checks: list[str] = []
    for each in change.differences:
        row = each.found or each.expected
        assert row is not None
        if row.metric == "verdict":
            yield f"verdict {_value(each.expected)} → {_value(each.found)}{_because(change)}"
        elif row.metric in METRICS:
            yield f"{_NAMES.get(row.metric, row.metric)} {_moved(each)}"
        else:
            checks.append(row.metric)
    if checks:
        yield f"{_CHECKS[change.change]}: {', '.join(checks)}"


_CHECKS = {
    Change.WORSE: "checks that fail now",
    Change.BETTER: "checks that pass now",
    Change.NEW: "checks that are new",
    Change.GONE: "checks that no longer run",
}


def _because(change: RunChange) -> str:
    """Why the later run does not pass."""
    if not (change.fails and change.after):
        return ""
    reason = change.after.verification.reason
    return f" ({reason if len(reason) <= _REASON else f'{reason[:_REASON]}…'})" if reason else ""


def _moved(difference: Difference) -> str:
    """A number before and after, and by how much of it that is."""
    before, after = difference.expected, difference.found
    text = f"{_value(before)} → {_value(after)}"
    if before is None or after is None or not (isinstance(before.value, int) and before.value):
        return text
    assert isinstance(after.value, int)
    return f"{text} ({(after.value - before.value) / before.value:+.1%})"


def _value(row: Row | None) -> str:
    if row is None:
        return "unknown"
    return row.value if isinstance(row.value, str) else count(row.value)


def as_data(changes: Sequence[RunChange]) -> dict[str, Any]:
    """What ``diff --json`` prints: every value that changed."""
    return {
        "schema": SCHEMA,
        "regressed": is_regression(changes),
        "changes": [entry for change in changes for entry in _entries(change)],
    }


def _entries(change: RunChange) -> Iterator[dict[str, Any]]:
    config = change.config
    head = {
        "change": change.change.value,
        "subject": change.network,
        "ignore": config.policy,
        "scope": config.scope,
        "ratio": config.ratio,
    }
    if not change.differences:
        verdicts = [run and run.verification.verdict.value for run in (change.before, change.after)]
        yield head | {"of": "run", "before": verdicts[0], "after": verdicts[1]}
    for each in change.differences:
        row = each.found or each.expected
        assert row is not None
        is_check = row.metric not in METRICS
        values = [_data(entry, is_check=is_check) for entry in (each.expected, each.found)]
        yield head | {"of": row.metric, "before": values[0], "after": values[1]}


def _data(row: Row | None, *, is_check: bool) -> int | str | None:
    if row is None:
        return None
    return ("failed" if row.value else "passed") if is_check else row.value
