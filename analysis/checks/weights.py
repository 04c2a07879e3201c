"""Checks on what the pruned network computes, and whether it can be trained."""

from typing import TYPE_CHECKING

from analysis.checks.outcomes import CheckFailedError, CheckSkippedError
from analysis.checks.structure import check_forward_runs
from analysis.errors import several

if TYPE_CHECKING:
    from analysis.pipeline import Outcome

__all__ = [
    "check_equivalent_to_masked",
    "check_gradients_reach_parameters",
    "check_kept_weights_are_originals",
]


def check_kept_weights_are_originals(outcome: "Outcome") -> None:
    """Every kept value of parameters and buffers is the dense network's, bit for bit."""
    if outcome.trained:
        raise CheckSkippedError(
            "the network was trained between the steps; each step's weights were compared with "
            "those before it, by equivalent_to_masked"
        )
    changed = outcome.changed_tensors
    if changed:
        raise CheckFailedError(
            f"{several(len(changed), 'tensor')} changed: {', '.join(changed[:5])}"
        )


def check_gradients_reach_parameters(outcome: "Outcome") -> None:
    """Every parameter that a gradient reached before pruning is reached after it."""
    check_forward_runs(outcome)
    before, after = outcome.reached_parameters
    if not before:
        raise CheckSkippedError("no gradient reaches a parameter of the dense network")
    starved = before - after
    if starved:
        names = ", ".join(sorted(starved)[:5])
        raise CheckFailedError(f"no gradient reaches {len(starved)} parameters: {names}")


def check_equivalent_to_masked(outcome: "Outcome") -> None:
    """The pruned network equals the masked dense network, in float64."""
    verification = outcome.run.verification
    if not verification.verdict.passes:
        raise CheckFailedError(f"{verification.verdict}: {verification.reason}")
