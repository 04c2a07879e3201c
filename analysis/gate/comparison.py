"""Compare two sets of prunings: what is better, worse, new or gone.

Takes two sets of named runs and returns an entry for each run that differs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from analysis.gate.baseline import Difference, Kind, Row, compare, rows_of
from analysis.records import Config, Run

__all__ = ["Change", "NamedRun", "RunChange", "compared", "is_regression"]

NamedRun = tuple[str, Run]
"""The name of a network, and one of its prunings."""


class Change(StrEnum):
    """Which way something went."""

    WORSE = "worse"
    BETTER = "better"
    NEW = "new"
    GONE = "gone"


_CHANGES = {
    Kind.REGRESSION: Change.WORSE,
    Kind.WIN: Change.BETTER,
    Kind.NEW: Change.NEW,
    Kind.MISSING: Change.GONE,
}


@dataclass(frozen=True)
class RunChange:
    """The changes of one pruning in one direction.

    Attributes:
        change: which way.
        network: its name.
        before: the earlier run; None of a new one.
        after: the later run; None of one that is gone.
        differences: the values that went this way; empty where the whole run is new or gone.
    """

    change: Change
    network: str
    before: Run | None
    after: Run | None
    differences: tuple[Difference, ...] = ()

    @property
    def config(self) -> Config:
        """The request to the run."""
        run = self.after or self.before
        assert run is not None
        return run.config

    @property
    def fails(self) -> bool:
        """Whether the later run has a verdict that does not pass."""
        return self.after is not None and not self.after.verification.verdict.passes


def compared(before: Iterable[NamedRun], after: Iterable[NamedRun]) -> tuple[RunChange, ...]:
    """The changes: regressions first, then failing runs, then by kind of change.

    Runs correspond if network, policy, scope and ratio are the same. A run that only one side has
    is new or gone, never better or worse.
    """
    old, new = _by_place(before), _by_place(after)
    found = [change for place in (new | old) for change in _of_run(old.get(place), new.get(place))]
    order = list(Change)
    return tuple(
        sorted(
            found,
            key=lambda each: (
                each.change is not Change.WORSE,
                not each.fails,
                order.index(each.change),
            ),
        )
    )


def is_regression(changes: Iterable[RunChange]) -> bool:
    """Whether anything got worse."""
    return any(each.change is Change.WORSE for each in changes)


def _by_place(runs: Iterable[NamedRun]) -> dict[tuple[str, str, str, float], NamedRun]:
    return {
        (name, run.config.policy, run.config.scope, run.config.ratio): (name, run)
        for name, run in runs
    }


def _of_run(before: NamedRun | None, after: NamedRun | None) -> Iterator[RunChange]:
    if before is None or after is None:
        (name, _), change = (before or after) or ("", None), (Change.GONE if before else Change.NEW)
        yield RunChange(change, name, before and before[1], after and after[1])
        return
    differences = compare(_rows(*before), _rows(*after), complete=True)
    for kind, change in _CHANGES.items():
        of_kind = tuple(each for each in differences if each.kind is kind)
        if of_kind:
            yield RunChange(change, after[0], before[1], after[1], of_kind)


def _rows(name: str, run: Run) -> list[Row]:
    """The values of a run that are compared, with each check; skipped checks are left out."""
    numbers = [row for row in rows_of(name, run) if row.metric != "checks_failed"]
    config = run.config
    place = (name, config.policy, config.scope, config.ratio)
    checks = [
        Row(*place, check.name, int(not check.passed), 0, "lower")
        for check in run.checks
        if not check.skipped
    ]
    return [*numbers, *checks]
