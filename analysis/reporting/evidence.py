"""Evidence for the claims of a section: tests of this project, checks of every pruning."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.records import CheckResult, Study
from analysis.reporting.outcomes import Outcomes
from analysis.reporting.section import Section

__all__ = ["Evidence", "ended", "evidence", "words_of"]

_ORDER = ("passed", "failed", "expected to fail", "skipped")


@dataclass(frozen=True)
class Evidence:
    """Something that holds a claim.

    Attributes:
        name: of a check, or of a file of tests.
        outcome: in this run.
        passed: whether nothing failed; None where nothing ran.
        parts: for a file, each test with its outcome.
    """

    name: str
    outcome: str
    passed: bool | None
    parts: tuple[tuple[str, str], ...] = ()


def evidence(section: Section, study: Study, outcomes: Outcomes) -> tuple[Evidence, ...]:
    """What holds the claims of one section; tests only of what they are about: the case study."""
    found = [*_checks(section, study)]
    if study.is_case_study:
        found += [_tests(file, outcomes) for file in section.tests]
    return tuple(found)


def _checks(section: Section, study: Study) -> Iterator[Evidence]:
    checks = [check for _, run in study.judged for check in run.checks]
    for name in section.checks:
        found = Counter(ended(check) for check in checks if check.name == name)
        if found:
            yield Evidence(name, f"prunings: {words_of(found)}", not found["failed"])


def ended(check: CheckResult) -> str:
    """The one word for the outcome of a check, wherever it is shown."""
    if check.skipped:
        return "skipped"
    return "passed" if check.passed else "expected to fail" if check.known else "failed"


def _tests(file: str, outcomes: Outcomes) -> Evidence:
    functions = outcomes.get(file, {})
    if not functions:
        return Evidence(file, "not run in this run", None)
    total = sum(functions.values(), Counter())
    parts = tuple((name, words_of(found)) for name, found in functions.items())
    return Evidence(file, words_of(total), not total["failed"], parts)


def words_of(found: Counter[str]) -> str:
    """How many ended in which way."""
    return ", ".join(f"{found[name]} {name}" for name in _ORDER if found[name])
