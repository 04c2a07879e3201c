"""What a request asks for, done: its network loaded once, pruned, proved and checked.

The command line, pytest and the report look at prunings through this one door. Each process keeps
the network that it was last asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from analysis.checks import OF_PRUNING, evaluate
from analysis.costs.run_costs import measure
from analysis.errors import BudgetExceededError, InputError
from analysis.groups import policies
from analysis.network import subjects
from analysis.network.inference import Inputs, random_state_kept
from analysis.network.loading import load_callable
from analysis.pipeline import Dense, analyse, prune_and_prove
from analysis.processes import budgets
from analysis.pruning.pruners import load_factory
from analysis.records import (
    Config,
    Network,
    Request,
    Run,
    SubjectInfo,
    timed_out,
)

__all__ = ["analysed", "info_of", "loaded", "resolved", "run_of", "traced", "within"]

Made = TypeVar("Made")


class _Last(Generic[Made]):
    """Keeps what was made for the last network; its fields need not be hashable."""

    def __init__(self, make: Callable[[Network], Made]) -> None:
        self._make = make
        self._kept: tuple[Network, Made] | None = None

    def __call__(self, network: Network) -> Made:
        if self._kept is None or self._kept[0] != network:
            self._kept = None  # two large networks at a time may be one too many
            self._kept = network, self._make(network)
        return self._kept[1]

    def known(self, network: Network) -> Made | None:
        """What is kept, if it is of this network."""
        return self._kept[1] if self._kept and self._kept[0] == network else None


@_Last
def loaded(network: Network) -> tuple[nn.Module, Inputs]:
    """The network and its inputs.

    Raises:
        InputError: they cannot be built, or the network does not run on them.
    """
    _, model, inputs = subjects.load(network)
    return model, inputs


@_Last
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


def resolved(request: Request) -> Request:
    """The request with the functions that it refers to, so that none is looked up later.

    The network is not built.

    Raises:
        InputError: something is not there, or cannot be used.
    """
    network = request.network
    factory = subjects.subject_of(network).factory
    given = network.inputs
    inputs = load_callable(given, "--inputs") if isinstance(given, str) else given
    return replace(
        request,
        network=replace(network, factory=factory, inputs=inputs),
        ignore=_named_as(request.ignore, policies.resolve(request.ignore)),
        pruner=load_factory(request.pruner),
    )


def _named_as(reference: Any, choice: Any) -> Any:
    """A function that a reference stands for, under the name that reports give it."""
    if not (isinstance(reference, str) and callable(choice)):
        return reference

    def layers(model: nn.Module) -> Any:
        return choice(model)

    layers.__name__ = reference
    return layers


def info_of(network: Network) -> SubjectInfo:
    """What reports say of the network; inputs that were given have no one size."""
    size = subjects.subject_of(network).input_size if network.inputs is None else None
    return SubjectInfo(network.name, size, network.weights, network.seed)


def run_of(request: Request, config: Config, names: Iterable[str] = OF_PRUNING) -> Run:
    """Prune as the config says, prove it, and run these checks.

    What a pruner, or training between its steps, draws is the same in every process.

    Args:
        request: which network, and what the run is held to.
        config: what is asked of this run.
        names: of the catalogue.

    Raises:
        InputError: as `analysed`, or the policy or the pruner cannot be used.
    """
    names = tuple(names)
    factory = load_factory(request.pruner)
    try:
        with within(request.budget), random_state_kept():
            dense = analysed(request.network)
            torch.manual_seed(request.network.seed)
            outcome = prune_and_prove(dense, config, request.ignore, pruner_factory=factory)
            outcome = replace(outcome, thresholds=request.thresholds)
            return replace(outcome.run, checks=evaluate(outcome, names))
    except BudgetExceededError as error:
        story = error.story
    known = analysed.known(request.network)
    if known is not None:
        return timed_out(config, story, known.costs, known.saved_bytes, names)
    try:
        with within(request.budget):
            return timed_out(config, story, *measure(*loaded(request.network)), names)
    except BudgetExceededError:
        name = request.network.name
        raise InputError(f"{name}: {story}; give it a larger budget") from None


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """A time limit, where one can be set."""
    with budgets.limited(seconds if budgets.can_be_held() else None):
        yield
