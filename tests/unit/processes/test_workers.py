"""A child process that can be ended."""

import os
import signal
import time

import pytest
from worker_jobs import DeadlyError

from analysis.errors import BudgetExceededError, InputError, WorkerError
from analysis.processes.workers import Worker


@pytest.fixture(scope="module")
def worker():
    with Worker("worker_jobs") as worker:
        yield worker


def test_it_answers(worker) -> None:
    assert worker.call("double", 21) == 42


def test_our_errors_come_back_as_they_are(worker) -> None:
    with pytest.raises(InputError, match="no such thing"):
        worker.call("refuse")
    assert worker.call("double", 1) == 2


def test_an_error_that_cannot_travel_comes_back_in_words(worker) -> None:
    with pytest.raises(WorkerError, match="DeadlyError: worse"):
        worker.call("fail")
    assert issubclass(DeadlyError, Exception)


def test_work_that_does_not_end_is_ended_and_the_next_call_answers(worker) -> None:
    started = time.monotonic()
    with pytest.raises(BudgetExceededError) as caught:
        worker.call("loop", budget=0.5)
    assert caught.value.step == "going round"
    assert time.monotonic() - started < 20
    assert worker.call("double", 4) == 8


def test_what_hangs_in_native_code_is_ended_soon_after_a_limit_of_its_own(
    worker, monkeypatch
) -> None:
    monkeypatch.setattr("analysis.processes.workers._SECONDS_LATER", 0.3)
    with pytest.raises(BudgetExceededError) as caught:
        worker.call("hang_in_native_code", 0.2)
    assert caught.value.reason == "no answer within 0.2 s while hanging"
    assert worker.call("double", 3) == 6


def test_a_limit_that_is_kept_ends_no_process(worker, monkeypatch) -> None:
    monkeypatch.setattr("analysis.processes.workers._SECONDS_LATER", 0.3)
    worker.call("double", 3)
    process = worker._process
    assert worker.call("keep_limits") == "done"
    assert worker._process is process


def test_a_process_that_dies_is_reported_with_its_step(worker) -> None:
    with pytest.raises(WorkerError, match=r"died \(exit status 3\) while falling"):
        worker.call("die")
    assert worker.call("double", 5) == 10


def test_a_process_that_dies_between_two_calls_is_reported(worker) -> None:
    worker.call("double", 1)
    process = worker._process
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(WorkerError, match=r"died \(out of memory, most likely\) while starting"):
        worker.call("double", 2)
    assert worker.call("double", 5) == 10


def test_a_process_whose_answer_nobody_reads_leaves_in_silence(capfd) -> None:
    with Worker("worker_jobs") as worker:
        worker.call("double", 1)
        worker._pipe.send(("double", (2,)))
        assert worker._pipe.poll(20)
        process = worker._process
        worker._pipe.close()
        process.join(20)
        assert process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_steps_are_reported_as_they_begin() -> None:
    output: list[str] = []
    with Worker("worker_jobs", output.append) as worker, pytest.raises(BudgetExceededError):
        worker.call("loop", budget=0.2)
    assert output == ["going round"]


def test_what_a_worker_is_begun_with_is_not_handed_on() -> None:
    before = dict(os.environ)
    with Worker("worker_jobs") as worker:
        assert worker.call("variables") == {}
    assert os.environ == before


def test_a_module_that_does_not_import_is_a_line_whatever_it_raises(tmp_path, monkeypatch) -> None:
    (tmp_path / "raising.py").write_text("raise OSError('libgone.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with Worker("raising") as worker, pytest.raises(InputError, match=r"do not import \(libgone"):
        worker.call("anything")


def test_a_worker_collects_garbage(worker) -> None:
    assert worker.call("collects")
