"""A terminal shows what a test waits for; a pipe does not."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from drawn import part

ROOT = Path(__file__).parents[3]
TEST = """
from analysis import parametrize_with_checks

@parametrize_with_checks("nets:Chain", input_size=(3, 6, 6), ratios=[0.5])
def test_chain(check):
    check()
"""
PYTEST = ("-m", "pytest", "-q", "-k", "forward_runs", "test_chain.py")


def run(folder: Path, *arguments: str, terminal: bool) -> tuple[int, str, str]:
    """Exit status, standard output and, on a terminal or a pipe, standard error of Python."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(theirs, (24, 100))  # one of no size shows no bar
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        said = _read(ours)
        out, _ = process.communicate()
    return process.returncode, out, said


def _read(handle: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(handle, 65536)
        except OSError:  # a terminal whose other side is closed
            part = b""
        if not part:
            os.close(handle)
            return b"".join(parts).decode()
        parts.append(part)


@pytest.mark.parametrize("options", part([(), ("-s",), ("-p", "no:capture")], "terminal"))
def test_a_test_names_what_it_waits_for_and_takes_it_back(tmp_path, options) -> None:
    (tmp_path / "test_chain.py").write_text(TEST)
    status, out, said = run(tmp_path, *PYTEST, *options, terminal=True)
    assert status == 0, out
    shown = re.findall(r"\x1b7\x1b\[\?7l (.*?)\x1b\[K\x1b\[\?7h\x1b8", said)
    assert shown
    assert all(re.fullmatch(r"nets:Chain at 0\.5: [a-z].*", line) for line in shown)
    assert said.endswith("\x1b[K")
    assert "\x1b" not in out


@pytest.mark.parametrize("options", part([(), ("-s",)], "pipe"))
def test_a_pipe_gets_nothing_of_it(tmp_path, options) -> None:
    (tmp_path / "test_chain.py").write_text(TEST)
    status, out, said = run(tmp_path, *PYTEST, *options, terminal=False)
    assert (status, said) == (0, ""), out


def test_a_report_counts_its_parts_and_says_that_it_draws(tmp_path) -> None:
    command = "-m analysis report nets:Chain --input-size 3,6,6 --ratios 0.5 --out out"
    status, out, said = run(tmp_path, *command.split(), terminal=True)
    assert status == 0, said
    assert "wrote out/index.html" in out
    assert re.search(r"studying: +\d+%.*drawing", said, re.DOTALL)
