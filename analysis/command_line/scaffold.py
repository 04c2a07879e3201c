"""The files that gate a network in a project: a test, an environment of tox, a workflow."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.environment import OWN, versions
from analysis.errors import InputError
from analysis.records import Thresholds
from analysis.reporting.files import check_writable, write_text

__all__ = ["TEST", "TO_MOVE", "check_new", "texts", "write_new"]

TEST = "test_pruning.py"
_TOX = "tox.ini"
_WORKFLOW = ".github/workflows/pruning.yml"
_NAMES = (TEST, _TOX, _WORKFLOW)

TO_MOVE = (
    f"GitHub looks for {_WORKFLOW} in the root of a repository alone: move it there if this folder "
    "is none, and give its job this folder as `defaults: run: working-directory:`"
)
"""What to do with the workflow in a folder of its own."""

_PINNED = ("torch", "torchvision", "torch-pruning", "fvcore", "pytest", "pytest-xdist")
"""The packages that a verdict depends on, and those that run the test."""


def check_new(folder: str | Path) -> None:
    """Refuse a folder that holds one of the files, before anything is done.

    Raises:
        InputError: names the file, or says why none can be written.
    """
    for path in (Path(folder) / name for name in _NAMES):
        if path.exists() or path.is_symlink():
            raise InputError(
                f"{path} exists, and nothing was written; move it away, or give a new folder with "
                "--out and take what you need from there"
            )
    check_writable(Path(folder) / TEST)


def write_new(folder: str | Path, written: Mapping[str, str]) -> list[Path]:
    """Write all of the files or none.

    Raises:
        InputError: a file cannot be written or exists by now; files written before it are removed.
    """
    check_new(folder)
    made: list[Path] = []
    try:
        for name, text in written.items():
            made.append(write_text(Path(folder) / name, text))
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return made


def texts(model: str, given: Mapping[str, Any], folder: str | Path = ".") -> dict[str, str]:
    """The text of each file, by name.

    Args:
        model: as the decorator takes it.
        given: arguments of the decorator that are not the usual ones.
        folder: where the files are run; paths to the user's own files lead from there.
    """
    model, given = _from(folder, model), {name: _from(folder, each) for name, each in given.items()}
    install = "" if _is_project(Path(folder)) else "skip_install = true\n"
    return {
        TEST: _TEST.format(arguments=_arguments(model, given), imports=_imports(given)),
        _TOX: _ENVIRONMENT.format(
            install=install,
            pins=_indented(_pins()),
        ),
        _WORKFLOW: _STEPS.format(python=f"{sys.version_info.major}.{sys.version_info.minor}"),
    }


def _from(folder: str | Path, value: Any) -> Any:
    """The same value, where it names a file with its path from a folder."""
    if not isinstance(value, str):
        return value
    file, colon, name = value.partition(".py:")
    path = f"{file}.py" if colon else value
    if Path(path).is_absolute() or not Path(path).is_file():
        return value
    return Path(os.path.relpath(path, folder)).as_posix() + colon.removeprefix(".py") + name


def _imports(given: Mapping[str, Any]) -> str:
    held = any(isinstance(value, Thresholds) for value in given.values())
    return "from analysis.records import Thresholds\n" if held else ""


def _arguments(model: str, given: Mapping[str, Any]) -> str:
    words = [_literal(model), *(f"{name}={_literal(value)}" for name, value in given.items())]
    return "\n".join(f"    {word}," for word in words)


def _literal(value: Any) -> str:
    """As Python writes it, with the quotes that formatters put around text."""
    if isinstance(value, Thresholds):
        return f"Thresholds(metric_loss={value.metric_loss!r})"
    return json.dumps(value) if isinstance(value, str | dict) else repr(value)


def _is_project(folder: Path) -> bool:
    """Whether it holds a package, which the network may be in."""
    return any((folder / name).is_file() for name in ("pyproject.toml", "setup.py"))


def _pins() -> Iterable[str]:
    # The part after a plus is a build, which only its own index has.
    found = versions((OWN, *_PINNED)).items()
    return (f"{package}=={version.partition('+')[0]}" for package, version in found)


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


_TEST = '''\
"""The network is pruned at each ratio, and each pruning is held to every check."""

from analysis import parametrize_with_checks
{imports}

@parametrize_with_checks(
{arguments}
)
def test_pruning(check):
    check()
'''

_ENVIRONMENT = """\
[tox]
env_list = pruning

[testenv:pruning]
description = prune the network, and prove that what is left computes the same
# pruning-analysis is on no index. Once: pip wheel --no-deps -w wheels path/to/its/clone
set_env =
    PIP_FIND_LINKS = {{toxinidir}}/wheels
{install}deps =
{pins}
commands = pytest test_pruning.py -n 2 {{posargs}}
"""

_STEPS = """\
name: pruning
on: [push, pull_request]
permissions:
  actions: read
  contents: read
  pull-requests: write
jobs:
  pruning:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - uses: actions/setup-python@v6
        with:
          python-version: "{python}"
      - run: pip install tox
      - run: tox run -e pruning -- --report=pruning-report
      - if: always()
        run: cat pruning-report/report.md >> "$GITHUB_STEP_SUMMARY"
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: pruning
          path: pruning-report
      # A pull request is compared with the last report of its base branch, if there is one.
      - if: always() && github.event_name == 'pull_request'
        continue-on-error: true
        env:
          GH_TOKEN: ${{{{ github.token }}}}
        run: |
          last=$(gh run list --workflow pruning.yml --branch "$GITHUB_BASE_REF" --event push \\
            --status completed --limit 1 --json databaseId --jq '.[0].databaseId')
          gh run download "$last" --name pruning --dir base
      - if: always() && hashFiles('base/results.json') != ''
        run: |
          .tox/pruning/bin/pruning-analysis diff base/results.json \\
            pruning-report/results.json > comment.md
      # The token of a pull request from a fork may not comment; the job's summary holds the same.
      - if: always() && hashFiles('comment.md') != ''
        env:
          GH_TOKEN: ${{{{ github.token }}}}
          NUMBER: ${{{{ github.event.number }}}}
        run: |
          cat comment.md >> "$GITHUB_STEP_SUMMARY"
          gh pr comment "$NUMBER" --edit-last --create-if-none --body-file comment.md || true
"""
