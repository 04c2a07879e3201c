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
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from threading import Lock, Thread
from types import TracebackType
from typing import Any

import psutil

from analysis.environment import explained
from analysis.errors import (
    AnalysisError,
    BudgetExceededError,
    InstallationError,
    OutOfMemoryError,
    WorkerError,
)
from analysis.processes import budgets

__all__ = ["Worker", "deaf_to_interrupts", "portable", "preloaded"]

_KIND = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_SECONDS_TO_END = 5.0
_SECONDS_A_LOOK = 0.05
"""Between two looks at how much memory a child holds."""

_SECONDS_LATER = 5.0
"""After which a child is ended that does not keep a limit of its own: it hangs in native code."""

_TOLD_TO_END = tuple(
    -getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
"""Exit codes of a child that somebody ended together with this process."""

_beginning = Lock()
"""Threads begin children one by one: what these are begun with is in the environment."""


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
"""Names the modules that `analysis.processes.preloaded` imports."""

preloaded: list[str] = []
"""Modules that the server imports beside that of the first worker: for a process that begins
workers of many modules, as one that runs tests does."""


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
        quiet: whether what the work prints is let go, however much it is.
        place: the folder that the child works in; None is this process's.
    """

    def __init__(
        self,
        module: str,
        on_step: Callable[[str], None] | None = None,
        threads: int | None = None,
        *,
        quiet: bool = False,
        place: str | None = None,
    ) -> None:
        self.module = module
        self.place = place
        self._on_step = on_step or (lambda step: None)
        self._threads = threads
        self._quiet = quiet
        self._context: Any = multiprocessing.get_context(_KIND)
        if _KIND == "forkserver":
            self._context.set_forkserver_preload(["analysis.processes.preloaded"])
        self._process: Any = None
        self._pipe: Any = None
        self._task: _Task | None = None
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
        self.close()

    def close(self) -> None:
        """End the child, and leave nothing of it."""
        self.end()
        self._folder.cleanup()

    def call(
        self,
        function: str,
        *arguments: Any,
        budget: float | None = None,
        memory: float | None = None,
    ) -> Any:
        """What ``function`` of the module returns for these arguments.

        Args:
            function: its name.
            arguments: what can be pickled.
            budget: seconds until the child is ended; None is no limit.
            memory: bytes that the child may hold until it is ended; None is no limit.

        Raises:
            BudgetExceededError: no answer within the budget; ``step`` names what was running.
            OutOfMemoryError: the child used more than its memory.
            WorkerError: the child died, or raised an error that is not this package's.
            AnalysisError: what the function raised.
        """
        self.submit(function, *arguments, budget=budget, memory=memory)
        while not self.has_ended():
            wait([self.pipe], self.patience)
        return self.result()

    def submit(
        self,
        function: str,
        *arguments: Any,
        budget: float | None = None,
        memory: float | None = None,
    ) -> None:
        """Begin what `call` does, and do not wait; `has_ended` and `result` tell how it goes."""
        self._task = _Task(function, arguments, budget, memory)
        if self._process is None:
            self._begin()
        else:
            self._send()

    @property
    def pipe(self) -> Any:
        """What the child is heard through, for `multiprocessing.connection.wait`."""
        return self._pipe

    @property
    def patience(self) -> float | None:
        """Seconds after which a child that says nothing must be looked at; None is never."""
        task = self._current
        ends = [end for end, _ in task.limits]
        if task.memory is not None:
            ends.append(task.next_look)
        return max(min(ends) - time.monotonic(), 0.0) if ends else None

    def has_ended(self) -> bool:
        """Whether there is a result; hears what the child says, and ends it beyond its limits."""
        task = self._current
        if task.outcome is None and self._pipe.poll():
            self._hear(task)
        if task.outcome is None:
            self._hold(task, time.monotonic())
        return task.outcome is not None

    def _hold(self, task: "_Task", now: float) -> None:
        """Hold the child to its limits."""
        end, seconds = min(task.limits, default=(now + 1.0, 0.0))
        if now >= end:
            self._stop(task, BudgetExceededError(seconds))
        elif task.memory is not None and now >= task.next_look:
            task.next_look = now + _SECONDS_A_LOOK
            if self._holds() > task.memory:
                self._stop(task, OutOfMemoryError(task.memory, task.step))

    def result(self) -> Any:
        """What `call` returns, or raises, of work that has ended."""
        assert self._current.outcome is not None
        what, value = self._current.outcome
        if what == "error":
            raise value
        return value

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

    @property
    def _current(self) -> "_Task":
        assert self._task is not None, "nothing was asked"
        return self._task

    def _begin(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve,
            args=(theirs, self.module, self._threads, self._folder.name, _ours()),
            kwargs={"quiet": self._quiet, "place": self.place},
            daemon=True,
        )
        begun_with = {_SAFE_PATH: "1", _PRELOADED: ",".join([*preloaded, self.module])}
        with _beginning, deaf_to_interrupts(), _environment(**begun_with):
            self._process.start()
        theirs.close()

    def _send(self) -> None:
        task = self._current
        with suppress(BrokenPipeError):  # it died meanwhile, which reading tells
            self._pipe.send((task.function, task.arguments))
        if task.budget is not None:
            task.end = time.monotonic() + task.budget

    def _hear(self, task: "_Task") -> None:
        try:
            what, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            task.outcome = "error", self._death(task.step)
            return
        if what == "ready":  # what it imports counts for no budget
            self._send()
        elif what == "step":
            task.step = value
            self._on_step(value)
        elif what == "limit":
            task.own = value
        elif what == "useless":
            self._stop(task, value)
        else:
            task.outcome = what, value

    def _stop(self, task: "_Task", error: BaseException) -> None:
        self.end()
        if isinstance(error, BudgetExceededError):
            error.step = task.step
        task.outcome = "error", error

    def _holds(self) -> int:
        """Bytes of memory that the child holds."""
        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:  # it is gone, which its pipe tells
            return 0

    def _death(self, step: str) -> WorkerError:
        self._process.join(_SECONDS_TO_END)
        code = self._process.exitcode
        self.end()
        cause = "out of memory, most likely" if code == -signal.SIGKILL else f"exit status {code}"
        error = WorkerError(f"the working process died ({cause}) while {step or 'starting'}")
        error.was_told_to_end = code in _TOLD_TO_END
        return error


@dataclass
class _Task:
    """What a child is asked, and how that goes.

    Attributes:
        function: its name.
        arguments: what it takes.
        budget: seconds from when it is sent.
        memory: bytes.
        end: when the budget ends, once it was sent.
        own: a limit that the child set itself, and that it may not hear of in native code.
        next_look: when to look how much memory it holds.
        step: the last that began.
        outcome: ``answer`` or ``error``, and what it is, once it has ended.
    """

    function: str
    arguments: tuple[Any, ...]
    budget: float | None
    memory: float | None
    end: float | None = None
    own: budgets.Limit | None = None
    next_look: float = 0.0
    step: str = ""
    outcome: tuple[str, Any] | None = None

    @property
    def limits(self) -> list[budgets.Limit]:
        """When the child is ended, each with the seconds that it had."""
        given = [] if self.end is None or self.budget is None else [(self.end, self.budget)]
        own = [] if self.own is None else [(self.own[0] + _SECONDS_LATER, self.own[1])]
        return given + own


def _serve(
    pipe: Connection,
    module: str,
    threads: int | None,
    folder: str,
    environment: Mapping[str, str | None],
    *,
    quiet: bool,
    place: str | None,
) -> None:
    gc.enable()  # see `analysis.processes.preloaded`
    Thread(target=_leave_with_parent, daemon=True).start()
    _set(environment)  # what the user's code starts is not ours
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    if quiet:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)  # standard output holds the answer alone, which the parent prints
    if place is not None:
        os.chdir(place)
        sys.path.insert(0, place)
    # What third parties warn of while tracing is not the user's to mend.
    warnings.simplefilter("ignore")
    try:
        functions = importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        pipe.send(("useless", InstallationError(explained(error))))
        return
    if threads is not None:
        _use(threads)
    budgets.announce_to(lambda step: pipe.send(("step", step)))
    budgets.watch_by(lambda limit: pipe.send(("limit", limit)))
    with suppress(EOFError, ConnectionError):  # nobody is left to work for
        pipe.send(("ready", None))
        while True:
            name, arguments = pipe.recv()
            pipe.send(_outcome(getattr(functions, name), arguments))


def _use(threads: int) -> None:
    """Hold torch to as many threads, also one that is imported later."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        importlib.import_module("torch").set_num_threads(threads)


def _leave_with_parent() -> None:
    """A parent that was killed ends nobody, and work that hangs does not see that it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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
