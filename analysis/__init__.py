"""Prove that a structurally pruned network is right, and explain what pruning bought.

The doors are imported when first used, so that ``python -m analysis doctor`` can speak of an
environment in which torch does not import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.costs.predicting import (
        cost_account,
        ratio_curve,
        ratio_for_macs,
        ratio_for_params,
    )
    from analysis.network.layers import register_layer
    from analysis.pipeline import (
        count_macs,
        inspect_groups,
        lint_ignored_layers,
        reproduce_residual_mismatch,
        verify,
        verify_steps,
    )
    from analysis.pytest_plugin.parametrizing import parametrize_with_checks

__all__ = [
    "cost_account",
    "count_macs",
    "inspect_groups",
    "lint_ignored_layers",
    "parametrize_with_checks",
    "ratio_curve",
    "ratio_for_macs",
    "ratio_for_params",
    "register_layer",
    "reproduce_residual_mismatch",
    "verify",
    "verify_steps",
]

_ELSEWHERE = {
    "parametrize_with_checks": "analysis.pytest_plugin.parametrizing",
    "register_layer": "analysis.network.layers",
    **dict.fromkeys(
        ("cost_account", "ratio_curve", "ratio_for_macs", "ratio_for_params"),
        "analysis.costs.predicting",
    ),
}
"""The module of each door that is not the pipeline's."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "analysis.pipeline")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
