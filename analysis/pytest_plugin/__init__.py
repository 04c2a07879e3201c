"""pytest's doors: the gate's fixture, the options of the suite, and what a session says at its end.

Every pytest run of an environment that has this package loads it, so nothing heavy is imported
before it is needed, and an option that a conftest or another plugin has taken is left to it.
"""

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from analysis.pytest_plugin import gate, suite
from analysis.pytest_plugin.gate import Baseline, baseline

__all__ = [
    "Baseline",
    "baseline",
    "pytest_addoption",
    "pytest_configure",
    "pytest_ignore_collect",
    "pytest_load_initial_conftests",
]

_PATHS = ("--baseline", "--report")
"""Options whose values are paths. pytest looks for its configuration beside any path among the
arguments, unless it knows by then that it belongs to an option."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the defaults of the suite, and the options that have to be known early."""
    suite.add_defaults(parser)
    _add(parser, early=True)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, Any, Any]:
    """Add the other options, after the conftests have added theirs."""
    result = yield
    _add(parser, early=False)
    return result


def _add(parser: pytest.Parser, *, early: bool) -> None:
    group = parser.getgroup("pruning-analysis", "prunings proved, and held to a baseline")
    for name, told in (*gate.options(), *suite.options()):
        if (name in _PATHS) is early:
            try:
                group.addoption(name, **told)
            except (ValueError, argparse.ArgumentError):
                continue  # it belongs to somebody else; the suite's have a default in the ini file


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The suite's prunings are held to a baseline only where that is asked."""
    is_baseline = collection_path.parts[-2:] == ("suite", "test_baseline.py")
    is_ours = is_baseline and collection_path.parent.parent == Path(__file__).parent.parent
    return True if is_ours and not gate.is_asked(config) else None


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be used before any test runs.

    Raises:
        pytest.UsageError: says what was given, and what is expected.
    """
    suite.configure(config)
    gate.configure(config)
