"""What a working process does for a command: each function takes and returns plain records."""

from collections.abc import Sequence

from analysis.costs import predicting
from analysis.costs.accounting import Account
from analysis.costs.run_costs import measure
from analysis.groups import auditing, policies
from analysis.pipeline import lint_ignored_layers
from analysis.processes import budgets
from analysis.records import (
    Config,
    CostTable,
    DependencyGroup,
    Lint,
    Misread,
    Quantity,
    RatioCurve,
    Reach,
    Request,
    Run,
    Savings,
    SubjectInfo,
)
from analysis.runs import info_of, loaded, resolved, run_of, traced

__all__ = ["costs", "groups", "lint", "prepare", "reach", "run", "sweep"]


def prepare(request: Request) -> SubjectInfo:
    """Load everything that the request names, so that bad input is refused first."""
    resolved(request)
    loaded(request.network)
    return info_of(request.network)


def lint(request: Request) -> tuple[tuple[DependencyGroup, ...], Lint]:
    """The dependency groups, those marked that the list excludes, and its lint."""
    dense = traced(request.network)
    with budgets.step("checking the ignored layers"):
        found = lint_ignored_layers(dense.model, dense.inputs, request.ignore)
    layers = {layer for lock in found.locks for layer in lock.layers}
    return policies.mark_ignored(dense.groups, layers), found


def groups(
    request: Request, audited: bool
) -> tuple[tuple[DependencyGroup, ...], dict[str, tuple[Misread, ...]] | None]:
    """The dependency groups, the excluded ones marked, and the audit if it is asked for."""
    dense = traced(request.network)
    ignored = policies.ignored_layers(request.ignore, dense.model, dense.groups)
    marked = policies.mark_ignored(dense.groups, ignored)
    if not audited:
        return marked, None
    with budgets.step("auditing the groups"):
        return marked, auditing.audit(dense.model, dense.inputs, marked)


def costs(request: Request) -> tuple[CostTable, int]:
    """The dense network's MACs and parameters, and the size of its saved weights."""
    return measure(*loaded(request.network))


def reach(request: Request, target: float, quantity: Quantity) -> tuple[Reach, Savings]:
    """The ratio that leaves so much, and where the saving there, or at the least, comes from."""
    with budgets.step("predicting costs"):
        account = _account(request)
        found = account.reach(target, quantity)
        return found, account.savings((found.point or found.least).ratio)


def sweep(request: Request, ratios: Sequence[float]) -> RatioCurve:
    """What each ratio leaves, and the groups that drop out; nothing is pruned."""
    with budgets.step("predicting costs"):
        return _account(request).curve(ratios)


def _account(request: Request) -> Account:
    dense = traced(request.network)
    return predicting.cost_account(
        dense.model,
        dense.inputs,
        request.ignore,
        scope=request.scope,
        importance=request.importance,
        round_to=request.round_to,
    )


def run(request: Request, config: Config, names: Sequence[str]) -> Run:
    """One pruning with its proof, its costs and the outcome of these checks."""
    return run_of(request, config, names)
