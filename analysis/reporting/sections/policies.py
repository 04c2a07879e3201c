"""What holding more layers costs."""

from analysis.records import Study, SubjectStudy, ratio_text
from analysis.reporting.section import Absent, Block, Section, gist_of
from analysis.reporting.tables import Table, count, left
from analysis.reporting.words import listed, scoped

__all__ = ["section"]

_TITLE = "What the exclusion costs"


def section(study: Study) -> Section | Absent:
    """The policies side by side."""
    blocks = [_block(subject) for subject in study.subjects if len(_policies(subject)) > 1]
    if not blocks:
        return Absent(_TITLE, "each network was pruned under one policy")
    return Section(
        "policies",
        _TITLE,
        (
            "A policy names the layers that keep their output channels (torch-pruning's "
            "`ignored_layers`). `residual-blocks` excludes every convolution inside a block with a "
            "skip, `skip-channels` only the groups that an addition joins, `classifier` only what "
            f"makes the output{', `none` nothing' if study.is_case_study else ''}. DepGraph "
            "couples residual additions itself, so whole residual blocks need not be excluded.",
        ),
        blocks=tuple(blocks),
        tests=("tests/case_study/test_policies.py",),
        checks=("ignored_layers_keep_outputs",),
        gist=gist_of((subject.info.name, _at_last(subject)) for subject in study.subjects),
    )


def _policies(subject: SubjectStudy) -> list[str]:
    return list(dict.fromkeys(run.config.policy for run in subject.runs))


def _block(subject: SubjectStudy) -> Block:
    good = [
        f"`{policy}`"
        for policy in _policies(subject)
        if all(
            run.verification.verdict.passes for run in subject.runs if run.config.policy == policy
        )
    ]
    scopes = list(dict.fromkeys(run.config.scope for run in subject.runs))
    return Block(
        subject.info.name,
        (f"Proved in every run: {listed(good) or 'none of them'}.",),
        tables=tuple(_table(subject, scope) for scope in scopes),
    )


def _at_last(subject: SubjectStudy) -> str:
    """What each policy leaves at the greatest ratio."""
    lasts = {
        policy: runs[-1]
        for policy in _policies(subject)
        if policy != "none"
        and (
            runs := [
                run
                for run in subject.select(policy, subject.headline[1])
                if run.macs.share is not None
            ]
        )
    }
    if len(lasts) < 2:
        return ""
    parts = [f"{policy} {left(run.macs)}" for policy, run in lasts.items()]
    ratio = next(iter(lasts.values())).config.ratio
    return f"MACs left at {ratio_text(ratio)}: {', '.join(parts)}"


def _table(subject: SubjectStudy, scope: str) -> Table:
    ignored = dict(subject.ignored)
    ratios = sorted({run.config.ratio for run in subject.runs})
    rows = []
    for policy in _policies(subject):
        runs = subject.select(policy, scope)
        rows.append(
            (
                policy,
                count(len(ignored[policy])) if policy in ignored else "-",
                count(runs[0].channels.prunable),
                listed(list(dict.fromkeys(run.verification.verdict.value for run in runs))),
                *(left(run.macs) for run in runs),
                *(left(run.params) for run in runs),
            )
        )
    return Table(
        f"{subject.info.name}: policies side by side, {scoped(scope)}",
        (
            "policy",
            "layers excluded",
            "channels prunable",
            "verdict",
            *(f"MACs left at {ratio_text(ratio)}" for ratio in ratios),
            *(f"parameters left at {ratio_text(ratio)}" for ratio in ratios),
        ),
        tuple(rows),
    )
