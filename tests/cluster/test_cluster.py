"""A cluster whose workers and scheduler are lost, or are not what they should be."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Machines, machines
from grid_jobs import bytes_in, cell, squares

from analysis.errors import InputError
from analysis.grid.cluster import Cluster
from analysis.grid.engine import missing, run
from analysis.grid.local import Local
from analysis.grid.records import Records
from analysis.grid.sources import made_with

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path / "machines", workers=0) as found:
        yield found


class Meanwhile:
    """Does something once so many records are there, while a run goes on."""

    def __init__(self, folder: Path, count: int, what: Any) -> None:
        self._arguments = (folder, count, what)
        self._thread = threading.Thread(target=self._wait)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _wait(self) -> None:
        folder, count, what = self._arguments
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.json"))) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        what()


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    list(run(squares(40, 0.1), Local(2), Records(tmp_path / "undisturbed")))
    return bytes_in(tmp_path / "undisturbed")


def test_cells_of_a_worker_that_is_killed_are_done_by_another(
    tmp_path, cluster, undisturbed
) -> None:
    first, _ = cluster.begin_worker(), cluster.begin_worker()
    folder = tmp_path / "records"
    with Meanwhile(folder, 5, lambda: os.killpg(first.pid, signal.SIGKILL)):
        list(run(squares(40, 0.1), Cluster(cluster.address), Records(folder)))
    assert bytes_in(folder) == undisturbed


def test_a_worker_alone_that_is_killed_is_begun_again_by_its_nanny(
    tmp_path, cluster, undisturbed
) -> None:
    import psutil

    nanny = cluster.begin_worker()
    folder = tmp_path / "records"

    def kill() -> None:
        # Its children: a tracker of resources, and the worker.
        for child in psutil.Process(nanny.pid).children():
            if "resource_tracker" not in " ".join(child.cmdline()):
                child.kill()

    with Meanwhile(folder, 5, kill):
        list(run(squares(40, 0.1), Cluster(cluster.address), Records(folder)))
    assert bytes_in(folder) == undisturbed


def test_a_cell_that_workers_die_of_is_missing_and_those_of_its_task_are_done(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    # What waits at a worker that dies counts as what it dies of, too.
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION", "1.0")
    monkeypatch.setattr("analysis.grid.cluster._TASKS", 1)
    cells = squares(64, 0.0)
    cells[20] = cell("kill_the_worker")
    with machines(tmp_path / "machines", workers=1) as cluster:
        folder = Records(tmp_path / "records")
        found = [end for _, end in run(cells, Cluster(cluster.address), folder)]
    assert [number for number, end in enumerate(found) if end is None] == [20]
    assert [end.answer["square"] for end in found if end] == [n**2 for n in range(64) if n != 20]
    assert missing(cells, folder) == cells[20:21]


def test_cells_that_are_long_are_spread_over_workers_whatever_task_they_began_in(
    tmp_path, cluster, monkeypatch
) -> None:
    """Of a task that is not at its end after a second, others do the rest."""
    monkeypatch.setattr("analysis.grid.cluster._TASKS", 1)
    monkeypatch.setattr("analysis.grid.cluster._TASKS_A_THREAD", 1)
    for _ in range(2):
        cluster.begin_worker()
    cells = [cell("slow_process", number, 1.2) for number in range(6)]
    cells += [cell("slow_process", number, 0.0) for number in range(6, 12)]
    found = [end.answer for _, end in run(cells, Cluster(cluster.address))]
    assert len({process for _, process in found[:6]}) == 2


def test_a_scheduler_that_comes_back_is_given_the_rest(tmp_path, undisturbed) -> None:
    folder = tmp_path / "records"
    with machines(tmp_path / "machines", workers=0) as cluster:
        scheduler = cluster.scheduler
        cluster.begin_worker()

        def lose() -> None:
            scheduler.kill()
            scheduler.wait()
            time.sleep(1)
            cluster.begin_scheduler()
            cluster.begin_worker()  # the others leave with their scheduler

        with Meanwhile(folder, 5, lose):
            list(run(squares(40, 0.1), Cluster(cluster.address), Records(folder)))
    assert bytes_in(folder) == undisturbed


def test_a_scheduler_that_stays_lost_is_a_line_and_what_was_done_is_kept(
    tmp_path, undisturbed, monkeypatch
) -> None:
    monkeypatch.setattr("analysis.grid.cluster._SECONDS_TO_COME_BACK", 2.0)
    folder = tmp_path / "records"
    with (
        machines(tmp_path / "machines", workers=1) as cluster,
        Meanwhile(folder, 5, cluster.scheduler.kill),
        pytest.raises(InputError, match=r"^no scheduler answers"),
    ):
        list(run(squares(40, 0.1), Cluster(cluster.address), Records(folder)))
    kept = bytes_in(folder)
    assert 5 <= len(kept) < 40
    assert kept.items() <= undisturbed.items()
    list(run(squares(40, 0.1), Local(2), Records(folder)))
    assert bytes_in(folder) == undisturbed


def test_a_cell_goes_to_a_worker_with_what_it_takes(tmp_path, cluster) -> None:
    cluster.begin_worker("--name", "without")
    cluster.begin_worker("--resources", "GPU=1 MEMORY=8e9")
    wanted = Cluster(cluster.address, {"GPU": 1, "MEMORY": 8e9})
    found = list(run([cell("process", str(n)) for n in range(8)], wanted))
    assert len({end.answer[1] for _, end in found}) == 1


def planted(folder: Path, version: str) -> str:
    """Where a worker finds another version of torch, as its metadata tells."""
    metadata = folder / f"torch-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    return str(folder)


def test_a_worker_with_other_versions_is_a_line(tmp_path, cluster) -> None:
    cluster.begin_worker(path=planted(tmp_path / "old", "2.3.0"))
    cells = [cell("square", 2, versions=made_with())]
    told = r"^worker tcp://\S+ has torch 2\.3\.0, and here is \S+; install the same on both$"
    with pytest.raises(InputError, match=told):
        list(run(cells, Cluster(cluster.address)))


def test_a_worker_that_joins_later_with_other_versions_is_a_line(tmp_path, cluster) -> None:
    cluster.begin_worker()
    old = planted(tmp_path / "old", "2.3.0")
    cells = [
        cell("square", number, 0.3, versions=made_with()) for number in range(200)
    ]  # a minute of one worker
    folder = tmp_path / "records"
    with (
        Meanwhile(folder, 3, lambda: cluster.begin_worker(path=old)),
        pytest.raises(InputError, match=r"has torch 2\.3\.0, and here is"),
    ):
        list(run(cells, Cluster(cluster.address), Records(folder)))
    assert 3 <= len(bytes_in(folder)) < 200


def test_a_worker_without_the_package_is_a_line(tmp_path, cluster) -> None:
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding" / "analysis.py").write_text("")  # of somebody else
    cluster.begin_worker(path=str(tmp_path / "hiding"))
    told = r"^worker tcp://\S+ has no pruning-analysis; install what is installed here$"
    with pytest.raises(InputError, match=told):
        list(run(squares(1, 0.0), Cluster(cluster.address)))
