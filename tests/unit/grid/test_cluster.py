"""The same cells on a cluster: a scheduler and two workers on this machine's loopback."""

import signal
from pathlib import Path

import pytest
from clusters import free_port, machines
from grid_jobs import bytes_in, cell, squares

from analysis.errors import InputError
from analysis.grid.cluster import Cluster
from analysis.grid.engine import run
from analysis.grid.local import Local
from analysis.grid.records import End, How, Records
from analysis.grid.sources import digests, made_with

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_records_are_the_same_bytes_and_a_fault_is_its_cells_record(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sent.txt").write_text("of the user's own")
    cells = [
        *squares(6, 0.0),
        cell("hang_in_native_code", budget=0.5),
        cell("die", signal.SIGKILL),
        cell("allocate_without_end", memory=3e8),
        cell("print_without_end", budget=0.5),
        cell("here", versions=made_with(), files=digests(["sent.txt"])),
    ]
    with machines(tmp_path / "elsewhere") as cluster:
        found = [end for _, end in run(cells, Cluster(cluster.address), Records("far"))]
    assert [end.answer for end in found[:6]] == [{"square": n**2} for n in range(6)]
    assert [end.how for end in found[6:]] == [How.TIME, How.DIED, How.MEMORY, How.TIME, None]
    assert found[-1] == End("of the user's own")
    list(run(cells, Local(2), Records("near")))
    assert bytes_in(Path("far")) == bytes_in(Path("near"))


def test_a_scheduler_that_does_not_answer_is_a_line(monkeypatch) -> None:
    monkeypatch.setattr("analysis.grid.cluster._SECONDS_TO_ANSWER", 0.5)
    for scheduler in (f"tcp://127.0.0.1:{free_port()}", "gone.json", "tcp://nowhere.invalid:1"):
        with pytest.raises(InputError, match=r"^no scheduler answers at ") as caught:
            list(run(squares(1, 0.0), Cluster(scheduler)))
        assert "\n" not in str(caught.value)
