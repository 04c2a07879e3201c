"""The checks: one module for each theme, and the catalogue of all."""

from analysis.checks.catalogue import CATALOGUE, OF_PRUNING, Check, evaluate, named
from analysis.checks.outcomes import CheckFailedError, CheckSkippedError

__all__ = [
    "CATALOGUE",
    "OF_PRUNING",
    "Check",
    "CheckFailedError",
    "CheckSkippedError",
    "evaluate",
    "named",
]
