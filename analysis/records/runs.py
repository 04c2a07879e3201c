"""One pruning from request to proof, and its checks."""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.records.accuracy import Metric
from analysis.records.costs import CostTable, Saved, Sizes
from analysis.records.latency import Latency, Spread
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
    """Requested and removed for the groups that are ranked together.

    Attributes:
        name: ``global``, the root of a group that is ranked alone, or a name that distinguishes the
            scope.
        ratio: the ratio requested of it.
        groups: how many it ranks.
        channels: of these groups.
        macs: its groups' shares (see `GroupSaving`) of the MACs that are saved by removing all
            requested, and all removed, channels.
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
    """The outcome of one check.

    Attributes:
        name: its name in the catalogue.
        passed: whether it holds, or was skipped.
        message: why it fails.
        known: why it is expected to fail, if it is.
        skipped: why it was skipped, if it was.
    """

    name: str
    passed: bool
    message: str = ""
    known: str = ""
    skipped: str = ""


@dataclass(frozen=True)
class Run:
    """One pruning of one subject, from request to proof.

    ``costs`` is None where the pruned network could not be counted; ``bytes_`` is the size of
    the saved state dict; ``scopes`` is empty where what was asked is not known, ``metrics`` where
    nothing was measured; so ``latency`` is None.
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
    latency: Latency | None = None

    @property
    def sizes(self) -> dict[str, Sizes]:
        """By what a target may be of that is counted, what was and what is left."""
        return {"macs": self.macs, "params": self.params, "bytes": self.bytes_}

    @property
    def time_left(self) -> Spread | None:
        """The share of the dense network's time that is left; None where it is not known."""
        return self.latency.ratio if self.latency else None

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
        """Whether the checks pass, but for expected failures; without checks, the verdict."""
        if not self.checks:
            return self.verification.verdict.passes
        return all(check.passed or check.known for check in self.checks)


def timed_out(
    config: Config, reason: str, dense: tuple[CostTable, int] | None, names: Iterable[str]
) -> Run:
    """The run of a pruning, or of its proof, that did not end within its budget.

    None of the checks named can be said to hold. ``dense`` are costs and bytes of the network
    before it; None where counting them did not end either.
    """
    costs, saved_bytes = dense or (None, None)
    params, macs = (costs.params, costs.macs) if costs else (None, None)
    return Run(
        config,
        Verification(Verdict.TIMEOUT, reason),
        Channels(prunable=0, requested=None, removed=0),
        params=Sizes(params, None),
        macs=Sizes(macs, None),
        bytes_=Sizes(saved_bytes, None),
        costs=None,
        checks=tuple(CheckResult(name, False, f"{Verdict.TIMEOUT}: {reason}") for name in names),
    )
