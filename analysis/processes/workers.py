"""A child process that does the work and is killed when its time budget ends.

An alarm inside the process would not interrupt a loop in compiled code, and a network that takes
all memory would take the answer with it. The parent imports no torch.
"""

import gc
import importlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from analysis.environment import explained
from analysis.errors import AnalysisError, BudgetExceededError, InputError, WorkerError
from analysis.processes import budgets

__all__ = ["Worker", "deaf_to_interrupts", "portable"]

_KIND = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_SECONDS_TO_END = 5.0


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside the block ignore Ctrl-C, which a terminal sends to all of them.

    The process that started them ends them; it handles Ctrl-C after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Where it is begun inside the block, it lets interrupts in again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(**values: str | None) -> Iterator[None]:
    """Environment variables for processes started inside the block; None unsets one."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


_SAFE_PATH = "PYTHONSAFEPATH"
"""Set, Python does not look for modules in the working folder first. The server that children are
forked from is begun by ``python -c``, which does: a user's own ``analysis.py`` would hide this
package. Children get the path of the process that they work for."""

_PRELOADED = "PRUNING_ANALYSIS_PRELOADED"
"""Names the module that `analysis.processes.preloaded` imports."""


def _ours() -> dict[str, str | None]:
    """The original values of the variables that the server is started with."""
    return {name: os.environ.get(name) for name in (_SAFE_PATH, _PRELOADED)}


class Worker:
    """Runs functions in one child process, one at a time; starts a new one after it was ended.

    Args:
        module: the module of the functions; imported once, before any budget starts.
        on_step: called with each step of the work as it begins, see
            `analysis.processes.budgets.step`.
        threads: threads for each torch operation; None leaves torch's choice.
    """

    def __init__(
        self,
        module: str,
        on_step: Callable[[str], None] | None = None,
        threads: int | None = None,
    ) -> None:
        self._module = module
        self._on_step = on_step or (lambda step: None)
        self._threads = threads
        self._context: Any = multiprocessing.get_context(_KIND)
        if _KIND == "forkserver":
            self._context.set_forkserver_preload(["analysis.processes.preloaded"])
        self._process: Any = None
        self._pipe: Any = None
        # A child that is ended cannot tidy up.
        self._folder = tempfile.TemporaryDirectory(
            prefix="pruning-analysis-", ignore_cleanup_errors=True
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._process is not None:
            self._pipe.close()  # it waits for work, and leaves in order where none can come
            self._process.join(_SECONDS_TO_END)
        self.end()
        self._folder.cleanup()

    def call(self, function: str, *arguments: Any, budget: float | None = None) -> Any:
        """The result of ``function`` of the module for these arguments.

        Args:
            function: its name.
            arguments: what can be pickled.
            budget: seconds until the child is ended; None is no limit.

        Raises:
            BudgetExceededError: no answer within the budget; ``step`` names what was running.
            WorkerError: the child died, or raised an error that is not this package's.
            AnalysisError: what the function raised.
        """
        if self._process is None:
            self._begin()
        with suppress(BrokenPipeError):  # it died meanwhile, which reading tells
            self._pipe.send((function, arguments))
        end = None if budget is None else time.monotonic() + budget
        step = ""
        while True:
            if not self._pipe.poll(None if end is None else max(end - time.monotonic(), 0)):
                self.end()
                error = BudgetExceededError(budget or 0.0)
                error.step = step
                raise error
            try:
                what, value = self._pipe.recv()
            except (EOFError, ConnectionError):
                raise self._death(step) from None
            if what == "step":
                step = value
                self._on_step(value)
            elif what == "answer":
                return value
            else:
                raise value

    def end(self) -> None:
        """End the child, whatever it is doing."""
        if self._process is None:
            return
        if self._process.pid is None:  # interrupted before it began
            self._pipe.close()
            self._process = None
            return
        self._process.terminate()
        self._pipe.close()
        self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = None

    def _begin(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve,
            args=(theirs, self._module, self._threads, self._folder.name, _ours()),
            daemon=True,
        )
        begun_with = {_SAFE_PATH: "1", _PRELOADED: self._module}
        with deaf_to_interrupts(), _environment(**begun_with):
            self._process.start()
        theirs.close()
        try:
            what, value = self._pipe.recv()  # it is ready: what it imports counts for no budget
        except (EOFError, ConnectionError):
            raise self._death("starting") from None
        if what == "error":
            self.end()
            raise value

    def _death(self, step: str) -> WorkerError:
        self._process.join(_SECONDS_TO_END)
        code = self._process.exitcode
        self.end()
        cause = "out of memory, most likely" if code == -signal.SIGKILL else f"exit status {code}"
        return WorkerError(f"the working process died ({cause}) while {step or 'starting'}")


def _serve(
    pipe: Connection,
    module: str,
    threads: int | None,
    folder: str,
    environment: Mapping[str, str | None],
) -> None:
    gc.enable()  # see `analysis.processes.preloaded`
    _set(environment)  # processes of the user's code are not ours
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    os.dup2(2, 1)  # standard output is for the result, which the parent prints
    # Users cannot fix warnings of third parties while tracing.
    warnings.simplefilter("ignore")
    try:
        functions = importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        pipe.send(("error", InputError(explained(error))))
        return
    if threads is not None:
        importlib.import_module("torch").set_num_threads(threads)
    budgets.announce_to(lambda step: pipe.send(("step", step)))
    with suppress(EOFError, ConnectionError):  # nobody is left to work for
        pipe.send(("ready", None))
        while True:
            name, arguments = pipe.recv()
            pipe.send(_outcome(getattr(functions, name), arguments))


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "answer", function(*arguments)
    except Exception as error:
        return "error", portable(error)


def portable(error: Exception) -> AnalysisError:
    """An error of this package unchanged; any other as text, with its place."""
    try:
        if isinstance(error, AnalysisError):
            pickle.loads(pickle.dumps(error))
            return error
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    return WorkerError(
        f"{type(error).__name__}: {message} ({place.filename}:{place.lineno}); if the model runs "
        "on these inputs, this is a limit of the analysis"
    )
