"""pytest's doors: the gate's fixture, the options of the suite, and what a session says at its end.

Every pytest run of an environment that has this package loads it, so nothing heavy is imported
before it is needed, and an option that a conftest or another plugin has taken is left to it.
"""

import argparse
from collections.abc import Generator
from itertools import pairwise
from typing import Any

import pytest

from analysis.pytest_plugin import gate, progress, suite
from analysis.pytest_plugin.gate import Baseline, baseline

__all__ = [
    "Baseline",
    "baseline",
    "pytest_addoption",
    "pytest_configure",
    "pytest_load_initial_conftests",
]


_OPTIONS = (*gate.OPTIONS, *suite.OPTIONS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the defaults of the suite; pytest must know them before it reads its configuration."""
    suite.add_defaults(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, Any, Any]:
    """Add the options, after the conftests have added theirs."""
    names = {name for name, _ in _OPTIONS}
    places = early_config.known_args_namespace.file_or_dir
    for option, value in pairwise(args):
        # Not known yet, the option's value passes for a place to look for tests and conftests in.
        if option in names and value in places:
            places.remove(value)
    result = yield
    group = parser.getgroup("pruning-analysis", "prunings proved, and held to a baseline")
    for name, told in _OPTIONS:
        try:
            group.addoption(name, **told)
        except (ValueError, argparse.ArgumentError):
            continue  # it belongs to somebody else; the suite's have a default in the ini file
    return result


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be used before any test runs.

    Raises:
        pytest.UsageError: says what was given, and what is expected.
    """
    suite.configure(config)
    gate.configure(config)
    progress.configure(config)
