"""Every check of the catalogue, at every ratio, on every network that the session was given."""

import pytest

from analysis.pytest_plugin.parametrizing import BoundCheck, parameters
from analysis.pytest_plugin.suite import PRUNINGS

__all__ = ["test_check"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each check, ratio and network."""
    prunings = metafunc.config.stash.get(PRUNINGS, None)
    if prunings is None:
        raise pytest.Collector.CollectError("run the suite by name: --pyargs analysis.suite")
    metafunc.parametrize("check", parameters(prunings))


def test_check(check: BoundCheck) -> None:
    """The property holds."""
    check()
