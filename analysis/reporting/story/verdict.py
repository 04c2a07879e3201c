"""Whether it is safe, what it bought, what holds the rest, and what to ask for."""

from collections.abc import Iterator, Sequence

from analysis.records import PolicyAccount, Run, Study, SubjectStudy, Verdict
from analysis.reporting.coupling import Coupling, shares
from analysis.reporting.section import Answer, Block, Section
from analysis.reporting.tables import (
    RUN_HEADERS,
    Table,
    bound,
    checks_passed,
    count,
    run_cells,
    share,
)
from analysis.reporting.words import asked_of, at_least, listed, percent, scoped

__all__ = ["section"]


def section(study: Study, couplings: Sequence[Coupling]) -> Section:
    """The verdict in a line, four answers for each network, and every pruning."""
    judged = [run for _, run in study.judged]
    lead = _lead(study, judged)
    tables = [_failures(study), _all_runs(study)]
    return Section(
        "verdict",
        "Verdict",
        tuple(_sentences(study, judged)),
        tables=tuple(table for table in tables if table.rows),
        blocks=tuple(
            Block(subject.info.name, answers=tuple(_answers(subject, coupling)))
            for subject, coupling in zip(study.subjects, couplings, strict=True)
        ),
        tests=("tests/case_study/test_safe_pruning.py",),
        checks=(
            "equivalent_to_masked",
            "kept_weights_are_originals",
            "forward_runs",
            "output_shape_stays",
            "gradients_reach_parameters",
            "structure_lines_up",
            "everything_exercised",
            "ties_kept",
            "survives_state_dict",
            "survives_pickling",
            "survives_export",
            "survives_onnx",
            "survives_gpu",
        ),
        lead=lead,
        passed=lead == "Proved.",
    )


def _sentences(study: Study, judged: Sequence[Run]) -> Iterator[str]:
    keeping = " that keep the model's outputs" if study.is_case_study else ""
    yield _headline(judged, keeping) if judged else "Nothing was pruned, so nothing was proved."
    if study.refused:
        yield f"Not looked at, because it could not be used: {'; '.join(study.refused)}."
    if any(run.checks for run in judged):
        yield _checked(judged)
    yield (
        "How it is proved: the masked dense network is the unpruned one with every removed channel "
        "masked where it is read, built from the list of cuts alone. If the pruning is right, "
        "both compute the same, so both run in float64 on random inputs, and the error is the "
        "greatest relative difference over the outputs and over every layer's kept channels. Batch "
        "norms' statistics, scales and shifts are made random first: values that are equal for "
        "every channel would hide a channel in the wrong place. Both are also lined up operator by "
        "operator: the same calls with the same constants, over the same channels in the same "
        "order without those that went. What no drawn number reaches shows there."
    )
    yield (
        "A policy says which layers must keep their output channels (`residual-blocks` all of a "
        "block with a skip, `skip-channels` those that additions join, `classifier` the output "
        "alone). Ranked globally, the weakest channels of all groups go first; ranked locally, the "
        "weakest of each group."
    )
    cut = [run for subject in study.subjects for run in subject.runs if run.config.policy == "none"]
    if cut and study.is_case_study:
        broken = sum(run.verification.verdict is Verdict.BROKEN for run in cut)
        yield (
            f"The policy `none` also cuts the model's outputs and is measured to show that: "
            f"{broken} of its {len(cut)} prunings change the output's shape and are `broken`, "
            "although the outputs that are left are right. (Where one stays exact, every output "
            "ranked below the threshold, and torch-pruning drops a cut that would empty a layer.)"
        )


def _lead(study: Study, judged: Sequence[Run]) -> str:
    if not judged or not all(run.verification.verdict.passes for run in judged):
        return "Not proved."
    if study.refused:
        return "Proved, but not of all networks."
    return "Proved." if study.passed else "Proved, but not all checks pass."


def _checked(judged: Sequence[Run]) -> str:
    """How many pass every check, and why the others are or are no news."""
    whole = sum(all(check.passed for check in run.checks) for run in judged)
    failing = sum(not run.passed for run in judged)
    known = len(judged) - whole - failing
    looked = {check.name for run in judged for check in run.checks if not check.skipped}
    parts = [f"{whole} of {len(judged)} pass the {len(looked)} checks that were looked at"]
    if known:
        parts.append(f"{known} fail only what is expected to fail, with the reason in the table")
    if failing:
        parts.append(f"{failing} fail")
    return "; ".join(parts) + "."


def _headline(judged: Sequence[Run], keeping: str) -> str:
    good = [run for run in judged if run.verification.verdict.is_equal]
    mixed = [run for run in judged if run.verification.verdict is Verdict.MIXED]
    if not good:
        return f"None of {len(judged)} prunings{keeping} is proved equal." + _mixed(mixed)
    exact = sum(run.verification.verdict is Verdict.EXACT for run in good)
    what = "proved exact" if exact == len(good) else "proved right"
    start = (
        f"{len(good)} of {len(judged)} prunings{keeping} are {what}: the "
        "pruned network equals the masked dense network at every layer"
    )
    bounds = [bound(run.verification) for run in good if run.verification.max_rel_error is not None]
    error = f", with a relative error {max(bounds, key=_size)} at most" if bounds else ""
    return start + error.replace("<= ", "of ") + "." + _mixed(mixed)


def _mixed(found: Sequence[Run]) -> str:
    """The warning that goes with a verdict that passes without equality."""
    if not found:
        return ""
    return (
        f" {len(found)} read their channels in the right order, with the original weights, but no "
        f"equality can hold: {found[0].verification.reason}."
    )


def _size(text: str) -> float:
    return float(text.removeprefix("<= "))


def _answers(subject: SubjectStudy, coupling: Coupling) -> Iterator[Answer]:
    told = subject.headline_runs
    if not told:
        return
    last = told[-1]
    yield Answer("Is it safe?", _safe(told))
    yield Answer(f"What did {percent(last.config.ratio)} buy?", _bought(last))
    rest = _rest(subject, coupling, last)
    if rest:
        yield Answer("Which layers hold the rest?", rest)
    half = _half(subject)
    if half:
        yield Answer("What to ask for to halve the MACs?", half)


def _safe(told: Sequence[Run]) -> str:
    bad = [run for run in told if not run.verification.verdict.passes]
    ratios = listed([f"{run.config.ratio:g}" for run in told])
    how = f"at {ratios} under {asked_of(told[0])}"
    if not bad:
        errors = {bound(run.verification) for run in told} - {"-"}
        error = f", relative error {max(errors, key=_size)}" if errors else ""
        verdicts = listed([*dict.fromkeys(f"{run.verification.verdict}" for run in told)])
        kept = [run for run in told if run.verification.verdict is Verdict.MIXED]
        return f"Yes, {how}: {verdicts}{error}." + _mixed(kept)
    first = bad[0]
    return (
        f"No, {how}: at {first.config.ratio:g} it is {first.verification.verdict}: "
        f"{first.verification.reason}."
    )


def _bought(run: Run) -> str:
    if run.macs.share is None or run.params.share is None:
        return f"Nothing that can be counted: {run.verification.verdict}."
    return (
        f"{1 - run.macs.share:.1%} fewer MACs and {1 - run.params.share:.1%} fewer parameters. "
        f"{count(run.channels.removed)} of {count(run.channels.prunable)} prunable channels went."
    )


def _rest(subject: SubjectStudy, coupling: Coupling, run: Run) -> str:
    found = shares(subject, coupling, run)
    left = sum(entry.after for entry in found)
    if not left:
        return ""
    most = sorted(found, key=lambda entry: -entry.after)[:3]
    names = listed([f"`{entry.name}` ({entry.after / left:.1%})" for entry in most])
    locked = sum(entry.after for entry in found if entry.is_locked)
    start = (
        f"Layers that no ratio touches hold {locked / left:.1%} of what is left. "
        if locked
        else "No layer is out of reach. "
    )
    return f"{start}Most is left in {names}."


def _half(subject: SubjectStudy) -> str:
    entry = subject.account(*subject.headline)
    if entry is None or entry.reach is None:
        return ""
    reach = entry.reach
    if reach.ratio is not None:
        ratio = f"{percent(at_least(reach.ratio))} of the prunable channels"
        return f"{ratio}, under {_under(entry)}{_TO_PROVE}."
    least = f"{reach.least.macs / reach.dense.macs:.1%}"
    others = [
        f"{percent(at_least(other.reach.ratio))} under `{other.policy}`"
        for other in subject.accounts
        if other.scope == entry.scope
        and other.reach
        and other.reach.ratio is not None
        # What is not right is no advice.
        and all(
            run.verification.verdict.passes for run in subject.select(other.policy, other.scope)
        )
    ]
    instead = f" Ask for {' or '.join(others)}{_TO_PROVE}." if others else ""
    return f"No ratio does, under {_under(entry)}: the least is {least}.{instead}"


_TO_PROVE = " (predicted; prove it with `verify`)"


def _under(entry: PolicyAccount) -> str:
    return f"`{entry.policy}`, {scoped(entry.scope)}"


def _failures(study: Study) -> Table:
    rows = [
        (
            *run_cells(subject, run),
            check.name,
            f"expected: {check.known}" if check.known else check.message,
        )
        for subject, run in study.judged
        for check in run.checks
        if not check.passed
    ]
    return Table(
        "checks that fail, and those that are expected to",
        (*RUN_HEADERS, "check", "why"),
        tuple(rows),
    )


_UNFOLDED = 16
"""Prunings that are shown at once."""


def _all_runs(study: Study) -> Table:
    runs = [(subject, run) for subject in study.subjects for run in subject.runs]
    return Table(
        "every pruning, what was proved, and what is left",
        (
            *RUN_HEADERS,
            "verdict",
            "rel. error",
            "checks passed",
            "MACs left",
            "parameters left",
            "why not",
        ),
        tuple(
            (
                *run_cells(subject, run),
                run.verification.verdict,
                bound(run.verification),
                checks_passed(run),
                share(run.macs.share),
                share(run.params.share),
                run.verification.reason or "-",
            )
            for subject, run in runs
        ),
        wide=len(runs) > _UNFOLDED,
    )
