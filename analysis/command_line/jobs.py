"""The work of a command in a child process: each function takes and returns records.

Functions that need torch-pruning import it themselves, because that takes longer than torch.
"""

from collections.abc import Mapping, Sequence

from analysis.costs import predicting
from analysis.costs.accounting import Account
from analysis.costs.folding import folded, folds_of
from analysis.costs.followed import counted
from analysis.costs.run_costs import measure
from analysis.groups import explaining, linting, policies
from analysis.network.inference import copy_of
from analysis.network.passed import passed
from analysis.network.reached import reached_layers
from analysis.opened import Last, info_of, labelled, loaded, resolved
from analysis.processes import budgets
from analysis.records import (
    CUTS,
    Audited,
    Comparison,
    Config,
    CostTable,
    Counterexample,
    CurvePoint,
    Group,
    GroupSensitivity,
    Lint,
    Network,
    Outside,
    RatioCurve,
    Reach,
    Request,
    Run,
    Savings,
    SubjectInfo,
    Suggestion,
    Verdict,
)

__all__ = [
    "audit",
    "compare",
    "costs",
    "cut_alone",
    "groups",
    "left",
    "lint",
    "minimized",
    "outside",
    "prepare",
    "reach",
    "ready",
    "run",
    "suggested",
    "sweep",
    "why",
]


def prepare(request: Request) -> SubjectInfo:
    """Load everything that the request names, so that bad input is refused first."""
    resolved(request)
    loaded(request.network)
    return info_of(request.network)


def groups(request: Request) -> tuple[Group, ...]:
    """The groups, with those marked that the request excludes."""
    model, _ = loaded(request.network)
    choice = policies.choice_of(request.ignore, model)
    with budgets.step("following the channels"):
        found = labelled(request.network).groups
    if request.pruner is not None:
        return policies.mark_ignored(found, _ignored_by_pruner(request))
    return policies.mark_ignored(found, policies.ignored_layers(choice, model, found))


def _ignored_by_pruner(request: Request) -> tuple[str, ...]:
    """Names of the layers that the user's own pruner ignores, built on a copy."""
    from analysis.groups.depgraph import ignored_by
    from analysis.pruning.pruners import builder, load_factory

    model, inputs = loaded(request.network)
    pruned = copy_of(model)
    build = builder(request.config(_RATIO), inputs, (), load_factory(request.pruner))
    with budgets.step("building the pruner"):
        pruner, _ = build(pruned, None)
    return ignored_by(pruner, pruned)


_RATIO = 0.5
"""The ratio of a pruner of which only the ignored layers are read."""


def why(request: Request, layer: str) -> str:
    """Why a layer is in the groups that it is in, or in none."""
    with budgets.step("following the channels"):
        return explaining.why(labelled(request.network), layer)


def outside(request: Request) -> tuple[Outside, ...]:
    """Layers with parameters that are in no group."""
    with budgets.step("following the channels"):
        return explaining.outside(labelled(request.network))


def audit(request: Request, budget: float) -> tuple[Audited, ...]:
    """How torch-pruning would cut each group, within a time limit in seconds."""
    from analysis.pipeline import audit_groups

    # If DepGraph does not end in its share of the time, every group says so.
    part = budget * _PART if budgets.can_be_held() else None
    with budgets.step("auditing the groups"):
        return audit_groups(labelled(request.network), *loaded(request.network), part)


_PART = 0.4
"""The share of a budget that DepGraph gets."""


def compare(request: Request, pruned: Network | str) -> Comparison:
    """Whether a network, or the tensors in a file, are a pruning of the request's network."""
    from analysis.comparing.files import compare_with

    with budgets.step("comparing"):
        return compare_with(*loaded(request.network), pruned)


def lint(request: Request) -> tuple[tuple[Group, ...], Lint]:
    """The groups, those marked that the list of ignored layers excludes, and its lint."""
    with budgets.step("following the channels"):
        followed = labelled(request.network)
    with budgets.step("checking the ignored layers"):
        found = linting.lint_followed(followed, *loaded(request.network), request.ignore)
    layers = {layer for lock in found.locks for layer in lock.layers}
    return policies.mark_ignored(followed.groups, layers), found


def costs(request: Request, convention: str = "fvcore") -> tuple[CostTable, int]:
    """The dense network's MACs and parameters, and the size of its saved weights."""
    table, size = _measured(request.network)
    return _by(convention, request, table), size


def reach(request: Request, cut: str, convention: str) -> tuple[Reach, Savings]:
    """The ratio that meets the targets, and where the saving there, or at the least, comes from."""
    with budgets.step("predicting costs"):
        account = _account(request, cut, convention)
        found = predicting.reach_of(account, request.targets, *loaded(request.network))
        return found, account.savings(found.nearest.ratio)


def sweep(request: Request, ratios: Sequence[float], cut: str, convention: str) -> RatioCurve:
    """The costs at each ratio, and dropped groups, without pruning."""
    with budgets.step("predicting costs"):
        return _account(request, cut, convention).curve(ratios)


def left(request: Request, widths: Mapping[str, int], convention: str) -> CurvePoint:
    """The costs at these widths, without pruning."""
    with budgets.step("predicting costs"):
        return _account(request, CUTS[1], convention).point_at(widths)


@Last
def _measured(network: Network) -> tuple[CostTable, int]:
    return measure(*loaded(network))


def _by(convention: str, request: Request, table: CostTable) -> CostTable:
    """The count by a convention, or with batch norms folded, of which fvcore's is known."""
    if request.fold_bn:
        return folded(table, folds_of(*loaded(request.network)))
    if convention == table.convention:
        return table
    with budgets.step("counting MACs"):
        return counted(passed(*loaded(request.network)), convention)


def _account(request: Request, cut: str, convention: str) -> Account:
    model, inputs = loaded(request.network)
    choice = policies.choice_of(request.ignore, model)
    config = Config(0.0, request.scope, request.importance, round_to=request.round_to, cut=cut)
    table, _ = _measured(request.network)
    followed = labelled(request.network, None if cut == CUTS[0] else request.heads)
    table = _by(convention, request, table)
    reached = reached_layers(model, inputs) if cut == CUTS[0] else None
    return predicting.account_of(model, followed, table, choice, config, reached=reached)


def cut_alone(request: Request, ratios: Sequence[float]) -> tuple[GroupSensitivity, ...]:
    """Every group with what each ratio leaves of the network, not measured yet."""
    from analysis.sensitivities.work import cuts_of

    with budgets.step("predicting costs"):
        return cuts_of(request).groups(ratios, _costs_of(request))


def suggested(request: Request, groups: Sequence[GroupSensitivity]) -> Suggestion | str:
    """The measured cuts that meet the targets and lose least, or why none do."""
    from analysis.sensitivities.suggesting import suggested
    from analysis.sensitivities.work import cuts_of

    with budgets.step("choosing ratios by group"):
        return suggested(cuts_of(request), groups, _costs_of(request), request.targets)


def _costs_of(request: Request) -> CostTable:
    table, _ = _measured(request.network)
    return _by("fvcore", request, table)


def ready() -> None:
    """Import what pruning needs, so that it does not count for a budget."""
    import analysis.runs  # noqa: F401


def minimized(request: Request, config: Config, verdict: Verdict) -> Counterexample:
    """A short script that reproduces the failing pruning."""
    from analysis.minimizing.minimized import minimized

    assert not callable(request.pruner)  # a command names it
    with budgets.step("cutting the network down"):
        return minimized(
            *loaded(request.network),
            config.ratio,
            ignore=request.ignore,
            scope=config.scope,
            importance=config.importance,
            round_to=config.round_to,
            max_pruning_ratio=config.max_pruning_ratio,
            pruner=request.pruner,
            verdict=verdict,
        )


def run(
    request: Request, config: Config, names: Sequence[str], files: Mapping[str, str] | None = None
) -> Run:
    """One pruning with its proof, its costs and the outcome of these checks.

    Args:
        request: the network, and the limits of the checks.
        config: the request to this run.
        names: of the checks.
        files: where a proved network is written: ``save`` a folder, ``onnx`` and ``export`` files.
    """
    from analysis.runs import run_of

    if not files:
        return run_of(request, config, names)
    from analysis.saved import keeper

    return run_of(request, config, names, keeper(files))
