"""A time budget inside one process, and the names of steps.

For some networks, building the graph does not end. The budget turns that into a verdict.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from analysis.errors import BudgetExceededError, InputError

__all__ = [
    "Limit",
    "announce_to",
    "announced_to",
    "can_be_held",
    "limited",
    "step",
    "undisturbed",
    "watch_by",
]

_listeners: list[Callable[[str], None]] = []

Limit = tuple[float, float]
"""When it ends, by `time.monotonic`, and how many seconds it was."""

_limits: list[Limit] = []
"""Those that hold here, by the clock."""

_watchers: list[Callable[[Limit | None], None]] = []

_undisturbed: list[None] = []
"""One entry for each block that a budget must not interrupt."""

_REPEAT_SECONDS = 1.0
_SOON = 1e-3


@contextmanager
def limited(seconds: float | None, *, of_processor: bool = False) -> Iterator[None]:
    """Raise `BudgetExceededError` inside the block once ``seconds`` have passed; None is no limit.

    Args:
        seconds: by the clock.
        of_processor: whether to count processor time of this process instead.

    Raises:
        InputError: not called from the main thread, where POSIX delivers the alarm; or
            ``seconds`` is no time.
    """
    if seconds is None:
        yield
        return
    if not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise InputError(f"budget {seconds!r}; expected a positive number of seconds, or None")
    if not can_be_held():
        raise InputError("a time budget needs the main thread of a POSIX process; pass budget=None")
    with nullcontext() if of_processor else _watched(seconds), _alarm(seconds, of_processor):
        yield


@contextmanager
def _alarm(seconds: float, of_processor: bool) -> Iterator[None]:
    """Raise in this thread, where it runs Python; the alarm of other code is kept."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        if not _undisturbed:  # it rings again
            raise BudgetExceededError(seconds)

    alarm, timer, now = (
        (signal.SIGPROF, signal.ITIMER_PROF, time.process_time)
        if of_processor
        else (signal.SIGALRM, signal.ITIMER_REAL, time.monotonic)
    )
    previous = signal.signal(alarm, ring)
    start = now()
    before, interval = signal.getitimer(timer)
    try:
        # The alarm repeats: torch-pruning's bare `except` around its traced forward swallows one.
        signal.setitimer(timer, seconds, _REPEAT_SECONDS)
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(alarm, previous)
        if before:  # restore the alarm of other code
            left = before - (now() - start)
            signal.setitimer(timer, max(left, _SOON), interval)


@contextmanager
def _watched(seconds: float) -> Iterator[None]:
    """Tell who watches this process that a limit holds: native code hears no alarm."""
    around = len(_limits)
    _limits.append((time.monotonic() + seconds, seconds))
    _tell()
    try:
        yield
    finally:
        del _limits[around:]  # with one inside that this one's alarm kept from it
        _tell()


def _tell() -> None:
    for watcher in _watchers:
        watcher(min(_limits, default=None))


def watch_by(watcher: Callable[[Limit | None], None]) -> None:
    """Call ``watcher`` with the limit that ends first, or None, whenever one begins or ends."""
    _watchers.append(watcher)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no budget end inside the block, for example while a network is restored."""
    _undisturbed.append(None)
    try:
        yield
    finally:
        _undisturbed.pop()


def can_be_held() -> bool:
    """Whether a budget can be set here: in the main thread of a POSIX process."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and hasattr(signal, "SIGALRM")


def announce_to(listener: Callable[[str], None]) -> None:
    """Call ``listener`` with the name of every step that begins in this process from now on."""
    _listeners.append(listener)


@contextmanager
def announced_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Call ``listener`` with the name of every step that begins inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name the work of the block, for the message if the budget ends inside it."""
    for listener in _listeners:
        listener(name)
    try:
        yield
    except BudgetExceededError as error:
        error.step = error.step or name
        raise
