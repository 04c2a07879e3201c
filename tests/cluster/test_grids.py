"""Whole grids: interrupted at ten moments, and done in three ways that give the same bytes."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from clusters import machines
from grid_jobs import begun, bytes_in, squares

from analysis.command_line.main import main
from analysis.grid.engine import run
from analysis.grid.local import Local
from analysis.grid.records import Records

GRID = """
ratios = [0.3, 0.5]
policies = ["classifier", "none"]
scopes = ["global", "local"]

"""
SUBJECT = '[[subject]]\nmodel = "nets.py:{}"\ninput_size = [3, 8, 8]\n'
NETWORKS = """
from torch import nn

class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.norm(self.turned(self.second(self.first(x).relu()))).mean((2, 3)))

    def turned(self, x):
        return x

class Flipped(Chain):
    def turned(self, x):
        return x.flip(1)
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_at_ten_moments_ends_with_the_same_bytes(tmp_path, by) -> None:
    count, seconds = 200, 0.05
    list(run(squares(count, seconds), Local(2), Records(tmp_path / "undisturbed")))
    undisturbed, folder = bytes_in(tmp_path / "undisturbed"), tmp_path / "records"
    folder.mkdir()
    moments = random.Random(0)
    kept = [0]
    for turn in range(10):
        process = begun(folder, count, seconds)
        while turn % 2 and len(bytes_in(folder)) == kept[-1]:  # the others while it begins
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(moments.uniform(0.1, 0.6))
        os.killpg(process.pid, by)
        assert process.wait(30) != 0
        found = bytes_in(folder)
        assert found.items() <= undisturbed.items()
        kept.append(len(found))
    assert kept == sorted(kept)
    assert len(set(kept)) > 5
    assert begun(folder, count, seconds).wait(60) == 0
    assert bytes_in(folder) == undisturbed


def test_a_grid_is_the_same_bytes_here_on_a_cluster_and_merged_from_halves(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETWORKS)
    # One of a size at which torch shares out its sums over threads, where it has several.
    shared = '[[subject]]\nmodel = "mobilenet_v2"\ninput_size = [3, 96, 96]\n'
    both = ["".join(map(SUBJECT.format, ("Chain", "Flipped"))), shared]
    for name, text in (("whole", "".join(both)), ("left", both[0]), ("right", both[1])):
        Path(f"{name}.toml").write_text(GRID + text)

    def grid(name: str, folder: str, *more: str) -> dict[str, bytes]:
        assert main(["grid", f"{name}.toml", "--records", folder, *more]) in (0, 1)
        return bytes_in(Path(folder))

    here = grid("whole", "here")
    with machines(tmp_path / "machines") as cluster:
        far = grid("whole", "far", "--scheduler", cluster.address)
    grid("left", "merged")
    grid("right", "other", "--workers", "1")
    for name, content in bytes_in(Path("other")).items():
        (Path("merged") / name).write_bytes(content)
    assert len(here) == 24
    assert here == far == bytes_in(Path("merged"))
