"""What a working process does for a command: each function takes and returns plain records."""

from collections.abc import Sequence
from functools import lru_cache

from torch import nn

from analysis import checks, pipeline, study
from analysis.costs import predicting
from analysis.costs.accounting import Account
from analysis.errors import InputError
from analysis.groups import auditing, depgraph, policies
from analysis.network import subjects
from analysis.network.inference import Inputs
from analysis.network.loading import load_callable
from analysis.processes import budgets
from analysis.records import (
    Config,
    CostTable,
    Group,
    Lint,
    Misread,
    Quantity,
    RatioCurve,
    Reach,
    Request,
    Run,
    Savings,
    SubjectInfo,
    Thresholds,
)

__all__ = [
    "catalogue",
    "costs",
    "groups",
    "lint",
    "named_checks",
    "prepare",
    "reach",
    "run",
    "sweep",
]


def prepare(request: Request) -> SubjectInfo:
    """Load everything that the request names, so that bad input is refused first."""
    subject, _, _ = _loaded(request)
    policies.resolve(request.policy)
    if request.pruner:
        load_callable(request.pruner, "--pruner")
    size = None if request.inputs else subject.input_size
    return SubjectInfo(subject.name, size, request.weights, request.seed)


def lint(request: Request) -> tuple[tuple[Group, ...], Lint]:
    """The dependency groups, those marked that the list of ignored layers holds, and its lint."""
    dense = _traced(request)
    given = policies.entries(policies.resolve(request.policy), dense.model, dense.groups)
    with budgets.step("checking the ignored layers"):
        found = pipeline.lint_ignored_layers(dense.model, dense.inputs, given)
    layers = {layer for lock in found.locks for layer in lock.layers}
    return depgraph.hold(dense.groups, layers), found


def groups(
    request: Request, audited: bool
) -> tuple[tuple[Group, ...], dict[str, tuple[Misread, ...]] | None]:
    """The dependency groups, those that the policy holds marked, and the audit if it is asked."""
    dense = _traced(request)
    ignored = policies.ignored_layers(policies.resolve(request.policy), dense.model, dense.groups)
    held = depgraph.hold(dense.groups, ignored)
    if not audited:
        return held, None
    with budgets.step("auditing the groups"):
        return held, auditing.audit(dense.model, dense.inputs, held)


def costs(request: Request) -> tuple[CostTable, int]:
    """The dense network's MACs and parameters, and the size of its saved weights."""
    _, model, inputs = _loaded(request)
    return pipeline.measure(model, inputs)


def reach(
    request: Request, config: Config, target: float, quantity: Quantity
) -> tuple[Reach, Savings]:
    """The ratio that leaves so much, and where the saving there, or at the least, comes from."""
    with budgets.step("predicting costs"):
        account = _account(request, config)
        found = account.reach(target, quantity)
        return found, account.savings((found.point or found.least).ratio)


def sweep(request: Request, config: Config, ratios: Sequence[float]) -> RatioCurve:
    """What each ratio leaves, and the groups that drop out; nothing is pruned."""
    with budgets.step("predicting costs"):
        return _account(request, config).curve(ratios)


def _account(request: Request, config: Config) -> Account:
    dense = _traced(request)
    ignored = policies.ignored_layers(policies.resolve(request.policy), dense.model, dense.groups)
    return predicting.cost_account(
        dense.model,
        dense.inputs,
        ignored,
        scope=config.scope,
        importance=config.importance,
        round_to=config.round_to,
    )


def catalogue() -> list[tuple[str, str, str, bool]]:
    """Of every check its name, its meaning, what it needs, and whether it is of the pruning."""
    return [
        (name, check.meaning, check.needs, check.of_pruning)
        for name, check in checks.CATALOGUE.items()
    ]


def named_checks(names: Sequence[str] | None) -> tuple[str, ...]:
    """The names, if all are of the catalogue, of which ``all`` stands for every one.

    Those that are about the pruning itself if None is given.
    """
    if names is None:
        return checks.OF_PRUNING
    return tuple(checks.CATALOGUE) if tuple(names) == ("all",) else checks.named(names)


def run(
    request: Request,
    config: Config,
    thresholds: Thresholds | None = None,
    names: Sequence[str] | None = None,
) -> Run:
    """One pruning with its proof, its costs and the outcome of these checks."""
    factory = load_callable(request.pruner, "--pruner") if request.pruner else None
    policy = policies.resolve(request.policy)
    return study.checked_run(
        _dense(request), config, policy, factory, thresholds, named_checks(names)
    )


@lru_cache(maxsize=1)
def _loaded(request: Request) -> tuple[subjects.Subject, nn.Module, Inputs]:
    return subjects.load(request)


@lru_cache(maxsize=1)
def _dense(request: Request) -> pipeline.Dense:
    _, model, inputs = _loaded(request)
    return pipeline.analyse(model, inputs)


def _traced(request: Request) -> pipeline.Dense:
    """The dense network, if DepGraph could trace it."""
    dense = _dense(request)
    if dense.error is not None:
        raise InputError(f"{dense.error.verdict}: {dense.error.reason}")
    return dense
