"""Jobs for the tests of the worker."""

import gc
import os

from analysis.errors import InputError
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


def die() -> None:
    with budgets.step("falling"):
        os._exit(3)


def variables() -> dict[str, str]:
    ours = ("PYTHONSAFEPATH", "PRUNING_ANALYSIS_PRELOADED")
    return {name: os.environ[name] for name in ours if name in os.environ}


def collects() -> bool:
    return gc.isenabled()
