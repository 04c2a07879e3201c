"""The study of a subject: every policy, scope and ratio, with evidence.

The work is split into parts that take only names and numbers, so that processes can share it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from analysis.environment import versions
from analysis.errors import AnalysisError, BudgetExceededError, InputError
from analysis.gate.expected_failures import marked
from analysis.grid.cells import Cell
from analysis.grid.engine import run as run_cells
from analysis.grid.local import Local
from analysis.grid.records import End, How
from analysis.groups import explaining, policies
from analysis.groups.linting import lint_ignored_layers
from analysis.network import subjects
from analysis.network.failures import locate_failure
from analysis.network.inference import copy_of, random_state_kept
from analysis.opened import info_of
from analysis.pipeline import Dense
from analysis.processes import budgets
from analysis.proof import comparing, distinct_values, faults, mismatch, stepping
from analysis.proof.masked_dense import MaskedDense
from analysis.proof.proving import prove, prove_against
from analysis.pruning import importances, surgery
from analysis.pruning.pruners import builder, load_factory
from analysis.records import (
    CURED,
    OWN_PRUNER,
    RATIOS,
    SCOPES,
    Config,
    DependencyGroup,
    FaultCount,
    Lint,
    Mismatch,
    Network,
    Outside,
    PolicyAccount,
    RankAgreement,
    RatioCurve,
    Removal,
    Request,
    Run,
    Study,
    SubjectStudy,
    merge_cuts,
)
from analysis.runs import analysed, run_of, within

__all__ = [
    "CASE_STUDY",
    "CURVE_RATIOS",
    "RATIOS",
    "SCOPES",
    "SEED",
    "outline",
    "study",
    "with_size",
]

CURVE_RATIOS = tuple(step / 40 for step in range(39))
"""0 to 0.95 in steps of 0.025."""

TARGET = 0.5
"""The share of the MACs for which the report finds the ratio."""

_CASE = "residual-blocks"
"""The policy of the case study."""

SEED = 1
"""The first seed whose rankings have no near-tie at a published threshold.

torch-pruning ranks in float32, so another processor could rank a near-tie the other way. With this
seed every relative gap is over 5e-7, which a test asserts.
"""

CASE_STUDY = tuple(
    Request(Network(subject.name, subject.input_size, seed=SEED), ignore=_CASE)
    for subject in subjects.CASE_STUDY
)
"""The networks of the report if none is given."""

FAULTY = tuple(
    Request(Network(name, (3, 64, 64), seed=SEED)) for name in ("resnet18", "squeezenet1_1")
)
"""Further networks in which faults are planted."""


def study(
    requests: Iterable[Request],
    ratios: Iterable[float] = RATIOS,
    *,
    command: str = "",
    budget: float | None = None,
    workers: int = 0,
) -> Study:
    """Prune each network in every way the case study asks, prove each, gather the evidence.

    A network with a pruner of the user's own is pruned by that alone.

    Args:
        requests: what to study; the policy of each is the one that the report is about.
        ratios: at which each is pruned; none is that which meets the targets of its request.
        command: makes the study again.
        budget: seconds for each pruning, where they can be counted; None is no limit.
        workers: processes; 0 takes one for each core.
    """
    requests, ratios = tuple(requests), tuple(sorted(set(ratios)))
    requests = tuple(replace(request, budget=budget) for request in requests)
    is_case_study = requests == tuple(replace(each, budget=budget) for each in CASE_STUDY) and (
        ratios == RATIOS
    )
    # Faults go into the subject that is cheapest to run and, in the case study, into networks
    # with other joints: additions of another kind, concatenations.
    cheapest = min(requests, key=lambda request: request.network.input_size or ())
    faulty = (cheapest, *(FAULTY if is_case_study else ()))
    parts: list[_Part] = []
    names_of = {request: _policies(request, is_case_study) for request in requests}
    for request, names in names_of.items():
        own = ratios or (_sought(request),)
        parts += [(_runs, request, policy, own) for policy in names]
        parts += [(_accounts, request, policy, own[-1]) for policy in _costed(names)]
        if is_case_study:
            parts += [(_mismatches, request, kind) for kind in _NAIVE]
    parts += [(_faults, request, kind) for request in faulty for kind in faults.FAULTS]
    done = _share_out(parts, workers)
    return Study(
        versions=tuple(versions().items()),
        subjects=tuple(_gather(request, done, names_of[request]) for request in requests),
        command=command,
        faults=tuple(done[_faults, request, kind] for request in faulty for kind in faults.FAULTS),
        is_case_study=is_case_study,
    )


_Part = tuple[Any, ...]
"""A function, the request, a policy or kind, and what else the function takes."""


_NAIVE = ("residual", "depthwise")
"""Layers that the case study cuts alone."""


def _policies(request: Request, is_case_study: bool) -> tuple[str, ...]:
    """The policies of a network: all, or the one of its own pruner.

    That ``none`` cuts the outputs, too, is the case study's to show.
    """
    if request.pruner:
        return (OWN_PRUNER,)
    shown = [name for name in policies.POLICIES if is_case_study or name != "none"]
    return tuple(dict.fromkeys((*shown, request.policy)))


def _costed(names: Iterable[str]) -> list[str]:
    """The policies whose costs are predicted; cutting the outputs is not a saving."""
    return [policy for policy in names if policy not in ("none", OWN_PRUNER)]


def _share_out(parts: list[_Part], workers: int) -> dict[tuple[Callable[..., Any], Any, str], Any]:
    """Run every part on processes with one thread each, which any machine rounds alike with.

    Raises:
        InputError: a part has no answer.
    """
    cells = [
        Cell(
            f"{request.network.name}: {kind}",
            f"{__name__}:{function.__name__}",
            (request, kind, *more),
            subject=repr(request.network),
        )
        for function, request, kind, *more in parts
    ]
    ended = run_cells(cells, Local(workers, threads=1), title="studying")
    return {part[:3]: _answer(cell, end) for part, (cell, end) in zip(parts, ended, strict=True)}


def _answer(cell: Cell, end: End | None) -> Any:
    """What a part found.

    Raises:
        InputError: there is no answer.
    """
    if end is not None and end.how is None:
        return end.answer
    told = "it was ended from outside" if end is None else end.why
    raise InputError(told if end and end.how is How.REFUSED else f"{cell.name}: {told}")


def _gather(request: Request, done: dict[Any, Any], names: Sequence[str]) -> SubjectStudy:
    dense = _read(request)
    ignored, groups = _ignored(request, dense, names), _groups(request, dense)
    return SubjectStudy(
        info=info_of(request.network),
        headline=(OWN_PRUNER if request.pruner else request.policy, SCOPES[0]),
        costs=dense.costs,
        runs=tuple(run for policy in names for run in done[_runs, request, policy]),
        groups=groups,
        ignored=tuple(ignored.items()),
        residual=done.get((_mismatches, request, "residual"), ()),
        depthwise=done.get((_mismatches, request, "depthwise"), ()),
        accounts=tuple(
            account for policy in _costed(names) for account in done[_accounts, request, policy]
        ),
        # A pruner of the user's own has an importance of its own.
        ranking=() if request.pruner else _agreements(dense.model, groups),
        lint=_lint(dense, ignored.get(request.policy)),
        outside=_outside(dense, groups),
        cured=tuple(_cured(request, done, names)),
    )


def _cured(request: Request, done: dict[Any, Any], names: Sequence[str]) -> Iterator[Run]:
    """The prunings of the headline that are not right, pruned by groups instead."""
    own = names[0] if request.pruner else request.policy
    for run in done[_runs, request, own]:
        is_told = request.pruner or run.config.scope == SCOPES[0]
        if is_told and run.verification.verdict in CURED:
            yield run_of(request, replace(run.config, cut="groups"))


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


def with_size(request: Request) -> Request:
    """The request with the input size that its network has of itself, where it gives none."""
    network = request.network
    if network.input_size or network.inputs:
        return request
    size = subjects.subject_of(network).input_size
    return replace(request, network=replace(network, input_size=size))


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


def _runs(request: Request, policy: str, ratios: tuple[float, ...]) -> list[Run]:
    _read(request)
    asked = request if request.pruner else replace(request, ignore=_choice(request, policy))
    runs = [run_of(asked, config) for config in _configs(request, policy, ratios)]
    # What is known of the case study holds of its networks, sizes and seed.
    is_known = not request.pruner and request.network in [each.network for each in CASE_STUDY]
    return [marked(request.network.name, run) for run in runs] if is_known else runs


def _configs(request: Request, policy: str, ratios: Iterable[float]) -> list[Config]:
    """What is asked of one network under one policy; a pruner of its own has its own scope."""
    scopes = SCOPES[:1] if request.pruner else SCOPES
    asked = (Config(ratio, scope, policy=policy) for scope in scopes for ratio in ratios)
    return [_config(request, config) for config in asked]


def _config(request: Request, config: Config) -> Config:
    """What is asked; the page is about the one pruning that is held to the request's targets."""
    config = replace(config, fold_bn=request.fold_bn)
    is_told = request.pruner or (config.policy, config.scope) == (request.policy, SCOPES[0])
    return replace(config, targets=request.targets, sought=request.sought) if is_told else config


def _sought(request: Request) -> float:
    """The ratio that meets a request's targets, or leaves least; a user's own pruner has its."""
    if request.pruner:
        return 0.0
    return _read(request).reach(request.config(None), request.ignore).nearest.ratio


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


def _accounts(request: Request, policy: str, ratio: float) -> list[PolicyAccount]:
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
            reach=account.reach({"macs": TARGET}),
            savings=account.savings(config.ratio),
        )
    except AnalysisError:
        return PolicyAccount(policy, scope, nothing)


def _mismatches(request: Request, kind: str) -> tuple[Mismatch, ...]:
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


def _faults(request: Request, kind: str) -> FaultCount:
    """Plant one kind of fault in layers of the network pruned by half, one at a time."""
    name = request.network.name
    _read(request)
    with suppress(BudgetExceededError), within(request.budget):
        half = _half_pruned(request)
        if half is not None:
            return _planted(name, kind, half)
    return FaultCount(name, kind, kind in faults.FAULTS_OF_WEIGHTS, 0, 0, 0, 0, 0)


_Half = tuple[nn.Module, nn.Module, list[Removal], Any, tuple[DependencyGroup, ...]]
"""A network with distinct values, the same pruned by half, what was cut, inputs, groups."""


def _planted(name: str, kind: str, half: _Half) -> FaultCount:
    original, pruned, removals, inputs, groups = half
    cuts = merge_cuts(removals)
    plant, calls = faults.FAULTS[kind], faults.calls_of(pruned, inputs)

    def sites_of(network: nn.Module) -> Iterator[faults.Site]:
        return faults.sites(original, network, cuts, groups, calls)

    # The last ones first: a module that is replaced has no more parts to plant in.
    trial = reversed([*sites_of(copy_of(pruned))])
    takers = [site.name for site in trial if plant(site)][::-1]
    step = max(-(-len(takers) // _SITES), 1)
    masked = MaskedDense(original, removals, inputs)
    planted = shape = changed = proof = located = 0
    for taker in takers[::step]:
        broken = copy_of(pruned)
        plant(next(site for site in sites_of(broken) if site.name == taker))
        planted += 1
        shape += locate_failure(broken, inputs) is not None
        verification = prove_against(masked, broken)
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
        return half if half and half[2] and _is_proved(half) else None
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
    return original, pruned, removals, dense.inputs, groups


def _is_proved(half: _Half) -> bool:
    original, pruned, removals, inputs, _ = half
    return prove(original, pruned, removals, inputs).verdict.passes
