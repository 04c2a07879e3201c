"""The report's section on what was asked of every group, and what went."""

from collections.abc import Iterable

from analysis.records import GroupAccount, PolicyAccount, Run, Study, SubjectStudy
from analysis.reporting.sections import Section
from analysis.reporting.tables import LOCK_HEADERS, Table, count, left, lock_cells, share

__all__ = ["section"]


def section(study: Study) -> Section:
    """Asked against done in every run, where groups drop out, and what ignored layers lock."""
    runs = [(subject, run) for subject in study.subjects for run in subject.runs]
    whole = sum(not _short(run) for _, run in runs)
    sentences = [
        "What a run asks of a group is worked out from the importances and the ratio alone: a "
        "ranking of n channels is asked for n - int(n (1 - r)) of them. What went is read off the "
        "cuts. The two differ where torch-pruning drops a cut without a word: one that would empty "
        "a layer, one that `round_to` floors to nothing; and where its cap or a single channel "
        f"ends the ranking of a group. {whole} of {len(runs)} runs removed all that was asked.",
        *(_dropped(subject, run) for subject, run in runs if _short(run)),
        *(_first_drops(subject) for subject in study.subjects),
    ]
    sentences += [_locked(subject) for subject in study.subjects if subject.lint]
    tables = [_account_table(study), _known_table(study)]
    tables += [_sweep_table(subject) for subject in study.subjects]
    tables += [_lock_table(subject) for subject in study.subjects]
    return Section(
        "asked",
        "9. Asked against done",
        tuple(sentence for sentence in sentences if sentence),
        tuple(table for table in tables if table.rows),
        tests="tests/unit/test_demands.py",
    )


def _short(run: Run) -> tuple[GroupAccount, ...]:
    """The groups that lost less than was asked."""
    return tuple(
        group
        for group in run.verification.groups
        if group.requested is not None and group.removed < group.requested
    )


def _dropped(subject: SubjectStudy, run: Run) -> str:
    groups = _short(run)
    channels = sum((group.requested or 0) - group.removed for group in groups)
    config = run.config
    return (
        f"{subject.info.name}, `{config.policy}`, ranked {config.scope}ly, at {config.ratio:g}: "
        f"{channels} channels that were asked stay, in {_words(groups)}. All that was asked would "
        f"leave {share(run.macs.share_requested)} of the MACs; {left(run.macs)} are left."
    )


def _words(groups: Iterable[GroupAccount]) -> str:
    return ", ".join(f"`{group.root}` ({group.reason})" for group in groups)


def _first_drops(subject: SubjectStudy) -> str:
    """From which ratio on groups drop out."""
    firsts = [
        f"`{entry.policy}` from {first:g}"
        for entry in subject.accounts
        if entry.scope == "global"
        and (first := next((ratio for ratio, groups in _drops(entry) if groups), None)) is not None
    ]
    if not firsts:
        return ""
    return (
        f"{subject.info.name}: looked at in steps before anything is pruned, groups drop out of "
        f"the global ranking under {', '.join(firsts)} on (crosses in the curves above)."
    )


def _drops(entry: PolicyAccount) -> list[tuple[float, tuple[GroupAccount, ...]]]:
    return list(zip(entry.curve.ratios, entry.curve.dropped, strict=True))


def _locked(subject: SubjectStudy) -> str:
    lint = subject.lint
    if lint is None or not lint.untouched:
        return ""
    free = sum(not lock.needed for lock in lint.locks)
    given, *others = lint.untouched
    instead = ", ".join(f"under `{each.policy}` {share(each.macs)}" for each in others)
    return (
        f"{subject.info.name}: of the {len(lint.locks)} groups that `residual-blocks` holds, "
        f"{free} need not be held: DepGraph couples them rightly and they are no output. Whatever "
        f"the ratio, {share(given.macs)} of the MACs stay; {instead}."
    )


def _account_table(study: Study) -> Table:
    return Table(
        "asked and removed",
        (
            "subject",
            "policy",
            "scope",
            "ratio",
            "asked",
            "removed",
            "groups short",
            "fewest channels left",
            "MACs left if all went",
            "MACs left",
            "parameters left if all went",
            "parameters left",
        ),
        tuple(
            (
                subject.info.name,
                run.config.policy,
                run.config.scope,
                f"{run.config.ratio:g}",
                count(run.channels.requested),
                count(run.channels.removed),
                count(len(_short(run))),
                count(_fewest(run)),
                share(run.macs.share_requested),
                left(run.macs),
                share(run.params.share_requested),
                left(run.params),
            )
            for subject in study.subjects
            for run in subject.runs
        ),
    )


def _known_table(study: Study) -> Table:
    return Table(
        "checks that are known to fail, and so fail no report",
        ("subject", "policy", "scope", "ratio", "check", "why"),
        tuple(
            (
                subject.info.name,
                run.config.policy,
                run.config.scope,
                f"{run.config.ratio:g}",
                check.name,
                check.known,
            )
            for subject in study.subjects
            for run in subject.runs
            for check in run.checks
            if check.known
        ),
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
                f"{ratio:g}",
                share(macs / entry.curve.dense_macs),
                ", ".join(f"{group.root} ({group.reason})" for group in groups),
            )
            for entry in subject.accounts
            for (ratio, groups), macs in zip(_drops(entry), entry.curve.macs, strict=True)
            if groups
        ),
        wide=True,
    )


def _lock_table(subject: SubjectStudy) -> Table:
    return Table(
        f"{subject.info.name}: what the groups that `residual-blocks` ignores lock",
        LOCK_HEADERS,
        tuple(lock_cells(lock) for lock in (subject.lint.locks if subject.lint else ())),
        wide=True,
    )
