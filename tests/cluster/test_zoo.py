"""The zoo itself, some of its models: killed twice, resumed, and with the same result."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from grid_jobs import bytes_in

MODELS = (
    "mnasnet0_5", "mnasnet0_75", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
    "squeezenet1_0", "squeezenet1_1", "googlenet", "shufflenet_v2_x0_5", "resnet18",
    "regnet_x_400mf", "lraspp_mobilenet_v3_large",
)  # fmt: skip
CELLS = 3 * len(MODELS) + 1  # as it is, and by its groups in both scopes; one has a recipe
_SECONDS = re.compile(rb"\bin [0-9.]+ s\b|\"seconds\": [0-9.]+")


def begun(folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "analysis.zoo", *MODELS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def told(folder: Path) -> bytes:
    """What a whole run prints, but for how long it took."""
    process = begun(folder)
    out, _ = process.communicate(timeout=1800)
    assert process.returncode == 0
    return _SECONDS.sub(b"", out)


def kept(folder: Path) -> dict[str, bytes]:
    """The records, but for how long it took."""
    store = folder / ".records"
    found = bytes_in(store) if store.is_dir() else {}
    return {name: _SECONDS.sub(b"", content) for name, content in found.items()}


def killed_after(folder: Path, count: int, seconds: float) -> None:
    process = begun(folder)
    deadline = time.monotonic() + 900
    while len(kept(folder)) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_zoo_that_is_killed_twice_ends_as_one_that_is_not(tmp_path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    lines = told(undisturbed)
    whole = kept(undisturbed)
    assert len(whole) == CELLS
    moments = random.Random(0)
    done = 0
    for least in (0, CELLS // 2):
        killed_after(disturbed, moments.randint(least + 1, least + CELLS // 3), moments.random())
        found = kept(disturbed)
        assert found.items() <= whole.items()
        assert done < len(found) < CELLS
        done = len(found)
    assert told(disturbed) == lines
    assert kept(disturbed) == whole
