"""The pytest plugin: the gate's fixture, the options of the suite, and the session's summary.

Every pytest run in an environment with this package loads it, so nothing heavy is imported before
it is needed, and an option that a conftest or another plugin has taken is left to it.
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
        # The option is not known yet, so pytest would take its value for a path of tests.
        if option in names and value in places:
            places.remove(value)
    result = yield
    group = parser.getgroup("pruning-analysis", "prunings proved, and held to a baseline")
    for name, arguments in _OPTIONS:
        try:
            group.addoption(name, **arguments)
        except (ValueError, argparse.ArgumentError):
            continue  # another plugin's; the suite's options have defaults in the ini file
    return result


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be used before any test runs.

    Raises:
        pytest.UsageError: says what was given, and what is expected.
    """
    suite.configure(config)
    gate.configure(config)
    progress.configure(config)
