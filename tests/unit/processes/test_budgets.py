"""A time limit that leaves the process as it was."""

import signal
import time

import pytest

from analysis.errors import BudgetExceededError, InputError
from analysis.processes.budgets import limited, undisturbed


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "x"])
def test_what_is_no_time_is_refused_and_nothing_is_set(seconds) -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(InputError, match="expected a positive number of seconds"), limited(seconds):
        raise AssertionError("the block must not run")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_somebody_elses_alarm_goes_off_all_the_same() -> None:
    """As that of a plugin which ends tests that take too long."""
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    try:
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.6)
        with pytest.raises(BudgetExceededError), limited(0.2):
            time.sleep(5)
        assert rung == []
        while not rung and time.monotonic() - start < 5:
            time.sleep(0.05)
        assert rung[0] - start >= 0.6
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def compute() -> None:
    while True:
        pass


def test_seconds_of_the_processor_do_not_pass_while_others_compute() -> None:
    with limited(0.2, of_processor=True):
        time.sleep(0.5)
    with pytest.raises(BudgetExceededError), limited(0.2, of_processor=True):
        compute()
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_what_must_not_be_disturbed_is_ended_after_it() -> None:
    done = []

    def work() -> None:
        with undisturbed():
            time.sleep(0.3)
            done.append("all of it")
        time.sleep(5)

    with pytest.raises(BudgetExceededError), limited(0.1):
        work()
    assert done == ["all of it"]
