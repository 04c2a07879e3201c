"""Run the commands and the Python of documentation pages.

A page is done block by block in one folder:

- a block whose first line is a comment with a path (``# test_pruning.py``) is that file;
- in a ``console`` block each line after ``$ `` is a command, and what follows it is its output, of
  which ``...`` matches anything;
- other ``python`` blocks run one after another in one namespace, as in a session;
- blocks of other languages are shown, and are neither commands nor Python.

What cannot be done where the tests run has a comment in front that the built page does not show:
``<!-- not run: why -->``. A command that ends otherwise than with 0 has ``<!-- exits with 1 -->``.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.command_line.main import main

__all__ = ["PAGES", "ROOT", "Block", "Page", "call", "do"]

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

_BLOCK = re.compile(
    r"^(?P<more>[^\n]*)\n(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_COMMENT = re.compile(r"<!-- (not run: (?P<why>.+)|exits with (?P<status>\d+)) -->")
_AS_SHOWN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block, with the line of the page that it starts at."""

    language: str
    text: str
    line: int
    why_not: str = ""
    status: int = 0

    @property
    def file(self) -> str:
        """The path of the file that it is; empty if it is none."""
        found = _FILE.match(self.text)
        return found[1] if found else ""

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command of a session, with the output that is shown of it."""
        if self.language not in ("console", ""):
            return []
        _, *entries = re.split(r"^\$ ", self.text, flags=re.MULTILINE)
        return [_command_and_output(entry) for entry in entries]


def _command_and_output(entry: str) -> tuple[str, str]:
    command, _, shown = re.sub(r"\\\n\s*", "", entry).partition("\n")
    return command, shown


class Page:
    """A page of Markdown."""

    def __init__(self, path: Path | str, text: str | None = None) -> None:
        self.path = ROOT / path
        self.text = self.path.read_text("utf-8") if text is None else text
        self.blocks = [_block(found, self.text) for found in _BLOCK.finditer(self.text)]

    def block(self, language: str, containing: str) -> str:
        """The text of the one block of this language that contains the words."""
        (found,) = [
            each.text
            for each in self.blocks
            if each.language == language and containing in each.text
        ]
        return found

    def file(self, name: str) -> str:
        """The text of the first block that is this file."""
        return next(each.text for each in self.blocks if each.file == name)

    @property
    def commands_in_text(self) -> list[str]:
        """Commands of the package that stand between words, or in a block without outputs."""
        without = _BLOCK.sub("", self.text)
        listed = [
            line.strip()
            for each in self.blocks
            if not each.commands
            for line in each.text.splitlines()
        ]
        return [
            line
            for line in [*re.findall(r"`([^`\n]+)`", without), *listed]
            if line.startswith("pruning-analysis ")
        ]


def _block(found: re.Match[str], page: str) -> Block:
    comment = _COMMENT.search(found["more"])
    return Block(
        found["language"],
        textwrap.dedent(found["text"]),
        page.count("\n", 0, found.start("language")) + 1,
        (comment and comment["why"]) or "",
        int((comment and comment["status"]) or 0),
    )


def do(page: Page, folder: Path) -> list[str]:
    """Do what a page says, in this folder; each thing that is not as it says, with its line."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found = []
    with _in(folder):
        for block in page.blocks:
            if not block.why_not:
                place = f"{page.path.name}:{block.line}: "
                found += [place + trouble for trouble in _do(block, folder, names)]
    return found


def _do(block: Block, folder: Path, names: dict[str, Any]) -> list[str]:
    if block.file:
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(block.text)
        return []
    if block.language == "python":
        return _run_python(block.text, names)
    return [
        trouble
        for command, shown in block.commands
        for trouble in _run_command(command, shown, block.status, folder)
    ]


def _run_python(text: str, names: dict[str, Any]) -> list[str]:
    try:
        exec(compile(text, "<page>", "exec"), names)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def _run_command(command: str, shown: str, status: int, folder: Path) -> list[str]:
    output = _called(command, folder)
    if output.returncode != status:
        return [f"`{command}` exits with {output.returncode}: {output.stdout}{output.stderr}"]
    checker = doctest.OutputChecker()
    if shown.strip() and not checker.check_output(shown, output.stdout + output.stderr, _AS_SHOWN):
        return [f"`{command}` prints\n{output.stdout}{output.stderr}and not\n{shown}"]
    return []


def _called(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The package's own commands run in this process, which has its workers at hand: 10 x faster.

    That the script that is installed leads there is a test of its own.
    """
    if not command.startswith("pruning-analysis ") or re.search(r"[|&;<>$*]", command):
        return call(folder, command)
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = main(shlex.split(command, comments=True)[1:])
        except SystemExit as left:
            status = int(left.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), error.getvalue())


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    """Work in a folder, whose modules can be imported and are forgotten afterwards."""
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        with contextlib.chdir(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as a reader who sees them goes on
            yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]


def call(folder: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command of a user in that folder; python and pytest are those of this environment."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    scripts = str(Path(sys.executable).parent)
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=kept | {"PATH": f"{scripts}:{os.environ['PATH']}", **more},
    )
