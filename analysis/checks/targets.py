"""What was to be left at most, and what is."""

from typing import TYPE_CHECKING

from analysis.checks.outcomes import CheckFailedError
from analysis.records import QUANTITIES, Target

if TYPE_CHECKING:
    from analysis.pipeline import Outcome

__all__ = ["check_meets_target"]


def check_meets_target(outcome: "Outcome") -> None:
    """No more is left than the targets say: of MACs, parameters and bytes, as counted."""
    missed = [
        told for target in outcome.run.config.targets for told in [_missed(outcome, target)] if told
    ]
    if missed:
        raise CheckFailedError("; ".join([*missed, *filter(None, [outcome.unreached])]))


def _missed(outcome: "Outcome", target: Target) -> str:
    """By how much a target is missed; empty if it is met."""
    sizes, name = outcome.run.sizes[target.quantity], QUANTITIES[target.quantity]
    if sizes.after is None or sizes.share is None:
        return f"at most {target.words} are to be left, and what is left could not be counted"
    if sizes.after <= target.most(sizes.before):
        return ""
    return (
        f"at most {target.words} are to be left, and {sizes.share:.2%} are: {sizes.after:,} of "
        f"{sizes.before:,} {name}"
    )
