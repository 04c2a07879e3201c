"""Whether it is safe, what it bought, what holds the rest, and what to ask for."""

from collections import Counter
from collections.abc import Iterator, Sequence

from analysis.records import STRENGTH, PolicyAccount, Run, Study, SubjectStudy, Verdict, ratio_text
from analysis.reporting.coupling import Coupling, shares
from analysis.reporting.figures.curves import headline
from analysis.reporting.figures.drawing import Drawing
from analysis.reporting.section import Answer, Block, Section
from analysis.reporting.sections.asked import done_caption
from analysis.reporting.tables import anchor_of, bound, count
from analysis.reporting.words import asked_of, at_least, listed, percent, scoped

__all__ = ["section"]


def section(study: Study, couplings: Sequence[Coupling]) -> Section:
    """The verdict in a line; for each network the curve and four answers."""
    judged = [run for _, run in study.judged]
    lead = _lead(study, judged)
    return Section(
        "verdict",
        "Verdict",
        tuple(_sentences(study, judged)),
        blocks=tuple(
            Block(
                subject.info.name,
                drawings=tuple(_pictures(subject)),
                answers=tuple(_answers(subject, coupling)),
            )
            for subject, coupling in zip(study.subjects, couplings, strict=True)
        ),
        lead=lead,
        passed=lead == "Proved.",
    )


def _pictures(subject: SubjectStudy) -> Iterator[Drawing]:
    """What the pruned ratios left, beside the line on which a ratio would be the saving."""
    if any(run.macs.share is not None for run in subject.headline_runs):
        yield headline(subject, anchor_of(done_caption(subject)))


def _sentences(study: Study, judged: Sequence[Run]) -> Iterator[str]:
    keeping = " that keep the outputs" if study.is_case_study else ""
    yield _headline(judged, keeping) if judged else "Nothing was pruned, so nothing was proved."
    if study.refused:
        yield f"Not analysed, because it could not be used: {'; '.join(study.refused)}."


def _lead(study: Study, judged: Sequence[Run]) -> str:
    if not judged or not all(run.verification.verdict.passes for run in judged):
        return "Not proved."
    if study.refused:
        return "Proved, but not for all networks."
    return "Proved." if study.passed else "Proved, but checks failed."


def _headline(judged: Sequence[Run], keeping: str) -> str:
    """The verdicts counted, those that do not pass first."""
    found = Counter(run.verification.verdict for run in judged)
    mixed = [run for run in judged if run.verification.verdict is Verdict.MIXED]
    good = [run for run in judged if run.verification.verdict.is_equal]
    return f"{_counted(found, keeping)}{_how_equal(good)}.{_mixed(mixed)}"


def _counted(found: Counter[Verdict], keeping: str) -> str:
    total = sum(found.values())
    what = f"{total} pruning{'' if total == 1 else 's'}{keeping}"
    if len(found) == 1:
        (verdict,) = found
        return f"{'All ' if total > 1 else ''}{what} {_are(total)} {verdict}"
    order = sorted(found, key=lambda verdict: (verdict.passes, STRENGTH.index(verdict)))
    counted = [f"{found[verdict]} {_are(found[verdict])} {verdict}" for verdict in order]
    return f"Of {what} {listed(counted)}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _how_equal(good: Sequence[Run]) -> str:
    bounds = [bound(run.verification) for run in good if run.verification.max_rel_error is not None]
    error = f" (relative error {max(bounds, key=_size)})" if bounds else ""
    return f": {_EQUAL}{error}" if good else ""


_EQUAL = "equal to the masked dense network"


def _mixed(found: Sequence[Run]) -> str:
    """The warning on verdicts that pass without equality."""
    if not found:
        return ""
    return (
        f" {len(found)} read their channels in the right order, with the original weights, but no "
        f"equality can hold: {found[0].verification.reason}."
    )


def _size(text: str) -> float:
    return float(text.removeprefix("<= "))


def _answers(subject: SubjectStudy, coupling: Coupling) -> Iterator[Answer]:
    runs = subject.headline_runs
    if not runs:
        return
    last = runs[-1]
    yield Answer("Is it safe?", _safe(runs))
    yield Answer(f"What did {percent(last.config.ratio)} save?", _bought(last))
    rest = _rest(subject, coupling, last)
    if rest:
        yield Answer("Which layers hold the rest?", rest)
    half = _half(subject)
    if half:
        yield Answer("Which ratio halves the MACs?", half)


def _safe(runs: Sequence[Run]) -> str:
    bad = [run for run in runs if not run.verification.verdict.passes]
    ratios = listed([ratio_text(run.config.ratio) for run in runs])
    how = f"at {ratios} under {asked_of(runs[0])}"
    if not bad:
        errors = {bound(run.verification) for run in runs} - {"-"}
        error = f", relative error {max(errors, key=_size)}" if errors else ""
        verdicts = listed([*dict.fromkeys(f"{run.verification.verdict}" for run in runs)])
        kept = [run for run in runs if run.verification.verdict is Verdict.MIXED]
        return f"Yes, {how}: {verdicts}{error}." + _mixed(kept)
    first = bad[0]
    return (
        f"No, {how}: at {ratio_text(first.config.ratio)} it is {first.verification.verdict}: "
        f"{first.verification.reason.split('; ')[0]}."
    )


def _bought(run: Run) -> str:
    if run.macs.share is None or run.params.share is None:
        return f"Nothing can be counted: {run.verification.verdict}."
    return (
        f"{1 - run.macs.share:.1%} fewer MACs and {1 - run.params.share:.1%} fewer parameters. "
        f"{count(run.channels.removed)} of {count(run.channels.prunable)} prunable channels were "
        "removed."
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
        f"Layers that no ratio changes hold {locked / left:.1%} of what is left. "
        if locked
        else "No layer is locked. "
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
