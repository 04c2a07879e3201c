"""One pruning from what was asked to what was proved, and the checks that it is held to."""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.records.accuracy import Metric
from analysis.records.costs import CostTable, Saved, Sizes
from analysis.records.proof import Verdict, Verification
from analysis.records.pruning import Channels
from analysis.records.requests import Config

__all__ = ["MEETS_TARGET", "METRICS_HELD", "CheckResult", "Run", "ScopeAccount", "timed_out"]

MEETS_TARGET = "meets_target"
"""The check on what is left, which is made where anything is to be left at most."""

METRICS_HELD = "metrics_held"
"""The check on what the user's own metrics lose, which is made where a loss is tolerated."""


@dataclass(frozen=True)
class ScopeAccount:
    """Asked against done for the groups that are ranked together.

    Attributes:
        name: ``global``, the root of a group that is ranked alone, or what tells the scope apart.
        ratio: what is asked of it.
        groups: how many it ranks.
        channels: of these groups.
        macs: its groups' shares (see `GroupSaving`) of the MACs that all asked, and all removed,
            channels take along.
        params: the same of the parameters.
    """

    name: str
    ratio: float
    groups: int
    channels: Channels
    macs: Saved
    params: Saved


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one named property.

    Attributes:
        name: of the catalogue.
        passed: whether it holds, or could not be looked at.
        message: why it does not hold.
        known: why it is expected to fail, if it is.
        skipped: why it could not be looked at, if so.
    """

    name: str
    passed: bool
    message: str = ""
    known: str = ""
    skipped: str = ""


@dataclass(frozen=True)
class Run:
    """One pruning of one subject, from what was asked to what was proved.

    ``costs`` is None where the pruned network could not be counted; ``bytes_`` is the size of
    the saved state dict; ``scopes`` is empty where what was asked is not known, ``metrics`` where
    nothing was measured.
    """

    config: Config
    verification: Verification
    channels: Channels
    params: Sizes
    macs: Sizes
    bytes_: Sizes
    costs: CostTable | None
    checks: tuple[CheckResult, ...] = ()
    scopes: tuple[ScopeAccount, ...] = ()
    metrics: tuple[Metric, ...] = ()

    @property
    def sizes(self) -> dict[str, Sizes]:
        """By what a target may be of, what was and what is left."""
        return {"macs": self.macs, "params": self.params, "bytes": self.bytes_}

    @property
    def failures(self) -> list[CheckResult]:
        """The checks that fail and are not expected to: of the targets first."""
        failed = (check for check in self.checks if not check.passed and not check.known)
        return sorted(failed, key=lambda check: check.name != MEETS_TARGET)

    @property
    def may_be_kept(self) -> bool:
        """Whether it is proved, and meets what was asked of costs and metrics, if anything was."""
        asked = (MEETS_TARGET, METRICS_HELD)
        missed = any(not each.passed for each in self.checks if each.name in asked)
        return self.verification.verdict.passes and not missed

    @property
    def passed(self) -> bool:
        """Whether every check passes that is not expected to fail, and, unchecked, the verdict."""
        if not self.checks:
            return self.verification.verdict.passes
        return all(check.passed or check.known for check in self.checks)


def timed_out(
    config: Config, reason: str, costs: CostTable, saved_bytes: int, names: Iterable[str]
) -> Run:
    """The run of a pruning, or of its proof, that did not end within its budget.

    None of the checks named can be said to hold.
    """
    return Run(
        config,
        Verification(Verdict.TIMEOUT, reason),
        Channels(prunable=0, requested=None, removed=0),
        params=Sizes(costs.params, None),
        macs=Sizes(costs.macs, None),
        bytes_=Sizes(saved_bytes, None),
        costs=None,
        checks=tuple(CheckResult(name, False, f"{Verdict.TIMEOUT}: {reason}") for name in names),
    )
