"""What was to be left at most and lost at most, and what is."""

from typing import TYPE_CHECKING

from analysis.checks.outcomes import CheckFailedError
from analysis.records import QUANTITIES, Target
from analysis.records.targets import share_beside

if TYPE_CHECKING:
    from analysis.pipeline import Outcome

__all__ = ["check_meets_target", "check_metrics_held"]


def check_meets_target(outcome: "Outcome") -> None:
    """No more is left than the targets say: of costs as counted, of latency as measured.

    Of latency it is the interval of the median that must be within the target.
    """
    missed = [
        told for target in outcome.run.config.targets for told in [_missed(outcome, target)] if told
    ]
    if missed:
        raise CheckFailedError("; ".join([*missed, *filter(None, [outcome.unreached])]))


def check_metrics_held(outcome: "Outcome") -> None:
    """No metric of the user's own lost more than `metric_loss`, fine-tuning included."""
    tolerance, run = outcome.thresholds.metric_loss, outcome.run
    if tolerance is None:
        return
    if not run.metrics:
        verdict = run.verification.verdict
        raise CheckFailedError(f"nothing was measured: the pruning is {verdict}")
    lost = [
        f"{each.name} {each.dense:g} became {each.last:g}"
        for each in run.metrics
        if not each.holds(tolerance)
    ]
    if lost:
        raise CheckFailedError(f"at most {tolerance:g} may be lost, and {'; '.join(lost)}")


def _missed(outcome: "Outcome", target: Target) -> str:
    """By how much a target is missed; empty if it is met."""
    if target.is_measured:
        return _too_slow(outcome, target)
    sizes, name = outcome.run.sizes[target.quantity], QUANTITIES[target.quantity]
    if sizes.before is None or sizes.after is None or sizes.share is None:
        return f"at most {target.words} are to be left, and what is left could not be counted"
    if sizes.after <= target.most(sizes.before):
        return ""
    limit = target.most(sizes.before) / sizes.before
    return (
        f"at most {target.words} are to be left, and {share_beside(sizes.share, limit, 2)} are: "
        f"{sizes.after:,} of {sizes.before:,} {name}"
    )


def _too_slow(outcome: "Outcome", target: Target) -> str:
    """By how much latency misses a target, or why that is not known; empty if it is met."""
    asked, latency = f"at most {target.words} is to be left", outcome.run.latency
    spread = latency.ratio if latency else None
    if latency is None or spread is None:
        verdict = outcome.run.verification.verdict
        why = latency.networks[0].why_not if latency else f"the pruning is {verdict}"
        return f"{asked}, and what is left was not measured: {why}"
    met, measured = spread.is_at_most(target.limit), spread.beside(target.limit)
    if met is None:
        return f"{asked}, and whether it is is unknown: {measured} was measured"
    return "" if met else f"{asked}, and {measured} was measured"
