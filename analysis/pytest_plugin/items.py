"""The arguments that a test got from `analysis.parametrize_with_checks` or the suite."""

import sys
from typing import Any

import pytest

__all__ = ["bound_to", "holds_baseline"]


def bound_to(item: pytest.Item) -> list[Any]:
    """Its checks and baselines; imports nothing if there are none."""
    parametrizing = sys.modules.get("analysis.pytest_plugin.parametrizing")
    if parametrizing is None:
        return []
    kinds = (parametrizing.BoundCheck, parametrizing.BoundBaseline)
    values = getattr(getattr(item, "callspec", None), "params", {}).values()
    return [value for value in values if isinstance(value, kinds)]


def holds_baseline(bound: Any) -> bool:
    """Whether it compares a pruning with a baseline and does not run a check."""
    return hasattr(bound, "baseline")
