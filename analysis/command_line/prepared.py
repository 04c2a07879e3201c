"""A network that a child process has loaded, and its prunings there."""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from analysis.checks import names_for
from analysis.command_line.arguments import check_outputs, request_of
from analysis.errors import BudgetExceededError, InputError
from analysis.processes.workers import Worker
from analysis.records import Config, CostTable, Request, Run, SubjectInfo, timed_out

__all__ = ["Given", "loaded", "prepared", "run_of", "runs_of"]


@dataclass
class Given:
    """A subject that a worker has loaded."""

    worker: Worker
    bar: Any
    request: Request
    info: SubjectInfo
    budget: float

    def ask(self, function: str, *arguments: Any) -> Any:
        """The result of a function of `analysis.command_line.jobs` within the budget.

        Raises:
            InputError: it did not end; names the step.
        """
        return self.of(self.request, function, *arguments)

    def of(self, request: Request, function: str, *arguments: Any) -> Any:
        """The same of another request.

        Raises:
            InputError: as `ask`.
        """
        try:
            return self.worker.call(function, request, *arguments, budget=self.budget)
        except BudgetExceededError as error:
            raise InputError(f"{error.reason}; give it more with --budget") from None


@contextmanager
def prepared(options: Namespace, title: str) -> Iterator[Given]:
    """The subject that the options name, loaded."""
    request = request_of(options, options.model)
    with loaded(options, request, title, len(request.configs)) as given:
        yield given


@contextmanager
def loaded(options: Namespace, request: Request, title: str, runs: int) -> Iterator[Given]:
    """A subject, loaded by a worker that shows its steps on a terminal."""
    check_outputs(options)
    with (
        tqdm(total=runs, desc=title, unit="run", disable=None, leave=False) as bar,
        Worker("analysis.command_line.jobs", bar.set_postfix_str) as worker,
    ):
        info = worker.call("prepare", request)
        yield Given(worker, bar, request, info, options.budget)


def runs_of(
    given: Given, configs: Iterable[Config], names: tuple[str, ...], *written: Mapping[str, str]
) -> list[Run]:
    """One run each; a run that does not end within the budget is a verdict as well."""
    runs = []
    for config in configs:
        runs.append(run_of(given, config, names, *written))
        given.bar.update()
    return runs


def run_of(
    given: Given, config: Config, names: tuple[str, ...], *written: Mapping[str, str]
) -> Run:
    """One pruning; if it exceeds the budget, its verdict is ``timeout``."""
    ask = given.worker.call
    ask("ready")  # anew where the last run was ended
    try:
        run: Run = ask("run", given.request, config, names, *written, budget=given.budget)
    except BudgetExceededError as error:
        ask("prepare", given.request)  # loading it again is no part of the time
        held_to = names_for(given.request, config, names)
        return timed_out(config, error.reason, _counted(given), held_to)
    return run


def _counted(given: Given) -> tuple[CostTable, int] | None:
    """Costs of the dense network; None where counting them does not end within the budget."""
    try:
        dense: tuple[CostTable, int] = given.worker.call(
            "costs", given.request, budget=given.budget
        )
    except BudgetExceededError:
        return None
    return dense
