"""Requested and removed channels of every group."""

from collections.abc import Iterable

from analysis.records import GroupAccount, PolicyAccount, Run, Study, SubjectStudy, ratio_text
from analysis.reporting.section import Block, Section
from analysis.reporting.tables import (
    METRIC_HEADERS,
    RUN_HEADERS,
    Table,
    count,
    left,
    metric_cells,
    run_cells,
    share,
)
from analysis.reporting.words import asked_of, first, plain

__all__ = ["done_caption", "section"]


def section(study: Study) -> Section:
    """Requested and removed channels of every run, and dropped groups."""
    runs = [run for _, run in study.shown]
    known = [run for run in runs if run.channels.requested is not None]
    whole = sum(not _short(run) for run in known)
    return Section(
        "asked",
        "Requested and removed channels",
        (
            "A pruning ratio is a share of the prunable channels. The request to each group is "
            "computed from the importances and the ratio alone: of n ranked channels, n - int(n "
            "(1 - r)). The removed channels are read off the cuts. The two differ because "
            "torch-pruning silently drops some cuts: those that would empty a layer, and those "
            "that `round_to` floors to nothing.",
        ),
        tables=(_account_table(study),) if study.is_case_study else (),
        blocks=tuple(_block(subject, study) for subject in study.subjects),
        tests=("tests/unit/pruning/test_requested.py",),
        checks=(
            "something_removed",
            "ratio_met",
            "meets_target",
            "metrics_held",
            "heads_as_asked",
            "no_group_dropped",
            "nothing_collapsed",
            "cap_held",
            "channels_divisible",
            "removed_as_ranked",
            "ignored_layers_keep_outputs",
        ),
        gist=f"{whole} of {len(known)} prunings removed all requested channels" if known else "",
    )


def _block(subject: SubjectStudy, study: Study) -> Block:
    runs = [run for own, run in study.shown if own is subject]
    sentences = filter(None, [_unknown(subject), _short_runs(runs), _first_drops(subject)])
    tables = [_headline_table(subject), _metrics_table(subject), _sweep_table(subject)]
    return Block(
        subject.info.name, tuple(sentences), tables=tuple(table for table in tables if table.rows)
    )


def _metrics_table(subject: SubjectStudy) -> Table:
    """What each pruning costs in the user's own metrics; empty where nothing was measured."""
    rows = [
        (*run_cells(subject, run), *metric_cells(metric))
        for run in subject.runs
        for metric in run.metrics
    ]
    caption = f"{subject.info.name}: metrics before and after pruning"
    return Table(caption, (*RUN_HEADERS, *METRIC_HEADERS), tuple(rows), wide=True)


def done_caption(subject: SubjectStudy) -> str:
    """The caption of the table on the headline's prunings."""
    how = plain(asked_of(subject.headline_runs[0])) if subject.headline_runs else ""
    return f"{subject.info.name}: requested and removed under {how}"


def _headline_table(subject: SubjectStudy) -> Table:
    return Table(
        done_caption(subject),
        (
            "ratio",
            "prunable",
            "asked",
            "removed",
            "groups short",
            "fewest left",
            "MACs left",
            "params left",
            "bytes left",
        ),
        tuple(
            (
                ratio_text(run.config.ratio),
                count(run.channels.prunable),
                count(run.channels.requested),
                count(run.channels.removed),
                count(len(_short(run))),
                count(_fewest(run)),
                left(run.macs),
                left(run.params),
                left(run.bytes_),
            )
            for run in subject.headline_runs
        ),
    )


def _unknown(subject: SubjectStudy) -> str:
    """Why the request, or what was removed, is not known."""
    if not subject.headline_runs:
        return ""
    run = subject.headline_runs[-1]
    at = f"At {ratio_text(run.config.ratio)} under {asked_of(run)}"
    if not run.verification.groups:
        return f"{at}, nothing is known of what went: {run.verification.verdict}."
    if run.channels.requested is not None:
        return ""
    why = run.verification.requested_unknown or "no reason is given"
    return f"{at}, the request is not known: {why}."


def _short(run: Run) -> tuple[GroupAccount, ...]:
    """The groups that lost less than requested."""
    return tuple(
        group
        for group in run.verification.groups
        if group.requested is not None and group.removed < group.requested
    )


def _short_runs(runs: Iterable[Run]) -> str:
    found = [_dropped(run) for run in runs if _short(run)]
    return "Short of what was asked: " + "; ".join(found) + "." if found else ""


def _dropped(run: Run) -> str:
    groups = _short(run)
    channels = sum((group.requested or 0) - group.removed for group in groups)
    would = run.macs.share_requested
    cost = (
        ""
        if would is None
        else f" ({share(would)} of the MACs would be left, {left(run.macs)} are)"
    )
    return (
        f"{asked_of(run)}, at {ratio_text(run.config.ratio)}: {channels} channels stay in "
        f"{_words(groups)}{cost}"
    )


_NAMED = 3
"""Groups that a sentence names."""


def _words(groups: Iterable[GroupAccount]) -> str:
    names = [f"`{group.root}` ({group.reason})" for group in groups]
    return first(names, _NAMED, "groups")


def _first_drops(subject: SubjectStudy) -> str:
    """The ratio from which on groups drop out."""
    firsts = [
        f"`{entry.policy}` from {start:g}"
        for entry in subject.accounts
        if entry.scope == "global"
        and (start := next((ratio for ratio, groups in _drops(entry) if groups), None)) is not None
    ]
    if not firsts:
        return ""
    return (
        "Predicted without pruning, groups drop out of the global ranking under "
        f"{', '.join(firsts)} on (crosses in the curves below)."
    )


def _drops(entry: PolicyAccount) -> list[tuple[float, tuple[GroupAccount, ...]]]:
    return list(zip(entry.curve.ratios, entry.curve.dropped, strict=True))


def _account_table(study: Study) -> Table:
    return Table(
        "requested and removed in every pruning",
        (
            *RUN_HEADERS,
            "prunable",
            "asked",
            "removed",
            "groups short",
            "fewest left",
            "MACs if all removed",
            "MACs left",
            "params if all removed",
            "params left",
            "bytes left",
        ),
        tuple(
            (
                *run_cells(subject, run),
                count(run.channels.prunable),
                count(run.channels.requested),
                count(run.channels.removed),
                count(len(_short(run))),
                count(_fewest(run)),
                share(run.macs.share_requested),
                left(run.macs),
                share(run.params.share_requested),
                left(run.params),
                left(run.bytes_),
            )
            for subject, run in study.shown
        ),
        wide=True,
    )


def _fewest(run: Run) -> int | None:
    return min((group.left for group in run.verification.groups if group.removed), default=None)


def _sweep_table(subject: SubjectStudy) -> Table:
    """The ratios at which groups drop out."""
    return Table(
        f"{subject.info.name}: ratios at which groups drop out",
        ("policy", "scope", "ratio", "MACs left", "groups"),
        tuple(
            (
                entry.policy,
                entry.scope,
                ratio_text(ratio),
                share(macs / entry.curve.dense_macs),
                ", ".join(f"{group.root} ({group.reason})" for group in groups),
            )
            for entry in subject.accounts
            for (ratio, groups), macs in zip(_drops(entry), entry.curve.macs, strict=True)
            if groups
        ),
        wide=True,
    )
