"""What each ratio leaves, where the curve is non-monotonic, why it bends, and how far it goes."""

from collections.abc import Iterator, Sequence

from analysis.records import PolicyAccount, Run, Scaling, Study, SubjectStudy, Turn, ratio_text
from analysis.reporting.figures.curves import bend, curve
from analysis.reporting.section import Absent, Block, Section, gist_of
from analysis.reporting.tables import (
    RUN_HEADERS,
    Table,
    count,
    layer_name,
    left,
    ratio_for,
    run_cells,
    share,
)
from analysis.reporting.words import first, percent, scoped

__all__ = ["section"]


def section(study: Study) -> Section | Absent:
    """The curves, their non-monotonic points, closed form, and the ratio for half the MACs."""
    blocks = [block for subject in study.subjects if (block := _block(subject, study))]
    if not blocks:
        return Absent(_TITLE, "what a ratio will cost could not be predicted for any network")
    return Section(
        "savings",
        _title(study),
        (
            "The pruning ratio counts prunable channels. It is not the saving, for three reasons. "
            "Layers that a policy excludes keep their channels. The cost of a dense layer falls "
            "with both of its widths, that of a depthwise or normalisation layer with one. MACs "
            "and parameters are spread unevenly over the layers. One MAC is one "
            "multiply-accumulate, which fvcore calls a flop.",
            "The curves are predicted without pruning: MACs and parameters are a polynomial in the "
            "widths of the groups, which one forward pass gives.",
            *(_FORM if study.is_case_study else ()),
        ),
        tables=(_done_table(study),),
        blocks=tuple(blocks),
        tests=("tests/case_study/test_savings.py", "tests/unit/costs/test_cost_model.py"),
        gist=gist_of((subject.info.name, _left(subject)) for subject in study.subjects),
    )


_TITLE = "What each ratio leaves"

_FORM = (
    "If every prunable group lost the share r, a (1 - r)^2 + b (1 - r) + c would be left: a is of "
    "layers of which both widths are cut, b of those with one, c of those with none. The real "
    "curve differs, because channels are whole numbers and global ranking cuts groups unequally.",
)

_NEAR = 0.01
"""A saving this near to the ratio is as good as it."""


def _title(study: Study) -> str:
    """The heading, if the greatest ratio shows it."""
    runs = [run for subject in study.subjects for run in subject.headline_runs]
    last = max((run.config.ratio for run in runs), default=0.0)
    differ = any(
        run.macs.share is not None and abs(1 - run.macs.share - last) > _NEAR
        for run in runs
        if run.config.ratio == last
    )
    return f"{percent(last)} is not {percent(last)}" if last and differ else _TITLE


def _block(subject: SubjectStudy, study: Study) -> Block | None:
    known = [entry for entry in subject.accounts if entry.curve.points]
    if not known:
        return None
    own = subject.account(*subject.headline)
    scopes = list(dict.fromkeys(entry.scope for entry in known))
    curves = [_curve_table(subject, scope) for scope in scopes]
    drawings = [curve(subject, curves[0].anchor)]
    tables = [
        _reaches(subject, known),
        *curves,
        *(_holders(subject, entry) for entry in known if _is_short(entry)),
    ]
    scaling = _scaling_table(subject, known)
    if study.is_case_study and scaling.rows:
        drawings.append(bend(subject, scaling.anchor))
        tables.append(scaling)
    return Block(
        subject.info.name,
        tuple(_turns(known if study.is_case_study else [own] if own else [])),
        tuple(drawings),
        tuple(table for table in tables if table.rows),
    )


def _left(subject: SubjectStudy) -> str:
    """What the pruned ratios left of the MACs."""
    runs = [run for run in subject.headline_runs if run.macs.share is not None]
    parts = [f"{left(run.macs)} at {ratio_text(run.config.ratio)}" for run in runs]
    return f"MACs left: {', '.join(parts)}" if parts else ""


def _turns(known: Sequence[PolicyAccount]) -> Iterator[str]:
    """Where a larger ratio leaves more, and which groups are the cause."""
    for entry in known:
        if entry.curve.turns:
            yield (
                f"The curve of `{entry.policy}`, {scoped(entry.scope)}, is non-monotonic at "
                + "; at ".join(map(_turn, entry.curve.turns))
                + "."
            )


_CAUSES = 2
"""Groups that are named where a curve turns."""


def _turn(turn: Turn) -> str:
    causes = [f"`{root}` keeps {more} more ({reason})" for root, more, reason in turn.groups]
    return f"{ratio_text(turn.after.ratio)}, where {first(causes, _CAUSES, 'groups')}"


def _done_table(study: Study) -> Table:
    return Table(
        "pruned and counted",
        (
            *RUN_HEADERS,
            "MACs before",
            "MACs after",
            "MACs left",
            "parameters before",
            "parameters after",
            "parameters left",
            "bytes after",
            "bytes left",
        ),
        tuple(
            (
                *run_cells(subject, run),
                *(
                    cell
                    for sizes in (run.macs, run.params)
                    for cell in (count(sizes.before), count(sizes.after), left(sizes))
                ),
                count(run.bytes_.after),
                left(run.bytes_),
            )
            for subject, run in study.shown
        ),
        wide=True,
    )


def _curve_table(subject: SubjectStudy, scope: str) -> Table:
    curves = [
        (each.policy, each.curve)
        for each in subject.accounts
        if each.scope == scope and each.curve.points
    ]
    return Table(
        f"{subject.info.name}: share left at each ratio, {scoped(scope)}",
        (
            "ratio",
            *(f"MACs, {policy}" for policy, _ in curves),
            *(f"parameters, {policy}" for policy, _ in curves),
        ),
        tuple(
            (
                ratio_text(points[0].ratio),
                *(share(p.macs / c.dense_macs) for p, (_, c) in zip(points, curves, strict=True)),
                *(
                    share(p.params / c.dense_params)
                    for p, (_, c) in zip(points, curves, strict=True)
                ),
            )
            for points in zip(*(found.points for _, found in curves), strict=True)
        ),
        wide=True,
    )


def _scaling_table(subject: SubjectStudy, known: Sequence[PolicyAccount]) -> Table:
    ratios = tuple(run.config.ratio for run in subject.headline_runs)
    rows = []
    for entry in known:
        for name, form, dense in (
            ("MACs", entry.macs_scaling, entry.curve.dense_macs),
            ("parameters", entry.params_scaling, entry.curve.dense_params),
        ):
            if form is not None:
                found = subject.select(entry.policy, entry.scope)
                rows.append(
                    (entry.policy, entry.scope, name, *_terms(form, dense, ratios, found, name))
                )
    return Table(
        f"{subject.info.name}: a, b and c, what they predict, and what is left",
        (
            "policy",
            "scope",
            "of",
            "a",
            "b",
            "c",
            *(
                f"{what} at {ratio_text(ratio)}"
                for ratio in ratios
                for what in ("predicted", "left")
            ),
        ),
        tuple(rows),
    )


def _terms(
    form: Scaling, dense: int, ratios: Sequence[float], runs: Sequence[Run], name: str
) -> tuple[str, ...]:
    cells = [share(value / dense) for value in (form.square, form.line, form.constant)]
    sizes = {run.config.ratio: run.macs if name == "MACs" else run.params for run in runs}
    for ratio in ratios:
        cells += [share(form.at(ratio) / dense), left(sizes[ratio]) if ratio in sizes else "-"]
    return tuple(cells)


def _reaches(subject: SubjectStudy, known: Sequence[PolicyAccount]) -> Table:
    return Table(
        f"{subject.info.name}: the ratio that leaves half of the MACs, and the least of all ratios",
        ("policy", "scope", "ratio for half", "least MACs left", "parameters there", "at ratio"),
        tuple(
            (
                entry.policy,
                entry.scope,
                ratio_for(entry.reach),
                share(entry.reach.least.macs / entry.reach.dense.macs),
                share(entry.reach.least.params / entry.reach.dense.params),
                f"{entry.reach.least.ratio:.2f}",
            )
            for entry in known
            if entry.reach is not None
        ),
    )


def _is_short(entry: PolicyAccount) -> bool:
    """Whether the target cannot be reached."""
    return entry.scope == "global" and entry.reach is not None and entry.reach.ratio is None


def _holders(subject: SubjectStudy, entry: PolicyAccount) -> Table:
    return Table(
        f"{subject.info.name}, {entry.policy}: the layers that keep most at the least",
        ("layer", "MACs", "of what is left", "why"),
        tuple(
            (layer_name(row.layer), count(row.left), share(row.share), row.why)
            for row in (entry.reach.holders if entry.reach else ())
        ),
    )
