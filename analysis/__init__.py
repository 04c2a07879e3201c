"""Prove that a structurally pruned network is right, and show what it saves.

The public functions are imported on first use, so that code which does not need torch or
torch-pruning does not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.comparing.compared import compare
    from analysis.comparing.watching import watch
    from analysis.costs.followed import count_macs
    from analysis.costs.predicting import (
        cost_account,
        cost_of,
        ratio_curve,
        ratio_for,
        ratio_for_macs,
        ratio_for_params,
    )
    from analysis.costs.target_pruner import TargetPruner
    from analysis.groups.inspecting import inspect_groups
    from analysis.groups.linting import lint_ignored_layers
    from analysis.latencies.measuring import latency
    from analysis.minimizing.minimized import minimized
    from analysis.network.layers import register_layer
    from analysis.pipeline import verify, verify_steps
    from analysis.proof.mismatch import reproduce_residual_mismatch
    from analysis.pruned import Pruned, prune
    from analysis.pruning.group_pruner import GroupPruner
    from analysis.pytest_plugin.parametrizing import parametrize_with_checks
    from analysis.saved import load_pruned, save_pruned
    from analysis.sensitivities.sensitivity import sensitivity

__all__ = [
    "GroupPruner",
    "Pruned",
    "TargetPruner",
    "__version__",
    "compare",
    "cost_account",
    "cost_of",
    "count_macs",
    "inspect_groups",
    "latency",
    "lint_ignored_layers",
    "load_pruned",
    "minimized",
    "parametrize_with_checks",
    "prune",
    "ratio_curve",
    "ratio_for",
    "ratio_for_macs",
    "ratio_for_params",
    "register_layer",
    "reproduce_residual_mismatch",
    "save_pruned",
    "sensitivity",
    "verify",
    "verify_steps",
    "watch",
]

__version__ = "0.2.0"

_MODULES = {
    "GroupPruner": "pruning.group_pruner",
    "Pruned": "pruned",
    "TargetPruner": "costs.target_pruner",
    "compare": "comparing.compared",
    "cost_account": "costs.predicting",
    "cost_of": "costs.predicting",
    "count_macs": "costs.followed",
    "inspect_groups": "groups.inspecting",
    "latency": "latencies.measuring",
    "lint_ignored_layers": "groups.linting",
    "load_pruned": "saved",
    "minimized": "minimizing.minimized",
    "parametrize_with_checks": "pytest_plugin.parametrizing",
    "prune": "pruned",
    "ratio_curve": "costs.predicting",
    "ratio_for": "costs.predicting",
    "ratio_for_macs": "costs.predicting",
    "ratio_for_params": "costs.predicting",
    "register_layer": "network.layers",
    "reproduce_residual_mismatch": "proof.mismatch",
    "save_pruned": "saved",
    "sensitivity": "sensitivities.sensitivity",
    "verify": "pipeline",
    "verify_steps": "pipeline",
    "watch": "comparing.watching",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"analysis.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
