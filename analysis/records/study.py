"""The contents of a report."""

from dataclasses import dataclass

from analysis.records.costs import CostTable, RatioCurve, Reach, Savings, Scaling
from analysis.records.groups import DependencyGroup, Lint, Outside
from analysis.records.proof import FaultCount, Mismatch, Verdict
from analysis.records.pruning import RankAgreement
from analysis.records.requests import OWN_PRUNER
from analysis.records.runs import Run

__all__ = [
    "NetworkAudit",
    "NetworkCosts",
    "NetworkGroups",
    "NetworkPruned",
    "PolicyAccount",
    "Study",
    "SubjectInfo",
    "SubjectStudy",
    "ZooRecord",
]


@dataclass(frozen=True)
class ZooRecord:
    """One model of the zoo: its inputs, its recipe, and the verdict."""

    name: str
    task: str
    sizes: tuple[tuple[int, ...], ...]
    told: str
    verdict: Verdict
    reason: str
    max_rel_error: float | None
    removed: int
    params_before: int
    params_after: int
    seconds: float


@dataclass(frozen=True)
class NetworkGroups:
    """The groups of one network of another package.

    Attributes:
        groups: how many.
        prunable: how many may lose channels.
        channels: of all groups.
        sets: of channels that go together, in all groups.
        seconds: to find them.
    """

    groups: int
    prunable: int
    channels: int
    sets: int
    seconds: float


@dataclass(frozen=True)
class NetworkAudit:
    """How torch-pruning would cut the groups of one network.

    Attributes:
        counts: groups by answer, see `Audited`.
        differing: the first few that are not the same: group, answer and why.
    """

    counts: dict[str, int]
    differing: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class NetworkCosts:
    """What the ratio is predicted to leave of one network; ``reason`` says why it is not known."""

    macs: int
    params: int
    macs_left: int | None
    params_left: int | None
    reason: str


@dataclass(frozen=True)
class NetworkPruned:
    """The result of a pruner on one network; None is not known."""

    verdict: Verdict
    reason: str
    max_rel_error: float | None = None
    removed: int | None = None
    params_before: int | None = None
    params_after: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class SubjectInfo:
    """A subject without its modules; ``input_size`` is None where inputs were given.

    ``outputs`` are the paths of those that are compared; empty is all.
    """

    name: str
    input_size: tuple[int, ...] | None
    weights: str
    seed: int
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyAccount:
    """The costs at each ratio under one policy and scope.

    Attributes:
        policy: its name.
        scope: ``global`` or ``local``.
        curve: the MACs and parameters left at each ratio.
        macs_scaling: how the MACs scale with the ratio; None if nothing could be traced.
        params_scaling: the same for the parameters.
        reach: the ratio that leaves half of the MACs, and the least that any ratio leaves.
        savings: the saving at one ratio, by group.
    """

    policy: str
    scope: str
    curve: RatioCurve
    macs_scaling: Scaling | None = None
    params_scaling: Scaling | None = None
    reach: Reach | None = None
    savings: Savings | None = None


@dataclass(frozen=True)
class SubjectStudy:
    """The contents of a report for one subject.

    Attributes:
        info: name, input size, weights, seed.
        headline: policy and scope of the runs that the summary is about.
        costs: the dense network's.
        runs: one for each policy, scope and ratio.
        groups: its dependency groups, nothing ignored.
        ignored: for each policy, the layers it excludes.
        residual: the result of cutting each projection alone.
        depthwise: the result of cutting each depthwise convolution alone.
        accounts: costs, one account for each policy that keeps the outputs and each scope.
        ranking: the two importances compared, group by group.
        lint: of the layers that the headline's policy ignores; None if nothing was traced.
        outside: layers with parameters that are in none of the groups.
        cured: the runs of the headline that are not right, pruned by groups instead.
    """

    info: SubjectInfo
    headline: tuple[str, str]
    costs: CostTable
    runs: tuple[Run, ...]
    groups: tuple[DependencyGroup, ...] = ()
    ignored: tuple[tuple[str, tuple[str, ...]], ...] = ()
    residual: tuple[Mismatch, ...] = ()
    depthwise: tuple[Mismatch, ...] = ()
    accounts: tuple[PolicyAccount, ...] = ()
    ranking: tuple[RankAgreement, ...] = ()
    lint: Lint | None = None
    outside: tuple[Outside, ...] = ()
    cured: tuple[Run, ...] = ()

    def select(self, policy: str, scope: str) -> list[Run]:
        """The runs under one policy and scope, by ratio."""
        found = [
            run for run in self.runs if (run.config.policy, run.config.scope) == (policy, scope)
        ]
        return sorted(found, key=lambda run: run.config.ratio)

    @property
    def headline_runs(self) -> list[Run]:
        """The runs of the headline, by ratio; a pruner of the user's own chooses its scope."""
        if self.headline[0] == OWN_PRUNER:
            return sorted(self.runs, key=lambda run: run.config.ratio)
        return self.select(*self.headline)

    def account(self, policy: str, scope: str) -> PolicyAccount | None:
        """The account of costs under one policy and scope; None if there is none."""
        return next(
            (entry for entry in self.accounts if (entry.policy, entry.scope) == (policy, scope)),
            None,
        )


@dataclass(frozen=True)
class Study:
    """The content of a report.

    Attributes:
        versions: of the packages that made the numbers.
        subjects: the networks.
        command: the command that makes the report again.
        faults: how many planted faults the proof and the shapes detect, by network and kind.
        is_case_study: whether it is the report whose claims this project's tests assert.
        refused: why requested networks could not be analysed.
    """

    versions: tuple[tuple[str, str], ...]
    subjects: tuple[SubjectStudy, ...]
    command: str
    faults: tuple[FaultCount, ...] = ()
    is_case_study: bool = False
    refused: tuple[str, ...] = ()

    @property
    def shown(self) -> list[tuple[SubjectStudy, Run]]:
        """The runs that the report lists: all of the case study, else those of the headline."""
        return [
            (subject, run)
            for subject in self.subjects
            for run in (subject.runs if self.is_case_study else subject.headline_runs)
        ]

    @property
    def judged(self) -> list[tuple[SubjectStudy, Run]]:
        """The runs that must pass.

        For the case study these are all runs that keep their outputs: the policy ``none`` prunes
        the outputs and so changes their shape, to show what they cost. For other networks these are
        the runs of the headline; other policies are shown for comparison.
        """
        return [
            (subject, run)
            for subject, run in self.shown
            if not (self.is_case_study and run.config.policy == "none")
        ]

    @property
    def passed(self) -> bool:
        """Whether there is a run that must pass, and all of them do."""
        judged = [run for _, run in self.judged]
        return bool(judged) and not self.refused and all(run.passed for run in judged)
