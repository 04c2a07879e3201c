"""Carry out a request: load its network once, prune it, prove it and run the checks.

The command line, pytest and the report all use this module. Each process keeps the last network.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from analysis.accuracy import Measure
from analysis.checks import OF_PRUNING, evaluate, names_for
from analysis.costs.run_costs import measure
from analysis.errors import BudgetExceededError, InputError
from analysis.latencies.measuring import decided
from analysis.latencies.reaching import in_time
from analysis.network.inference import random_state_kept
from analysis.opened import Last, loaded
from analysis.pipeline import Dense, Outcome, analyse, only_pruned, prune_and_prove
from analysis.processes import budgets
from analysis.pruned import Pruned, pruned_by_groups, sketched_by_groups
from analysis.pruning.pruners import PrunerFactory, load_factory
from analysis.records import Config, CostTable, Network, Request, Run, timed_out
from analysis.shipped import outcome_of

__all__ = ["analysed", "run_of", "traced", "within"]


@Last
def analysed(network: Network) -> Dense:
    """The network with its groups and costs.

    Raises:
        InputError: as `loaded`, or it cannot be analysed as it is.
    """
    return analyse(*loaded(network))


@Last
def _measured_dense(asked: tuple[Network, Measure]) -> dict[str, float]:
    """The metrics of the dense network, which all its prunings are compared with."""
    network, measure = asked
    return measure.dense(analysed(network).model)


def traced(network: Network) -> Dense:
    """As `analysed`, of a network that DepGraph could trace.

    Raises:
        InputError: as `analysed`, or DepGraph could not.
    """
    dense = analysed(network)
    if dense.error is not None:
        raise InputError(f"{dense.error.verdict}: {dense.error.reason}")
    return dense


def run_of(
    request: Request,
    config: Config,
    names: Iterable[str] = OF_PRUNING,
    keep: Callable[[Pruned], None] | None = None,
) -> Run:
    """Prune as the config says, prove it, and run these checks.

    Random numbers that a pruner, or training between its steps, draws are the same in every
    process.

    Args:
        request: the network, and the limits of the checks.
        config: the request to this run.
        names: of the checks.
        keep: called with a network that was pruned by its groups and proved, within the budget.

    Raises:
        InputError: as `analysed`, or the policy or the pruner cannot be used.
    """
    names = names_for(request, config, names)
    factory, metrics_of = load_factory(request.pruner), Measure.of(request)
    try:
        with within(request.budget), random_state_kept():
            dense = analysed(request.network)
            dense = dense.folded if config.fold_bn else dense
            torch.manual_seed(request.network.seed)
            before = metrics_of and _measured_dense((request.network, metrics_of))
            outcome, pruned = _pruned(dense, config, request, factory)
            outcome = replace(outcome, thresholds=request.thresholds)
            if metrics_of and before and outcome.run.verification.verdict.passes:
                metrics, tuned = metrics_of.of_pruned(outcome.pruned, before)
                outcome = replace(outcome, run=replace(outcome.run, metrics=metrics))
                pruned = pruned and replace(pruned, model=tuned)
            outcome = _timed(outcome, request)
            run = replace(outcome.run, checks=evaluate(outcome, names))
            if pruned is not None and keep is not None and run.may_be_kept:
                keep(pruned)
            return run
    except BudgetExceededError as error:
        reason = error.reason
    return timed_out(config, reason, _counted(request), names)


def _timed(outcome: Outcome, request: Request) -> Outcome:
    """The same with its latency, where that is asked of what is proved."""
    if request.timing is None or not outcome.run.verification.verdict.passes:
        return outcome
    dense = outcome.dense
    latency = decided(dense.model, outcome.pruned, dense.inputs, request.timing, request.targets)
    return replace(outcome, run=replace(outcome.run, latency=latency))


def _counted(request: Request) -> tuple[CostTable, int] | None:
    """Costs of the dense network; None where counting them does not end within the budget."""
    known = analysed.known(request.network)
    try:
        with within(request.budget):
            subject = loaded(request.network)
    except BudgetExceededError as error:
        name = request.network.name
        raise InputError(f"{name}: {error.reason}; give it a larger budget") from None
    try:
        with within(request.budget):
            return (known.costs, known.saved_bytes) if known else measure(*subject)
    except BudgetExceededError:
        return None


def _pruned(
    dense: Dense, config: Config, request: Request, factory: PrunerFactory | None
) -> tuple[Outcome, Pruned | None]:
    """What came of a pruning, and the pruned network of a cut by its groups."""
    if request.shipped is not None:
        with budgets.step("comparing"):
            return outcome_of(dense, request.shipped, config), None
    if config.sought and any(target.is_measured for target in config.targets) and request.timing:
        timing = replace(request.timing, layers=False)
        return in_time(
            dense,
            config,
            lambda asked: _sketched(dense, asked, request, factory),
            lambda asked: _pruned(dense, asked, request, factory),
            timing,
        )
    if config.cut == "groups":
        pruned = pruned_by_groups(dense, config, request.ignore)
        return pruned.outcome, pruned
    reach = None
    if config.sought and factory is None:
        with budgets.step("looking for the ratio that meets the targets"):
            reach = dense.reach(config, request.ignore)
        config = replace(config, ratio=reach.nearest.ratio)
    outcome = prune_and_prove(dense, config, request.ignore, pruner_factory=factory)
    return replace(outcome, unreached=reach.why_not) if reach else outcome, None


def _sketched(
    dense: Dense, config: Config, request: Request, factory: PrunerFactory | None
) -> nn.Module | None:
    """The network of such a pruning, without its proof; None where it cannot be pruned."""
    if config.cut == "groups":
        return sketched_by_groups(dense, config, request.ignore)
    return only_pruned(dense, config, request.ignore, factory)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """A time limit, if one can be set here."""
    with budgets.limited(seconds if budgets.can_be_held() else None):
        yield
