"""Every cell has a record or is honestly missing, and no record is half."""

import os
import resource
import signal
import time
from collections import defaultdict
from itertools import pairwise

import psutil
import pytest
from grid_jobs import begun, bytes_in, cell, squares

from analysis.errors import BudgetExceededError, InputError, InstallationError
from analysis.grid.cells import Cell
from analysis.grid.engine import missing, run
from analysis.grid.local import Local
from analysis.grid.records import End, How, Records, ended_by


def test_ends_are_reported_in_the_order_of_the_cells_whatever_ends_first() -> None:
    cells = [cell("square", 3, 0.3), cell("square", 4), cell("square", 5)]
    found = list(run(cells, Local(2)))
    assert [each for each, _ in found] == cells
    assert [end.answer["square"] for _, end in found] == [9, 16, 25]


def test_a_cell_that_hangs_dies_or_does_not_stop_is_its_own_record(tmp_path, capfd) -> None:
    faults = [
        cell("hang_in_native_code", budget=0.5),
        cell("allocate_without_end", memory=3e8, budget=60.0),
        cell("die", signal.SIGKILL),
        cell("die", signal.SIGSEGV),
        cell("print_without_end", budget=0.5),
        cell("refuse"),
    ]
    around = [cell("square", number) for number in range(6)]
    cells = [each for pair in zip(faults, around, strict=True) for each in pair]
    ends = [end for _, end in run(cells, Local(2), Records(tmp_path / "records"))]
    assert [end.answer for end in ends[1::2]] == [{"square": n**2} for n in range(6)]
    assert [(end.answer, end.how, end.limit) for end in ends[::2]] == [
        (None, How.TIME, 0.5),
        (None, How.MEMORY, 3e8),
        (None, How.DIED, None),
        (None, How.DIED, None),
        (None, How.TIME, 0.5),
        (None, How.REFUSED, None),
    ]
    assert ends[2].why == "more than 0.3 GB of memory while starting"
    assert "out of memory, most likely" in ends[4].why
    assert f"exit status {-signal.SIGSEGV}" in ends[6].why
    assert ends[10].why == "no such thing"
    assert len(bytes_in(tmp_path / "records")) == 12
    assert capfd.readouterr() == ("", "")  # no progress in a pipe, and nothing that cells print
    assert not psutil.Process().children(recursive=True) or not busy()


def busy() -> list[psutil.Process]:
    """Children that compute; the server that others are forked from only waits."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.status() == psutil.STATUS_RUNNING]


def test_what_was_ended_from_outside_is_missing_and_done_by_the_next_run(tmp_path) -> None:
    """As by a batch system, which ends all processes of a job."""
    records = Records(tmp_path)
    told = [cell("die", signal.SIGTERM), cell("square", 2)]
    assert [end for _, end in run(told, Local(1), records)] == [None, End({"square": 4})]
    assert missing(told, records) == told[:1]


def test_only_what_has_no_record_is_done_and_fresh_does_all(tmp_path) -> None:
    records = Records(tmp_path / "records")
    cells = [cell("noted", str(tmp_path), number) for number in range(4)]
    for fresh, lines in ((False, 4), (False, 4), (True, 8)):
        assert [end.answer for _, end in run(cells, Local(1), records, fresh=fresh)] == [0, 1, 2, 3]
        assert len((tmp_path / "done").read_text().split()) == lines
    more = [*cells, cell("noted", str(tmp_path), 4), cells[0]]
    assert [end.answer for _, end in run(more, Local(1), records)] == [0, 1, 2, 3, 4, 0]
    assert len((tmp_path / "done").read_text().split()) == 9


def test_halves_of_two_folders_are_a_whole_one(tmp_path) -> None:
    cells = squares(8, 0.0)
    for name, part in (("whole", cells), ("left", cells[:4]), ("right", cells[4:])):
        list(run(part, Local(1), Records(tmp_path / name)))
    merged = bytes_in(tmp_path / "left") | bytes_in(tmp_path / "right")
    assert merged == bytes_in(tmp_path / "whole")


def test_a_record_that_is_no_record_is_made_again(tmp_path) -> None:
    cells, records = squares(2, 0.0), Records(tmp_path)
    list(run(cells, Local(1), records))
    whole = bytes_in(tmp_path)
    for text in ("", whole[f"{cells[0].digest}.json"][:50].decode(), "[]", "{}"):
        (tmp_path / f"{cells[0].digest}.json").write_text(text)
        assert missing(cells, records) == cells[:1]
    list(run(cells, Local(1), records))
    assert bytes_in(tmp_path) == whole


def test_what_a_limit_ended_is_done_again_under_a_higher_one_alone(tmp_path) -> None:
    records = Records(tmp_path)
    first = cell("square", 1, budget=5.0)
    records.write(first, ended_by(BudgetExceededError(5.0), first))
    for budget, left in ((4.0, 0), (5.0, 0), (6.0, 1), (None, 1)):
        assert len(missing([cell("square", 1, budget=budget)], records)) == left
    records.write(cell("square", 2), End(how=How.MEMORY, why="", limit=1e9))
    for memory, left in ((1e9, 0), (2e9, 1), (None, 0)):
        assert len(missing([cell("square", 2, memory=memory)], records)) == left
    records.write(cell("square", 3), End({"square": 9}))
    assert missing([cell("square", 3)], records) == []


def test_a_limit_of_its_own_that_a_cell_does_not_keep_ends_it_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("analysis.processes.workers._SECONDS_LATER", 0.2)
    records = Records(tmp_path)
    hanging = Cell("hanging", "worker_jobs:hang_in_native_code", (0.2,), budget=60.0)
    ((_, end),) = run([hanging], Local(1), records)
    assert end == End(how=How.TIME, why="no answer within 0.2 s while hanging", limit=60.0)
    assert missing([hanging], records) == []


def test_a_process_keeps_to_one_subject_while_it_has_cells() -> None:
    cells = [cell("process", subject, subject=subject) for _ in range(10) for subject in "abc"]
    done = defaultdict(list)
    for _, end in run(cells, Local(2)):
        subject, process, time_ = end.answer
        done[process].append((time_, subject))
    assert len(done) == 2
    for each in done.values():
        subjects = [subject for _, subject in sorted(each)]
        changes = sum(before != after for before, after in pairwise(subjects))
        assert changes <= 2  # at most once to each other subject


def test_processes_share_the_work_of_one_subject() -> None:
    cells = [cell("process", "a", subject="a") for _ in range(10)]
    assert len({end.answer[1] for _, end in run(cells, Local(2))}) == 2


def test_work_that_does_not_import_ends_the_run_and_is_no_record(tmp_path) -> None:
    (tmp_path / "records").mkdir()
    broken = Cell("a", "no_such_module:work", ())
    with pytest.raises(InstallationError, match="do not import"):
        list(run([broken], Local(1), Records(tmp_path / "records")))
    assert bytes_in(tmp_path / "records") == {}


def test_a_disk_that_is_full_loses_nothing_that_is_written(tmp_path) -> None:
    cells, records = squares(3, 0.0), Records(tmp_path)
    list(run(cells[:1], Local(1), records))
    before, limits = bytes_in(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*: File too large"):
            list(run(cells, Local(1), records))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bytes_in(tmp_path) == before
    assert [path for path in tmp_path.iterdir() if path.suffix != ".json"] == []
    assert [end.answer["square"] for _, end in run(cells, Local(1), records)] == [0, 1, 4]


def test_an_interrupt_keeps_what_was_done_and_the_next_run_does_the_rest(tmp_path) -> None:
    list(run(squares(30, 0.1), Local(2), Records(tmp_path / "undisturbed")))
    folder = tmp_path / "records"
    process = begun(folder, 30, 0.1)
    deadline = time.monotonic() + 30
    while len(list(folder.glob("*.json")) if folder.is_dir() else []) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) != 0
    undisturbed, kept = bytes_in(tmp_path / "undisturbed"), bytes_in(folder)
    assert 3 <= len(kept) < 30
    assert kept.items() <= undisturbed.items()
    list(run(squares(30, 0.1), Local(2), Records(folder)))
    assert bytes_in(folder) == undisturbed


def test_two_runs_on_one_folder_do_not_disturb_each_other(tmp_path) -> None:
    first, second = (begun(tmp_path / "both", 12, 0.02) for _ in range(2))
    assert (first.wait(30), second.wait(30)) == (0, 0)
    list(run(squares(12, 0.02), Local(2), Records(tmp_path / "one")))
    assert bytes_in(tmp_path / "both") == bytes_in(tmp_path / "one")


def test_what_works_for_a_process_that_was_killed_ends_with_it(tmp_path) -> None:
    process = begun(tmp_path, 4, 1000.0)
    server = psutil.Process(process.pid)
    deadline = time.monotonic() + 30
    while len(workers := server.children(recursive=True)) < 4:  # two servers, two workers
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
