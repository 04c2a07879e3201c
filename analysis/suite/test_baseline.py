"""Every pruning held to the accepted numbers; only where a session checks or updates them."""

import pytest

from analysis.cases import Pruning
from analysis.pytest_plugin import Baseline
from analysis.pytest_plugin.suite import PRUNINGS

__all__ = ["test_baseline"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each ratio and network."""
    prunings = metafunc.config.stash[PRUNINGS]
    ids = [f"{pruning.subject}-{pruning.ratio:g}" for pruning in prunings]
    metafunc.parametrize("pruning", prunings, ids=ids)


def test_baseline(pruning: Pruning, baseline: Baseline) -> None:
    """The numbers are the accepted ones."""
    baseline.check(pruning.subject, pruning.run)
