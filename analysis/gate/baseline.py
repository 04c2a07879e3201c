"""Accepted numbers, and how today's numbers differ.

Rows of names and whole numbers, without files. `analysis.gate.baseline_csv` is their text, and
`analysis.pytest_plugin` reads and writes the file.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Literal

from analysis.errors import InputError
from analysis.records import STRENGTH, Run, Verdict

__all__ = [
    "METRICS",
    "Better",
    "Difference",
    "Key",
    "Kind",
    "Metric",
    "Row",
    "changes",
    "compare",
    "from_json",
    "merge",
    "number_text",
    "one_line_name",
    "quoted",
    "rows_of",
    "to_json",
]

Better = Literal["lower", "higher", "equal"]
"""Which way a metric improves; ``equal``: any change is a regression."""

_QUOTED = 60
"""Characters of a field that a message repeats."""

Key = tuple[str, str, str, float, str]
"""Model, policy, scope, ratio and metric of a row."""


@dataclass(frozen=True)
class Metric:
    """A number or verdict of a run that is compared.

    Attributes:
        kind: ``count`` is a whole number of at least 0, ``verdict`` a value of `Verdict`.
        better: which way it improves, unless a row of the file says otherwise.
        of: its value for a run; None if the run has none.
    """

    kind: Literal["count", "verdict"]
    better: Better
    of: Callable[[Run], int | str | None]


def _groups_dropped(run: Run) -> int:
    """How many groups lost none of the requested channels."""
    return sum(group.is_dropped for group in run.verification.groups)


def _checks_failed(run: Run) -> int | None:
    return sum(not check.passed for check in run.checks) if run.checks else None


METRICS: dict[str, Metric] = {
    "verdict": Metric("verdict", "higher", lambda run: run.verification.verdict.value),
    "channels_requested": Metric("count", "equal", lambda run: run.channels.requested),
    "channels_removed": Metric("count", "higher", lambda run: run.channels.removed),
    "groups_dropped": Metric("count", "lower", _groups_dropped),
    "macs": Metric("count", "lower", lambda run: run.macs.after),
    "params": Metric("count", "lower", lambda run: run.params.after),
    "bytes": Metric("count", "lower", lambda run: run.bytes_.after),
    "checks_failed": Metric("count", "lower", _checks_failed),
}
"""The metrics: only those that do not depend on the processor, so no times or rounding errors."""


@dataclass(frozen=True)
class Row:
    """One value of one run: expected, if the file has it, or found.

    Attributes:
        model: the name that the test gave.
        policy: of the run's `analysis.records.Config`, like scope and ratio.
        scope: ``global`` or ``local``.
        ratio: in [0, 1).
        metric: a name of `METRICS`.
        value: a whole number, or the text of a verdict.
        tolerance: greatest change that is accepted, in the metric's unit.
        better: which way the value improves.
    """

    model: str
    policy: str
    scope: str
    ratio: float
    metric: str
    value: int | str
    tolerance: float
    better: Better

    @property
    def key(self) -> Key:
        """The fields that identify a row and order rows."""
        return (self.model, self.policy, self.scope, self.ratio, self.metric)

    @property
    def name(self) -> str:
        """The key in words."""
        return _named(self.key)


class Kind(StrEnum):
    """How a found row differs from the expected one."""

    REGRESSION = "REGRESSION"
    WIN = "WIN"
    NEW = "NEW"
    MISSING = "MISSING"


@dataclass(frozen=True)
class Difference:
    """One row that is not as expected; ``expected`` is None for a new one, ``found`` for a missing.

    A better value is a difference, too. Once accepted, losing it again is a regression.
    """

    kind: Kind
    expected: Row | None
    found: Row | None

    @property
    def text(self) -> str:
        """The difference in one line."""
        row = self.expected or self.found
        assert row is not None
        hint = ", better than expected: accept it" if self.kind is Kind.WIN else ""
        return (
            f"{self.kind} {row.name}: expected {_said(self.expected)}, found {_said(self.found)} "
            f"(tolerance {number_text(row.tolerance)}, better: {row.better}){hint}"
        )


def rows_of(model: str, run: Run) -> tuple[Row, ...]:
    """The rows of a run, one for each metric that it has.

    Raises:
        InputError: the model's or the policy's name is no line of text.
    """
    config = run.config
    place = (one_line_name("model", model), one_line_name("policy", config.policy), config.scope)
    return tuple(
        Row(*place, float(config.ratio), name, value, 0, metric.better)
        for name, metric in METRICS.items()
        if (value := metric.of(run)) is not None
    )


def compare(
    expected: Iterable[Row], found: Iterable[Row], *, complete: bool
) -> tuple[Difference, ...]:
    """The differences beyond the tolerances, ordered by key.

    Args:
        expected: the accepted rows, whose tolerance and direction count.
        found: the rows of today.
        complete: whether every expected row had to be found.
    """
    old, new = _by_key(expected), _by_key(found)
    pairs = ((old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()))
    return tuple(
        Difference(kind, before, after)
        for before, after in pairs
        if (kind := _kind(before, after)) and (complete or kind is not Kind.MISSING)
    )


def _kind(before: Row | None, after: Row | None) -> Kind | None:
    if before is None or after is None:
        return Kind.NEW if before is None else Kind.MISSING
    change = _rank(after) - _rank(before)
    if abs(change) <= before.tolerance:
        return None
    improved = before.better == ("higher" if change > 0 else "lower")
    return Kind.WIN if improved else Kind.REGRESSION


def _rank(row: Row) -> int:
    """The value as a number that grows with it."""
    return STRENGTH.index(Verdict(row.value)) if isinstance(row.value, str) else row.value


def merge(expected: Iterable[Row], found: Iterable[Row], *, complete: bool) -> tuple[Row, ...]:
    """The rows to expect from now on: found values, with the tolerances that were accepted.

    Args:
        expected: the accepted rows.
        found: the rows of today.
        complete: whether a row that was not found is removed.
    """
    old = _by_key(expected)
    fresh = {
        key: replace(old[key], value=row.value) if key in old else row
        for key, row in _by_key(found).items()
    }
    rows = fresh if complete else old | fresh
    return tuple(rows[key] for key in sorted(rows))


def changes(before: Iterable[Row], after: Iterable[Row]) -> tuple[str, ...]:
    """A line for each value that changed, whatever its tolerance."""
    old, new = _by_key(before), _by_key(after)
    pairs = ((key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()))
    return tuple(
        f"{_named(key)}: {_said(one)} -> {_said(other)}"
        for key, one, other in pairs
        if one != other
    )


def _by_key(rows: Iterable[Row]) -> dict[Key, Row]:
    return {row.key: row for row in rows}


def _named(key: Key) -> str:
    return " ".join(map(str, key))


def _said(row: Row | None) -> str:
    return "nothing" if row is None else str(row.value)


def number_text(number: float) -> str:
    """The shortest text that reads as this number again."""
    return str(int(number)) if number == int(number) else repr(number)


def to_json(rows: Iterable[Row]) -> str:
    """Found rows as a text that a test report can carry."""
    return json.dumps([asdict(row) for row in rows])


def from_json(text: str) -> tuple[Row, ...]:
    """The rows that `to_json` was given."""
    return tuple(Row(**row) for row in json.loads(text))


def one_line_name(what: str, given: str) -> str:
    """A name as a file of rows may hold it.

    Raises:
        InputError: it is empty, or no line of text.
    """
    if not given or not given.isprintable():
        raise InputError(f"{what} {quoted(given)}; expected a name in one line")
    return given


def quoted(given: str) -> str:
    """The given value, in one short line."""
    return repr(given if len(given) <= _QUOTED else f"{given[:_QUOTED]}...")
