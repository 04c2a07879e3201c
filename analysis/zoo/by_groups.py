"""Prune a network by its groups, without a recipe."""

import time

from torch import nn

from analysis.network.inference import Inputs
from analysis.pipeline import analyse
from analysis.processes import budgets
from analysis.pruned import pruned_by_groups
from analysis.records import Config, NetworkPruned, Run
from analysis.zoo import RATIO

__all__ = ["cut", "record_of"]


def cut(model: nn.Module, inputs: Inputs, scope: str) -> NetworkPruned:
    """The verdict on a cut by the groups; the layers that make the output keep their channels."""
    started = time.monotonic()
    with budgets.step("pruning by the groups and proving"):
        found = pruned_by_groups(
            analyse(model, inputs), Config(RATIO, scope, cut="groups"), _POLICY
        )
    return record_of(found.outcome.run, round(time.monotonic() - started, 1))


def record_of(run: Run, seconds: float | None = None) -> NetworkPruned:
    """The record of one pruning of a network."""
    proof = run.verification
    return NetworkPruned(
        verdict=proof.verdict,
        reason=proof.reason,
        max_rel_error=proof.max_rel_error,
        removed=run.channels.removed,
        params_before=run.params.before,
        params_after=run.params.after,
        seconds=seconds,
    )


_POLICY = "classifier"
