"""The committed report is what the code makes, on another processor too."""

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMITTED = Path(__file__).parents[2] / "reports"

# What torch and oneDNN would choose on a processor without vector extensions beyond SSE 4.1.
OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def names(folder: Path) -> list[str]:
    """The report's files; junit.xml and the benchmarks hold times, baseline.new.csv what is new."""
    files = (path for path in folder.iterdir() if path.is_file() and path.suffix != ".xml")
    return sorted(path.name for path in files if path.name != "baseline.new.csv")


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report made by the command of the README, as an older processor computes it."""
    folder = tmp_path_factory.mktemp("reports")
    # The work of other commands, which this one reads, and leaves as it is.
    for name in (
        "zoo.json",
        "networks.json",
        "counters.json",
        "published.json",
        "pruners.json",
        "accuracy.json",
        "latency.md",
        "latency-cuda.md",
        "baseline.csv",
    ):
        shutil.copy(COMMITTED / name, folder)
    outcomes = COMMITTED / "junit.xml"
    assert outcomes.exists(), "the report tells how tests ended: run them first (tox run -e py311)"
    shutil.copy(outcomes, folder)
    shutil.copytree(COMMITTED / "versions", folder / "versions")
    made = subprocess.run(
        [sys.executable, "-m", "analysis", "report", "--out", str(folder)],
        env={**os.environ, **OLD_PROCESSOR},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder


def test_the_environment_computes_differently_at_the_last_bit() -> None:
    """Else the test below would show nothing."""
    code = "import torch; torch.manual_seed(0); print(torch.randn(4096).sum().item().hex())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **extra},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for extra in (OLD_PROCESSOR, {})
    }
    assert len(seen) == 2


def test_the_same_files_are_made(again: Path) -> None:
    assert names(again) == names(COMMITTED)


@pytest.mark.parametrize("name", names(COMMITTED))
def test_a_report_file_is_byte_identical(again: Path, name: str) -> None:
    committed, made = (folder / name for folder in (COMMITTED, again))
    if made.read_bytes() != committed.read_bytes():
        diff = difflib.unified_diff(
            committed.read_text().splitlines(), made.read_text().splitlines(), lineterm="", n=0
        )
        lines = "\n".join(line[:300] for line in list(diff)[:20])
        pytest.fail(f"reports/{name} is not what the code makes; tox run -e report\n{lines}")
