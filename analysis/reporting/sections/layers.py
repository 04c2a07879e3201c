"""Which layers hold what is left, before and after pruning."""

from collections.abc import Sequence

from analysis.records import Run, Study, SubjectStudy, ratio_text
from analysis.reporting.costs_text import not_counted
from analysis.reporting.coupling import Coupling, LayerShare, shares
from analysis.reporting.figures.layers import layers, where
from analysis.reporting.section import Absent, Block, Section, gist_of
from analysis.reporting.stages import stages
from analysis.reporting.tables import LOCK_HEADERS, Table, count, lock_cells, share
from analysis.reporting.words import asked_of, plain

__all__ = ["section"]

_TITLE = "Which layers hold the rest"


def section(study: Study, couplings: Sequence[Coupling]) -> Section | Absent:
    """The MACs of every layer: cut, prunable or locked."""
    blocks = [
        block
        for subject, coupling in zip(study.subjects, couplings, strict=True)
        if (block := _block(subject, coupling))
    ]
    if not blocks:
        return Absent(_TITLE, "no pruned network could be counted layer by layer")
    return Section(
        "layers",
        _TITLE,
        (
            "The cost of a layer falls with its output channels and with its input channels. A "
            "layer is locked if the policy excludes both: no ratio changes it, and the locked "
            "layers bound every curve from below. A layer with excluded outputs is still cut if "
            "its input loses channels.",
        ),
        blocks=tuple(blocks),
        tests=("tests/case_study/test_attribution.py", "tests/unit/costs/test_counting.py"),
        gist=gist_of(
            (subject.info.name, _locked_share(subject, coupling))
            for subject, coupling in zip(study.subjects, couplings, strict=True)
        ),
    )


def _block(subject: SubjectStudy, coupling: Coupling) -> Block | None:
    run = next((run for run in reversed(subject.headline_runs) if run.costs), None)
    if run is None or not subject.costs.layers:
        return None
    found = shares(subject, coupling, run)
    if not any(entry.after for entry in found):
        return None
    every, blocks = _layer_table(subject, coupling), _stage_table(subject)
    title = f"at ratio {ratio_text(run.config.ratio)} under {plain(asked_of(run))}"
    tables = [every, blocks, _lock_table(subject)]
    costs = not_counted(subject.costs)
    sentences = (_locked(run, found), _spread(subject), _lint(subject), costs)
    return Block(
        subject.info.name,
        tuple(filter(None, sentences)),
        (layers(subject, coupling, found, title, every.anchor), where(subject, blocks.anchor)),
        tuple(table for table in tables if table.rows),
    )


def _locked_share(subject: SubjectStudy, coupling: Coupling) -> str:
    """The share of the rest that no ratio changes."""
    run = next((run for run in reversed(subject.headline_runs) if run.costs), None)
    found = shares(subject, coupling, run) if run else []
    after = sum(entry.after for entry in found)
    if not run or not after:
        return ""
    locked = sum(entry.after for entry in found if entry.is_locked)
    if not locked:
        return "no layer is locked"
    return (
        f"locked layers hold {locked / after:.1%} of what is left at {ratio_text(run.config.ratio)}"
    )


def _locked(run: Run, found: Sequence[LayerShare]) -> str:
    before, after = sum(entry.before for entry in found), sum(entry.after for entry in found)
    locked = [entry for entry in found if entry.is_locked]
    if not locked:
        return ""
    held = sum(entry.before for entry in locked)
    return (
        f"At {ratio_text(run.config.ratio)} under {asked_of(run)}: {len(locked)} of {len(found)} "
        f"layers with MACs are locked. They hold {held / before:.1%} of the dense MACs and "
        f"{held / after:.1%} of what is left."
    )


def _spread(subject: SubjectStudy) -> str:
    found = stages(subject.costs)
    half = len(found) // 2
    if not half:
        return ""
    macs = sum(stage.macs for stage in found[:half]) / (subject.costs.macs or 1)
    params = sum(stage.params for stage in found[:half]) / (subject.costs.params or 1)
    return (
        f"MACs and parameters are in different layers: the first {half} of {len(found)} blocks "
        f"hold {macs:.1%} of the MACs and {params:.1%} of the parameters."
    )


def _lint(subject: SubjectStudy) -> str:
    """Groups that are excluded without need, and what other policies would change."""
    lint = subject.lint
    free = sum(not lock.needed for lock in lint.locks) if lint else 0
    if lint is None or not lint.untouched or not free:
        return ""
    given, *rest = lint.untouched
    others = [entry for entry in rest if entry.policy != subject.headline[0]]
    instead = " and ".join(f"{share(entry.macs)} with `{entry.policy}`" for entry in others)
    return (
        f"Of the {len(lint.locks)} groups that `{subject.headline[0]}` excludes, {free} need not "
        "be excluded to be safe: DepGraph couples them rightly and they are no output. Whatever "
        f"the ratio, {share(given.macs)} of the MACs stay" + (f"; {instead}." if instead else ".")
    )


def _layer_table(subject: SubjectStudy, coupling: Coupling) -> Table:
    """The state of each layer is that at the greatest ratio."""
    runs = [run for run in subject.headline_runs if run.costs]
    by_run = [shares(subject, coupling, run) for run in runs]
    params = {row.layer: row.params for row in subject.costs.layers}
    rows = [
        (
            entry.name,
            entry.kind,
            "locked" if entry.is_locked else "cut" if entry.after < entry.before else "whole",
            count(params[entry.layer]),
            count(entry.before),
            share(entry.before / subject.costs.macs),
            *(count(same.after) for same in at_ratios),
        )
        for at_ratios in zip(*by_run, strict=True)
        for entry in at_ratios[-1:]
    ]
    return Table(
        f"{subject.info.name}: every layer with MACs under {plain(asked_of(runs[-1]))}",
        (
            "layer",
            "kind",
            "state",
            "parameters",
            "MACs",
            "share",
            *(f"MACs at {ratio_text(run.config.ratio)}" for run in runs),
        ),
        tuple(rows),
        wide=True,
        keys=tuple(coupling.key_of(entry.layer) for entry in by_run[-1]),
    )


def _stage_table(subject: SubjectStudy) -> Table:
    runs = [run for run in subject.headline_runs if run.costs]
    after = [{stage.name: stage.macs for stage in stages(run.costs)} for run in runs if run.costs]
    rows = [
        (
            stage.name,
            count(stage.macs),
            share(stage.macs / (subject.costs.macs or 1)),
            count(stage.params),
            share(stage.params / (subject.costs.params or 1)),
            *(count(costs.get(stage.name, 0)) for costs in after),
        )
        for stage in stages(subject.costs)
    ]
    return Table(
        f"{subject.info.name}: blocks before and after",
        (
            "block",
            "MACs",
            "share of MACs",
            "parameters",
            "share of parameters",
            *(f"MACs at {ratio_text(run.config.ratio)}" for run in runs),
        ),
        tuple(rows),
    )


def _lock_table(subject: SubjectStudy) -> Table:
    return Table(
        f"{subject.info.name}: what the groups that {subject.headline[0]} excludes lock; MACs that "
        "two groups lock together count for both",
        LOCK_HEADERS,
        tuple(lock_cells(lock) for lock in (subject.lint.locks if subject.lint else ())),
        wide=True,
    )
