"""What an engine for many cells adds to their work, in processor seconds. Run by tox -e bench."""

import os
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
from bench.usage import usage_of
from clusters import machines
from grid_jobs import cell

from analysis.grid.cluster import Cluster
from analysis.grid.engine import run
from analysis.grid.local import Local
from analysis.grid.records import Records

COMMAND = str(Path(sys.executable).with_name("pruning-analysis"))
CELLS = 2000
MOST = 0.015
"""Seconds that a cell may cost beyond its work."""

ROUNDS, BUSY_SECONDS, WAITING = 3, 10.0, 5.0

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))
"""
GRID = """
ratios = {ratios}
policies = ["residual-blocks", "skip-channels", "classifier", "none"]
scopes = ["global", "local"]

[[subject]]
model = "net.py:Net"
input_size = [3, 16, 16]
"""
ALONE = """
import json
from analysis.command_line.arguments import check_references
from analysis.grid import work
from analysis.grid.described import cells_of
for cell in cells_of("grid.toml", check_references):
    json.dumps(work.prove(*cell.arguments))
"""


def test_a_cell_costs_little_beyond_its_work(benchmark, tmp_path, monkeypatch, one_thread) -> None:
    """The command, against the same prunings one after the other in one process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ways = CELLS // 8
    Path("net.py").write_text(NETWORK)
    Path("grid.toml").write_text(GRID.format(ratios=[step / ways for step in range(ways)]))
    alone = (sys.executable, "-W", "ignore", "-c", ALONE)
    grid = (COMMAND, "grid", "grid.toml", "--records", "records")
    work, whole = benchmark.pedantic(lambda: (usage_of(*alone), usage_of(*grid)), rounds=1)
    assert len(list(Path("records").iterdir())) == CELLS
    overhead = (whole.seconds - work.seconds) / CELLS
    benchmark.extra_info |= {"work": work.seconds / CELLS, "overhead": overhead}
    print(f"\na cell: {work.seconds / CELLS * 1e3:.1f} ms of work, {overhead * 1e3:.1f} ms beyond")
    assert overhead <= MOST


def spent(begun: Iterable[int]) -> float:
    """Processor seconds of these processes and all that they began, those that have ended too."""
    roots = [psutil.Process(pid) for pid in begun]
    of_all = {each for root in roots for each in [root, *root.children(recursive=True)]}
    return sum(sum(each.cpu_times()[:4]) for each in of_all)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seconds", [0.01, 0.05])
def test_a_cluster_costs_little_more_than_processes_here(
    benchmark, tmp_path, monkeypatch, seconds
) -> None:
    """Four workers each way, in turn, as the median of ratios; what starts up is not counted.

    Nor is what the cluster spends while it waits, a fiftieth of a core each process.
    """
    monkeypatch.setattr("analysis.processes.workers.preloaded", [])  # as in the cluster's workers
    cells = [cell("compute", number, seconds) for number in range(int(BUSY_SECONDS / seconds))]

    with machines(tmp_path / "machines", workers=4) as cluster:

        def of_cluster() -> float:
            return spent(cluster.pids)

        def of_this() -> float:
            return spent([os.getpid()]) - of_cluster()

        def beyond_waiting() -> float:
            return spent([os.getpid()]) - waiting * time.monotonic()

        def cost(executor, folder: str, clock) -> float:
            spent_by = [clock()]
            for part in (cells[:4], cells):
                list(run(part, executor, Records(tmp_path / folder), fresh=True))
                spent_by.append(clock())
            start, few, all_ = spent_by
            return ((all_ - few) - (few - start)) / (len(cells) - 4)

        far, near = (Cluster(cluster.address), "far"), (Local(4), "near")
        cost(*far, of_this), cost(*near, of_this)
        before = of_cluster()
        time.sleep(WAITING)
        waiting = (of_cluster() - before) / WAITING
        pairs = benchmark.pedantic(
            lambda: [(cost(*far, beyond_waiting), cost(*near, of_this)) for _ in range(ROUNDS)],
            rounds=1,
        )
    ratio = statistics.median(one / other for one, other in pairs)
    far_cost, near_cost = map(statistics.median, zip(*pairs, strict=True))
    benchmark.extra_info |= {"ratio": ratio, "cluster": far_cost, "here": near_cost}
    told = f"{far_cost * 1e3:.2f} and {near_cost * 1e3:.2f} ms a cell of {seconds * 1e3:g}"
    print(f"\na cluster / processes here: {ratio:.3f}, {told}; waiting: {waiting:.2f} cores")
    assert ratio <= 1.1
