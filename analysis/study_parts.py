"""The parts of a study, each of which needs nothing of the others; processes share them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from torch import Tensor, nn

from analysis.errors import AnalysisError, BudgetExceededError, InputError
from analysis.groups import explaining, policies
from analysis.groups.linting import lint_ignored_layers
from analysis.network.failures import locate_failure
from analysis.network.inference import copy_of, random_state_kept
from analysis.opened import info_of
from analysis.pipeline import Dense
from analysis.processes import budgets
from analysis.proof import comparing, distinct_values, faults, mismatch, stepping
from analysis.proof.faults.sites import Calls
from analysis.proof.masked_dense import MaskedDense
from analysis.proof.proving import prove, prove_against
from analysis.pruning import importances, surgery
from analysis.pruning.pruners import builder, load_factory
from analysis.records import (
    OWN_PRUNER,
    RATIOS,
    SCOPES,
    Config,
    DependencyGroup,
    FaultCount,
    Lint,
    Mismatch,
    Outside,
    PolicyAccount,
    RankAgreement,
    RatioCurve,
    Request,
    Run,
    SubjectStudy,
)
from analysis.runs import analysed, run_of, within

__all__ = [
    "CURVE_RATIOS",
    "accounts",
    "described",
    "mismatches",
    "none_planted",
    "outline",
    "planted",
    "pruned",
    "sought",
]


CURVE_RATIOS = tuple(step / 40 for step in range(39))
"""0 to 0.95 in steps of 0.025."""

_TARGET = 0.5
"""The share of the MACs for which the report finds the ratio."""


def pruned(request: Request, config: Config) -> Run:
    """One pruning with its proof."""
    _read(request)
    asked = request if request.pruner else replace(request, ignore=_choice(request, config.policy))
    return run_of(asked, config)


def described(request: Request, names: Sequence[str]) -> tuple[SubjectStudy, int]:
    """What is known of a network before any pruning, and the bytes that it is saved in.

    Args:
        request: the network.
        names: of the policies that it is studied under.
    """
    dense = _read(request)
    ignored, groups = _ignored(request, dense, names), _groups(request, dense)
    found = SubjectStudy(
        info=info_of(request.network),
        headline=(OWN_PRUNER if request.pruner else request.policy, SCOPES[0]),
        costs=dense.costs,
        runs=(),
        groups=groups,
        ignored=tuple(ignored.items()),
        # A pruner of the user's own has an importance of its own.
        ranking=() if request.pruner else _agreements(dense.model, groups),
        lint=_lint(dense, ignored.get(request.policy)),
        outside=_outside(dense, groups),
    )
    return found, dense.saved_bytes


def sought(request: Request) -> float:
    """The ratio that meets a request's targets, or leaves least; a user's own pruner has its."""
    if request.pruner:
        return 0.0
    return _read(request).reach(request.config(None), request.ignore).nearest.ratio


def outline(request: Request) -> SubjectStudy:
    """The page's entry of a network whose prunings are known already.

    Raises:
        InputError: as `analysis.runs.analysed`.
    """
    dense, last = analysed(request.network), max(request.configs, key=lambda each: each.ratio)
    info = info_of(request.network)
    if request.pruner:
        groups = _groups(request, dense)
        return SubjectStudy(info, (OWN_PRUNER, last.scope), dense.costs, (), groups)
    ignored = policies.ignored_layers(request.ignore, dense.model, dense.groups)
    return SubjectStudy(
        info,
        (last.policy, last.scope),
        dense.costs,
        (),
        dense.dependency_groups,
        ((last.policy, ignored),),
        accounts=(_account(dense, ignored, last),),
    )


def _read(request: Request) -> Dense:
    """The dense network; DepGraph is asked about it where no pruner of the user's own is.

    Raises:
        InputError: it is not read within the budget.
    """
    try:
        with within(request.budget):
            dense = analysed(request.network)
    except BudgetExceededError as error:
        message = f"{request.network.name}: {error.reason}; give it a larger budget"
        raise InputError(message) from None
    if not request.pruner:
        dense.ask_depgraph(request.budget if budgets.can_be_held() else None)
    return dense.folded if request.fold_bn else dense


def _groups(request: Request, dense: Dense) -> tuple[DependencyGroup, ...]:
    """torch-pruning's groups; those of a pruner of the user's own, where it has one."""
    if not request.pruner:
        return dense.dependency_groups
    with suppress(AnalysisError, BudgetExceededError), within(request.budget):
        model = copy_of(dense.model)
        return stepping.Progress().cut_by(_pruner(request, dense, model), model, dense.inputs)
    return ()


def _pruner(request: Request, dense: Dense, model: nn.Module) -> Any:
    """A pruner for half of the channels of a copy, as the request says."""
    ignored = () if request.pruner else policies.ignored_layers("classifier", model, dense.groups)
    build = builder(Config(0.5, "local"), dense.inputs, ignored, load_factory(request.pruner))
    with random_state_kept():
        return build(model, None)[0]


def _outside(dense: Dense, groups: Sequence[DependencyGroup]) -> tuple[Outside, ...]:
    """Layers of which torch-pruning finds no group; empty if it finds none at all."""
    if not groups:
        return ()
    members = {each.layer for group in groups for each in group.members}
    return explaining.outside(dense.followed, members)


def _lint(dense: Dense, ignored: tuple[str, ...] | None) -> Lint | None:
    if ignored is not None and dense.error is None:
        with suppress(AnalysisError):
            return lint_ignored_layers(dense.model, dense.inputs, ignored)
    return None


def _choice(request: Request, policy: str) -> Any:
    """The layers that keep their outputs under a policy, as the request says them."""
    return request.ignore if policy == request.policy else policy


def _ignored(request: Request, dense: Dense, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each policy, the layers it excludes; what a user's own pruner does is not known."""
    return {
        policy: policies.ignored_layers(_choice(request, policy), dense.model, dense.groups)
        for policy in names
        if policy != OWN_PRUNER
    }


def accounts(request: Request, policy: str, ratio: float) -> list[PolicyAccount]:
    """The costs of all ratios under one policy, by scope; none if there is no time for them."""
    dense = _read(request)
    with suppress(BudgetExceededError), within(request.budget):
        ignored = _ignored(request, dense, (policy,))[policy]
        return [_account(dense, ignored, Config(ratio, scope, policy=policy)) for scope in SCOPES]
    return []


def _account(dense: Dense, ignored: tuple[str, ...], config: Config) -> PolicyAccount:
    """The costs of all ratios under one policy and scope, and the saving by group at one.

    Only the curve, empty, if they are not expressible.
    """
    policy, scope = config.policy, config.scope
    nothing = RatioCurve(dense.costs.macs, dense.costs.params, ())
    if dense.error is not None or not dense.dependency_groups:
        return PolicyAccount(policy, scope, nothing)
    try:
        account = dense.account_of(ignored, config, dense.dependency_groups, dense.reached)
        return PolicyAccount(
            policy=policy,
            scope=scope,
            curve=account.curve(CURVE_RATIOS).complete(),
            macs_scaling=account.scaling("macs"),
            params_scaling=account.scaling("params"),
            reach=account.reach({"macs": _TARGET}),
            savings=account.savings(config.ratio),
        )
    except AnalysisError:
        return PolicyAccount(policy, scope, nothing)


def mismatches(request: Request, kind: str) -> tuple[Mismatch, ...]:
    """What cutting layers of one kind alone does; nothing if there is no time for it."""
    if request.pruner:
        return ()  # what torch-pruning makes of it by itself is not asked
    dense = _read(request)
    reproduce = {
        "residual": mismatch.reproduce_residual_mismatch,
        "depthwise": mismatch.reproduce_depthwise_mismatch,
    }
    # What its runs say, or more than there is time for.
    with suppress(AnalysisError, BudgetExceededError), within(request.budget):
        return reproduce[kind](dense.model, dense.inputs) if dense.error is None else ()
    return ()


def _agreements(model: nn.Module, groups: tuple[DependencyGroup, ...]) -> tuple[RankAgreement, ...]:
    scores = importances.group_importances(model, groups)
    norms = importances.filter_norms(model, groups)
    return tuple(
        RankAgreement(
            root=group.root,
            width=group.width,
            correlation=importances.spearman(scores[group.root], norms[group.root]),
            same=tuple(
                (ratio, _share_in_common(scores[group.root], norms[group.root], ratio))
                for ratio in RATIOS
            ),
        )
        for group in groups
        if group.root in norms
    )


def _share_in_common(first: Tensor, second: Tensor, ratio: float) -> float:
    count = len(first) - int(len(first) * (1 - ratio))
    lowest = [set(scores.argsort()[:count].tolist()) for scores in (first, second)]
    return len(lowest[0] & lowest[1]) / count


def planted(request: Request, kind: str) -> FaultCount:
    """Plant one kind of fault in layers of the network pruned by half, one at a time."""
    _read(request)
    with suppress(BudgetExceededError), within(request.budget):
        half = _half_pruned(request)
        if half is not None:
            return _counted(request.network.name, kind, half)
    return none_planted(request, kind)


def none_planted(request: Request, kind: str) -> FaultCount:
    """What there is of faults where nothing was planted."""
    of_weights = kind in faults.FAULTS_OF_WEIGHTS
    return FaultCount(request.network.name, kind, of_weights, 0, 0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class _Half:
    """A network pruned by half, and what the trials of all kinds of fault share.

    Attributes:
        masked: the network with distinct values.
        pruned: the same pruned by half.
        groups: its groups.
    """

    masked: MaskedDense
    pruned: nn.Module
    groups: tuple[DependencyGroup, ...]

    @cached_property
    def calls(self) -> Calls:
        return faults.calls_of(self.pruned, self.masked.examples)

    def sites_of(self, network: nn.Module) -> Iterator[faults.Site]:
        """The places for a fault in a copy of the pruned network."""
        masked = self.masked
        return faults.sites(masked.dense, network, masked.cuts, self.groups, self.calls)


def _counted(name: str, kind: str, half: _Half) -> FaultCount:
    plant, pruned = faults.FAULTS[kind], half.pruned
    # The last ones first: a module that is replaced has no more parts to plant in.
    trial = reversed([*half.sites_of(copy_of(pruned))])
    takers = [site.name for site in trial if plant(site)][::-1]
    step = max(-(-len(takers) // _SITES), 1)
    planted = shape = changed = proof = located = 0
    for taker in takers[::step]:
        broken = copy_of(pruned)
        plant(next(site for site in half.sites_of(broken) if site.name == taker))
        planted += 1
        shape += locate_failure(broken, half.masked.examples) is not None
        verification = prove_against(half.masked, broken)
        changed += (verification.max_rel_error or 0.0) > comparing.TOLERANCE
        proof += not verification.verdict.passes
        located += faults.is_named(taker, verification)
    of_weights = kind in faults.FAULTS_OF_WEIGHTS
    return FaultCount(name, kind, of_weights, planted, shape, changed, proof, located)


_SITES = 12
"""Layers that each kind of fault is planted in, spread over the network."""


@lru_cache(maxsize=1)
def _half_pruned(request: Request) -> _Half | None:
    """The network pruned by half; None where that cuts nothing, or is not proved."""
    dense = analysed(request.network)
    with suppress(AnalysisError):  # its runs say why
        is_told = request.pruner or dense.error is None
        half = _pruned_by_half(request, dense) if is_told else None
        return half if half and half.masked.removals and _is_proved(half) else None
    return None


def _pruned_by_half(request: Request, dense: Dense) -> _Half:
    original = copy_of(dense.model)
    distinct_values.make_distinct(original, dense.inputs)
    pruned = copy_of(original)
    pruner = _pruner(request, dense, pruned)
    groups = _groups(request, dense)
    history = surgery.Ledger(pruner.DG)
    removals = []
    while pruner.current_step < pruner.iterative_steps:
        removals += [since_start for _, since_start in surgery.step(pruner, history)]
    return _Half(MaskedDense(original, removals, dense.inputs), pruned, groups)


def _is_proved(half: _Half) -> bool:
    masked = half.masked
    found = prove(masked.dense, half.pruned, masked.removals, masked.examples, masked.noted)
    return found.verdict.passes
