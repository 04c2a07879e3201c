"""Jobs for the tests of the worker."""

import gc
import os
import time
from collections import deque
from contextlib import suppress
from itertools import repeat

from analysis.errors import BudgetExceededError, InputError
from analysis.processes import budgets


class DeadlyError(Exception):
    """Cannot be read by another process."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


def double(number: int) -> int:
    return 2 * number


def refuse() -> None:
    raise InputError("no such thing")


def fail() -> None:
    raise DeadlyError("worse", "worst")


def loop() -> None:
    with budgets.step("going round"):
        while True:
            pass


def hang_in_native_code(seconds: float) -> None:
    """Under a limit of its own, inside one that is not reached: no alarm of Python's is heard."""
    with budgets.limited(1000.0), budgets.step("hanging"), budgets.limited(seconds):
        deque(repeat(None), maxlen=0)  # a loop in C, which looks at no signal


def keep_limits() -> str:
    """Limits that ended, inside one that was not kept by an alarm, hold no more."""
    with suppress(BudgetExceededError), budgets.limited(0.1):
        while True:
            pass
    time.sleep(1.0)
    return "done"


def die() -> None:
    with budgets.step("falling"):
        os._exit(3)


def variables() -> dict[str, str]:
    ours = ("PYTHONSAFEPATH", "PRUNING_ANALYSIS_PRELOADED")
    return {name: os.environ[name] for name in ours if name in os.environ}


def collects() -> bool:
    return gc.isenabled()
