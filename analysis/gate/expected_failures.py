"""The expected failures of the case study, with reasons. They are strict both ways.

A failure that is not listed fails, and so does a listed one that passes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.environment import versions
from analysis.records import CheckResult, Config, Run

__all__ = ["EXPECTED_FAILURES", "ExpectedFailure", "marked"]

_FILE = Path(__file__).with_name("expected_failures.json")


@dataclass(frozen=True)
class ExpectedFailure:
    """A check that fails in one run of the case study.

    Attributes:
        model: the subject.
        policy: of the run.
        scope: of the run.
        ratio: of the run.
        check: its name in the catalogue.
        reason: why it fails.
        pruner: versions of torch-pruning it holds for, as a prefix ("1.4."); empty for all.
    """

    model: str
    policy: str
    scope: str
    ratio: float
    check: str
    reason: str
    pruner: str = ""

    def is_of(self, model: str, config: Config) -> bool:
        """Whether it speaks of this run, with the torch-pruning that is installed."""
        return (self.model, self.policy, self.scope, self.ratio) == (
            model,
            config.policy,
            config.scope,
            config.ratio,
        ) and versions()["torch-pruning"].startswith(self.pruner)


EXPECTED_FAILURES = tuple(
    ExpectedFailure(**entry) for entry in json.loads(_FILE.read_text("utf-8"))
)
"""Those of the data file ``expected_failures.json`` beside this module."""


def marked(model: str, run: Run, known: Iterable[ExpectedFailure] = EXPECTED_FAILURES) -> Run:
    """The run with its expected failures marked so, and failing where one of them passes."""
    reasons = {entry.check: entry.reason for entry in known if entry.is_of(model, run.config)}
    return replace(
        run, checks=tuple(_marked(check, reasons.get(check.name, "")) for check in run.checks)
    )


def _marked(check: CheckResult, reason: str) -> CheckResult:
    if not reason:
        return check
    if check.passed:
        why = f"passes, though expected to fail ({reason}); take it out of {_FILE.name}"
        return CheckResult(check.name, False, why)
    return replace(check, known=reason)
