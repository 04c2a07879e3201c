"""Checks on requested and removed channels and heads."""

from typing import TYPE_CHECKING

from analysis.checks.outcomes import CheckFailedError, CheckSkippedError
from analysis.errors import several
from analysis.records import OWN_PRUNER, GroupAccount, PlannedGroup, Reason

if TYPE_CHECKING:
    from analysis.pipeline import Outcome

__all__ = [
    "check_cap_held",
    "check_channels_divisible",
    "check_heads_as_asked",
    "check_no_group_dropped",
    "check_nothing_collapsed",
    "check_ratio_met",
    "check_removed_as_ranked",
]

_FLOAT32_RESOLUTION = 1e-5
"""torch-pruning ranks in float32; scores closer than this, relatively, may change places."""

_ROUNDING = 1e-9
"""Channels; a cap times a width is rarely a whole number of them in binary."""

_NAMED = 8
"""Groups that a message names before it only counts."""


def check_ratio_met(outcome: "Outcome") -> None:
    """Every group that was cut lost as many channels as requested, within `ratio_tolerance`.

    `no_group_dropped` judges groups that lost none of the requested channels.
    """
    given, config = outcome.thresholds.ratio_tolerance, outcome.run.config
    # torch-pruning's rounding only takes more: up to one channel less than a whole multiple. A cut
    # by the groups leaves the nearest one.
    rounding = max(1, (config.round_to or 1) - 1)
    more = rounding if given is None else given
    fewer = (rounding if config.cut == "groups" else 1) if given is None else given
    missed = [
        f"`{group.root}` asked {group.requested} of {group.width}, removed {group.removed} "
        f"({group.reason})"
        for group in outcome.run.verification.groups
        if group.requested is not None
        and not group.is_dropped
        and not -more <= group.requested - group.removed <= fewer
    ]
    if missed:
        channels = outcome.run.channels
        raise CheckFailedError(
            f"{channels.requested} channels were requested and {channels.removed} removed; "
            f"{_of(missed, outcome)} miss by more than {fewer} fewer or {more} more: "
            f"{_some(missed)}"
        )


def check_heads_as_asked(outcome: "Outcome") -> None:
    """Every attention lost as many whole heads as requested, if any were requested."""
    verification = outcome.run.verification
    amiss = [str(each) for each in verification.heads if not each.is_as_asked]
    if verification.unmet_heads:
        amiss.insert(0, verification.unmet_heads)
    if amiss:
        raise CheckFailedError(_some(amiss))


def check_no_group_dropped(outcome: "Outcome") -> None:
    """No more than `max_dropped` groups lost none of the requested channels.

    Also, no request for a single layer was ignored.
    """
    verification = outcome.run.verification
    if verification.unmet:
        raise CheckFailedError(_some(list(verification.unmet)))
    dropped = [
        f"`{group.root}` asked {group.requested} of {group.width} ({group.reason})"
        for group in outcome.run.verification.groups
        if group.is_dropped
    ]
    most = outcome.thresholds.max_dropped
    if len(dropped) > most:
        raise CheckFailedError(
            f"{_of(dropped, outcome)} lost none of the requested channels, at most {most} may: "
            f"{_some(dropped)}"
        )
    left_whole = [
        f"`{group.root}` ({group.reason})"
        for group in verification.groups
        if _may_be_dropped(group)
    ]
    if left_whole:
        why = verification.requested_unknown or "the request is not known"
        raise CheckSkippedError(
            f"{_of(left_whole, outcome)} lost nothing, and the request to them is not known: "
            f"{_some(left_whole)}: {why}"
        )


def _may_be_dropped(group: GroupAccount) -> bool:
    """Whether a group is whole and the request to it is not known."""
    excluded = group.reason in (Reason.IGNORED, Reason.FROZEN, Reason.SINGLE_CHANNEL)
    return group.requested is None and not group.removed and not excluded


def check_nothing_collapsed(outcome: "Outcome") -> None:
    """Every pruned group keeps `min_channels` and lost a share of at most `max_lost`."""
    fewest, most = outcome.thresholds.min_channels, outcome.thresholds.max_lost
    collapsed = [
        f"`{group.root}` keeps {group.left} of {group.width}"
        for group in outcome.run.verification.groups
        if group.removed and (group.left < fewest or group.removed / group.width > most)
    ]
    if collapsed:
        raise CheckFailedError(
            f"{_of(collapsed, outcome)} have fewer than {fewest} channels left or lost more than "
            f"{most:.0%}: {_some(collapsed)}"
        )


def check_cap_held(outcome: "Outcome") -> None:
    """No group lost a greater share than `max_pruning_ratio`.

    torch-pruning tests its cap before a cut, so that a cut can exceed it.
    """
    cap = outcome.run.config.max_pruning_ratio
    beyond = [
        f"`{group.root}` lost {group.removed} of {group.width}"
        for group in outcome.run.verification.groups
        if group.removed > cap * group.width + _ROUNDING
    ]
    if beyond:
        raise CheckFailedError(
            f"{_of(beyond, outcome)} lost more than the cap of {cap:g} allows: {_some(beyond)}"
        )


def check_channels_divisible(outcome: "Outcome") -> None:
    """Every group that was asked for channels keeps a multiple of `round_to`."""
    multiple = outcome.run.config.round_to or 1
    uneven = [
        f"`{group.root}` keeps {group.left} of {group.width} ({group.reason})"
        for group in outcome.run.verification.groups
        if (group.requested or group.removed) and group.left % multiple
    ]
    if uneven:
        raise CheckFailedError(
            f"{_of(uneven, outcome)} do not keep a multiple of {multiple}: {_some(uneven)}"
        )


_UNRANKED = "DepGraph numbers the channels of a group wrongly, so that no ranking says which go"


def check_removed_as_ranked(outcome: "Outcome") -> None:
    """The removed channels are those that rank below the threshold, by a recomputed importance."""
    if outcome.planned is None:
        is_own = outcome.run.config.policy == OWN_PRUNER
        raise CheckSkippedError(
            "the ranking of the user's own pruner is not recomputed"
            if is_own
            else outcome.run.verification.requested_unknown or _UNRANKED
        )
    by_groups = outcome.run.config.cut == "groups"  # it ranks in float64 and says what it removes
    removed = {removal.root: set(removal.removed) for removal in outcome.removals}
    for planned in outcome.planned:
        if planned.reason is Reason.UNTRACED:
            continue
        differing = set(planned.expected) ^ removed.get(planned.root, set())
        pool = outcome.planned if outcome.run.config.scope == "global" else (planned,)
        if differing and (by_groups or not _within_resolution(outcome, differing, planned, pool)):
            raise CheckFailedError(
                f"group `{planned.root}` lost "
                f"{several(len(removed.get(planned.root, ())), 'channel')}; "
                f"{len(planned.expected)} rank below the threshold; {len(differing)} differ, "
                f"e.g. channel {min(differing)}"
            )


def _of(entries: list[str], outcome: "Outcome") -> str:
    return f"{len(entries)} of {len(outcome.run.verification.groups)} groups"


def _some(entries: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(entries) - _NAMED
    return "; ".join(entries[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _within_resolution(
    outcome: "Outcome",
    differing: set[int],
    planned: PlannedGroup,
    pool: tuple[PlannedGroup, ...],
) -> bool:
    """Whether float32 cannot tell the differing channels from the scope's threshold."""
    scores = outcome.scores
    own = scores[planned.root]
    asked = [scores[group.root][channel] for group in pool for channel in group.requested]
    if not asked:
        return False
    threshold = max(asked)
    return all(
        abs(own[channel] - threshold) <= _FLOAT32_RESOLUTION * threshold for channel in differing
    )
