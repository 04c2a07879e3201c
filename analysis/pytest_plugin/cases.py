"""A network with everything that a test says of it, pruned once a ratio for all its checks."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from analysis import pipeline, study
from analysis.checks import CATALOGUE
from analysis.errors import AnalysisError, BudgetExceededError, InputError
from analysis.network import subjects
from analysis.network.inference import random_state_kept
from analysis.processes import budgets
from analysis.processes.shared_cache import Store
from analysis.processes.workers import portable
from analysis.records import (
    Config,
    Request,
    Run,
    SubjectInfo,
    SubjectStudy,
    Thresholds,
    timed_out,
)

__all__ = ["Case", "Pruning"]


@dataclass(frozen=True, eq=False)
class Case:
    """What is pruned, how, and what it is held to.

    Attributes:
        subject: the network's name, builder and usual input size.
        request: weights, seed, device, and another input size.
        ratios: at which it is pruned.
        inputs: what forward takes, or a function without arguments that returns it; None is an
            image.
        policy: a name of `analysis.groups.policies.POLICIES`, or a function of the model.
        scope: ``global`` or ``local``.
        importance: ``l1`` or ``l2``.
        round_to: keep channel counts a multiple of this, or None.
        pruner: the user's own, see `analysis.pipeline.PrunerFactory`, or None.
        thresholds: where the checks draw the line.
        budget: seconds for each ratio, where they can be counted; None is no limit.
    """

    subject: subjects.Subject
    request: Request
    ratios: tuple[float, ...]
    inputs: Any = None
    policy: str | Callable[[nn.Module], Iterable[Any]] = "classifier"
    scope: str = "global"
    importance: str = "l1"
    round_to: int | None = None
    pruner: pipeline.PrunerFactory | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    budget: float | None = None

    @property
    def info(self) -> SubjectInfo:
        """What reports say of the network."""
        is_image = self.inputs is None
        size = (self.request.input_size or self.subject.input_size) if is_image else None
        return SubjectInfo(self.subject.name, size, self.request.weights, self.request.seed)

    def config(self, ratio: float) -> Config:
        """What is asked at one ratio.

        Raises:
            InputError: what no pruner can be asked.
        """
        return Config(ratio, self.scope, self.importance, self.request.policy, self.round_to)

    def load(self) -> tuple[nn.Module, Any]:
        """The network and its inputs.

        Raises:
            InputError: they cannot be built, or the network does not run on them.
        """
        with self._limits():
            return _loaded(self)

    def run(self, ratio: float, names: Iterable[str] = tuple(CATALOGUE)) -> Run:
        """Prune at one ratio, prove it, and run these checks.

        Raises:
            InputError: as `load`, or the pruner cannot be used.
        """
        config = self.config(ratio)
        try:
            with self._limits(), random_state_kept():
                dense = _dense(self)
                torch.manual_seed(self.request.seed)
                return study.checked_run(
                    dense, config, self.policy, self.pruner, self.thresholds, names
                )
        except BudgetExceededError as error:
            reason = error.story
        try:
            with self._limits():
                return timed_out(config, reason, *pipeline.measure(*_loaded(self)), names)
        except BudgetExceededError:
            raise InputError(f"{reason}; give it more with budget") from None

    def outline(self) -> SubjectStudy:
        """What a page says of the network beside its prunings.

        Raises:
            InputError: as `load`.
            BudgetExceededError: it takes too long.
        """
        policy = None if self.pruner else self.policy
        with self._limits(), random_state_kept():
            return study.outline(self.info, _dense(self), self.config(max(self.ratios)), policy)

    @contextmanager
    def _limits(self) -> Iterator[None]:
        """A time limit, where one can be set; what third parties warn of is no failure."""
        seconds = self.budget if budgets.can_be_held() else None
        with _quietly(), budgets.limited(seconds):
            yield


class Pruning:
    """One network at one ratio: everything is done when it is first asked for.

    Attributes:
        ratio: the pruning ratio.
        refused: why the network, its inputs or the pruner could not be used, once that is known.
        names: the checks that are run.
        key: under which other processes find the answer; empty if it is not shared.
        network: under which they find what a page says of the network; empty if none is made.
    """

    def __init__(self, case: Case, ratio: float) -> None:
        self._case = case
        self._store: Store | None = None
        self._run: Run | None = None
        self.ratio = ratio
        self.refused = ""
        self.names = tuple(CATALOGUE)
        self.key = ""
        self.network = ""

    @property
    def subject(self) -> str:
        """The network's name."""
        return self._case.subject.name

    @property
    def info(self) -> SubjectInfo:
        """What reports say of the network."""
        return self._case.info

    @property
    def is_done(self) -> bool:
        """Whether the run is known in this process."""
        return self._run is not None

    @property
    def run(self) -> Run:
        """What was asked, proved, counted and checked.

        Raises:
            InputError: the network, its inputs or the pruner cannot be used.
        """
        if self._run is None:
            if self.refused:
                raise InputError(self.refused)
            work = self._work
            try:
                self._run = self._store.once(self.key, work) if self._store else work()
            except Exception as error:
                self.refused = str(portable(error))
                raise InputError(self.refused) from error
        return self._run

    @property
    def case(self) -> Case:
        """What is pruned; the same for each of its ratios."""
        return self._case

    def share(self, store: Store | None, key: str, names: Iterable[str], network: str = "") -> None:
        """Look only at these checks, and let other processes have the answer if they may."""
        wanted = set(names)
        self._store, self.key, self.network = store, key, network
        self._run, self.refused = None, ""
        self.names = tuple(name for name in CATALOGUE if name in wanted)

    def _work(self) -> Run:
        run = self._case.run(self.ratio, self.names)
        if self._store and self.network:
            self._outline(self._store)
        return run

    def _outline(self, store: Store) -> None:
        """Leave what a page says of the network; without it, the page says less."""
        with suppress(AnalysisError):
            store.once(self.network, self._case.outline)


@contextmanager
def _quietly() -> Iterator[None]:
    """What third parties warn of while they trace is no failure, under ``-W error`` either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=1)
def _loaded(case: Case) -> tuple[nn.Module, Any]:
    inputs = case.inputs
    if callable(inputs):
        name = str(getattr(inputs, "__name__", "inputs"))
        inputs = subjects.given_inputs(inputs, name, case.request.seed)
    _, model, placed = subjects.ready(case.subject, case.request, inputs)
    return model, placed


@lru_cache(maxsize=1)
def _dense(case: Case) -> pipeline.Dense:
    return pipeline.analyse(*_loaded(case))
