"""One network, pruned once for all its checks as far as a ratio or targets say."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from analysis import study_parts
from analysis.checks import CATALOGUE
from analysis.errors import AnalysisError, BudgetExceededError, InputError
from analysis.groups import policies
from analysis.opened import info_of, loaded
from analysis.processes.shared_cache import SharedCache
from analysis.processes.workers import portable
from analysis.records import Config, Request, Run, SubjectInfo
from analysis.runs import run_of, within

__all__ = ["Pruning", "load"]


def load(request: Request) -> None:
    """Build the network, so that bad input is refused before any test runs.

    Raises:
        InputError: it or its inputs cannot be built, it does not run on them, or has none of the
            layers that are named.
        BudgetExceededError: that takes too long.
    """
    with _quietly(), within(request.budget):
        model, _ = loaded(request.network)
        policies.choice_of(request.ignore, model)


class Pruning:
    """One of the prunings that a request asks for: all is done when it is first asked for.

    Attributes:
        request: what is pruned, how, and what it is held to; the same for each of its ratios.
        config: what is asked of this one.
        refused: why the network, its inputs or the pruner could not be used, once that is known.
        names: the checks that are run.
        key: under which other processes find the result; empty if it is not shared.
        network: under which they find the page's entry of the network; empty if there is none.
    """

    def __init__(self, request: Request, config: Config) -> None:
        self.request = request
        self.config = config
        self.refused = ""
        self.names = tuple(CATALOGUE)
        self.key = ""
        self.network = ""
        self._cache: SharedCache | None = None
        self._run: Run | None = None

    @property
    def subject(self) -> str:
        """The network's name."""
        return self.request.network.name

    @property
    def info(self) -> SubjectInfo:
        """The network's entry in reports."""
        return info_of(self.request.network)

    @property
    def is_done(self) -> bool:
        """Whether the run is known in this process."""
        return self._run is not None

    @property
    def run(self) -> Run:
        """The run: request, proof, costs and checks.

        Raises:
            InputError: the network, its inputs or the pruner cannot be used.
        """
        if self._run is None:
            if self.refused:
                raise InputError(self.refused)
            work = self._work
            try:
                self._run = self._cache.compute_once(self.key, work) if self._cache else work()
            except Exception as error:
                self.refused = str(portable(error))
                raise InputError(self.refused) from error
        return self._run

    def share(
        self, cache: SharedCache | None, key: str, names: Iterable[str], network: str = ""
    ) -> None:
        """Run only these checks, and share the result with other processes."""
        wanted = set(names)
        self._cache, self.key, self.network = cache, key, network
        self._run, self.refused = None, ""
        self.names = tuple(name for name in CATALOGUE if name in wanted)

    def _work(self) -> Run:
        with _quietly():
            run = run_of(self.request, self.config, self.names)
            if self._cache and self.network:
                # The page's entry of the network; without it the page is shorter.
                with suppress(AnalysisError, BudgetExceededError):
                    self._cache.compute_once(self.network, self._outline)
        return run

    def _outline(self) -> object:
        with within(self.request.budget):
            return study_parts.outline(self.request)


@contextmanager
def _quietly() -> Iterator[None]:
    """Warnings of third parties while tracing are no failures, even with ``-W error``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
