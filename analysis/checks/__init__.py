"""The checks: one module for each theme, and the catalogue of all."""

from analysis.checks.catalogue import (
    CATALOGUE,
    OF_PRUNING,
    SHIPPED,
    Check,
    evaluate,
    named,
    names_for,
)
from analysis.checks.outcomes import CheckFailedError, CheckSkippedError

__all__ = [
    "CATALOGUE",
    "OF_PRUNING",
    "SHIPPED",
    "Check",
    "CheckFailedError",
    "CheckSkippedError",
    "evaluate",
    "named",
    "names_for",
]
