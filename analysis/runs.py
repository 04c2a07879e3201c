"""Carry out a request: load its network once, prune it, prove it and run the checks.

The command line, pytest and the report all use this module. Each process keeps the last network.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from analysis.checks import OF_PRUNING, evaluate
from analysis.costs.run_costs import measure
from analysis.errors import BudgetExceededError, InputError
from analysis.network.inference import random_state_kept
from analysis.opened import Last, loaded
from analysis.pipeline import Dense, analyse, prune_and_prove
from analysis.processes import budgets
from analysis.pruned import Pruned, pruned_by_groups
from analysis.pruning.pruners import load_factory
from analysis.records import Config, CostTable, Network, Request, Run, timed_out

__all__ = ["analysed", "run_of", "traced", "within"]


@Last
def analysed(network: Network) -> Dense:
    """The network with its groups and costs.

    Raises:
        InputError: as `loaded`, or it cannot be analysed as it is.
    """
    return analyse(*loaded(network))


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
    names = tuple(names)
    factory = load_factory(request.pruner)
    try:
        with within(request.budget), random_state_kept():
            dense = analysed(request.network)
            torch.manual_seed(request.network.seed)
            if config.cut == "groups":
                pruned = pruned_by_groups(dense, config, request.ignore)
                outcome = pruned.outcome
            else:
                outcome = prune_and_prove(dense, config, request.ignore, pruner_factory=factory)
                pruned = None
            outcome = replace(outcome, thresholds=request.thresholds)
            run = replace(outcome.run, checks=evaluate(outcome, names))
            if pruned is not None and keep is not None and run.verification.verdict.passes:
                keep(pruned)
            return run
    except BudgetExceededError as error:
        reason = error.reason
    return timed_out(config, reason, _counted(request), names)


def _counted(request: Request) -> tuple[CostTable, int] | None:
    """Costs of the dense network; None where counting them does not end within the budget."""
    known = analysed.known(request.network)
    if known is not None:
        return known.costs, known.saved_bytes
    try:
        with within(request.budget):
            return measure(*loaded(request.network))
    except BudgetExceededError:
        return None


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """A time limit, if one can be set here."""
    with budgets.limited(seconds if budgets.can_be_held() else None):
        yield
