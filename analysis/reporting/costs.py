"""The report's section on why the curve bends, how far it goes, and who saves what."""

from collections.abc import Sequence

from analysis.records import RATIOS, PolicyAccount, Reach, Scaling, Study, SubjectStudy
from analysis.reporting.figures import WATERFALL, Drawing
from analysis.reporting.sections import Section
from analysis.reporting.tables import Table, count, share

__all__ = ["section"]


def section(study: Study, drawn: Sequence[Drawing]) -> Section:
    """The closed form of the costs, the ratio for half of the MACs, and each group's share."""
    sentences = [
        "MACs and parameters are a polynomial in the widths of the dependency groups, read from "
        "one count and the groups: a convolution costs the product of the channels it makes and "
        "those it reads, a depthwise convolution, a norm or a pooling one width. So with the share "
        "r of every prunable group gone, a (1 - r)^2 + b (1 - r) + c is left: a where both widths "
        "go, b where one does, c where none does. What differs from it is that channels are whole "
        "(ranked locally), and that groups lose unequal shares (ranked globally). Every point of "
        "the curves above is predicted so, nothing is pruned for it; the tests hold the "
        "prediction to pruned and counted networks, to the last MAC of every layer.",
    ]
    tables = []
    for subject in study.subjects:
        traced = [entry for entry in subject.accounts if entry.macs_scaling]
        if not traced:
            continue
        sentences += [_reach(subject, entry) for entry in traced if entry.scope == "global"]
        tables += [_scaling(subject, traced), _reaches(subject, traced)]
        tables += [_holders(subject, entry) for entry in traced if _is_short(entry)]
        tables += [_savings(subject, entry) for entry in traced if _is_shared(entry)]
    sentences.append(
        "A group's share of the saving is its Shapley value: the mean, over all orders in which "
        "the groups may be cut, of what its cut saves when its turn comes (Shapley, 1953). For a "
        "polynomial of this kind it is exact without trying any order: a product of two widths is "
        "shared by halves. The shares sum to the whole saving."
    )
    pictures = [each for each in drawn if each.question in ("bend", "waterfall")]
    return Section(
        "costs",
        "8. Why the curve bends, and how far it goes",
        tuple(sentences),
        tuple(tables),
        tuple(pictures),
        tests="tests/unit/test_cost_model.py",
    )


def _reach(subject: SubjectStudy, entry: PolicyAccount) -> str:
    reach = entry.reach
    if reach is None:
        return ""
    name = f"{subject.info.name}, `{entry.policy}`, ranked globally"
    if reach.ratio is not None:
        return (
            f"{name}: to keep at most {reach.target:.0%} of the MACs, ask for "
            f"{reach.ratio:.1%} of the prunable channels; the least that a ratio leaves is "
            f"{_least(reach)}."
        )
    return f"{name}: no ratio leaves {reach.target:.0%} of the MACs; the least is {_least(reach)}."


def _least(reach: Reach) -> str:
    return f"{reach.least.macs / reach.dense.macs:.1%}, at ratio {reach.least.ratio:.2f}"


def _is_short(entry: PolicyAccount) -> bool:
    """Whether the target cannot be reached."""
    return entry.scope == "global" and entry.reach is not None and entry.reach.ratio is None


def _is_shared(entry: PolicyAccount) -> bool:
    return (entry.policy, entry.scope) == WATERFALL


def _scaling(subject: SubjectStudy, entries: Sequence[PolicyAccount]) -> Table:
    rows = []
    for entry in entries:
        curve = entry.curve
        for name, form, dense, left in (
            ("MACs", entry.macs_scaling, curve.dense_macs, curve.macs),
            ("parameters", entry.params_scaling, curve.dense_params, curve.params),
        ):
            if form is not None:
                rows.append((entry.policy, entry.scope, name, *_terms(form, dense, left, entry)))
    return Table(
        f"{subject.info.name}: a, b and c, what they predict, and what is left",
        (
            "policy",
            "scope",
            "of",
            "a",
            "b",
            "c",
            *(f"{what} at {ratio:g}" for ratio in RATIOS for what in ("predicted", "left")),
        ),
        tuple(rows),
    )


def _terms(form: Scaling, dense: int, left: Sequence[int], entry: PolicyAccount) -> tuple[str, ...]:
    cells = [share(value / dense) for value in (form.square, form.line, form.constant)]
    for ratio in RATIOS:
        place = entry.curve.ratios.index(ratio)
        cells += [share(form.at(ratio) / dense), share(left[place] / dense)]
    return tuple(cells)


def _reaches(subject: SubjectStudy, entries: Sequence[PolicyAccount]) -> Table:
    reaches = [(entry, entry.reach) for entry in entries if entry.reach is not None]
    return Table(
        f"{subject.info.name}: the ratio that leaves half of the MACs, and the least of all ratios",
        ("policy", "scope", "ratio for half", "least MACs left", "parameters there", "at ratio"),
        tuple(
            (
                entry.policy,
                entry.scope,
                "none" if reach.ratio is None else f"{reach.ratio:.3f}",
                share(reach.least.macs / reach.dense.macs),
                share(reach.least.params / reach.dense.params),
                f"{reach.least.ratio:.2f}",
            )
            for entry, reach in reaches
        ),
    )


def _holders(subject: SubjectStudy, entry: PolicyAccount) -> Table:
    reach = entry.reach
    return Table(
        f"{subject.info.name}, {entry.policy}: what holds up the least that is left",
        ("layer", "MACs", "of what is left", "why"),
        tuple(
            (row.layer or "(the model's own forward)", count(row.left), share(row.share), row.why)
            for row in (reach.holders if reach else ())
        ),
    )


def _savings(subject: SubjectStudy, entry: PolicyAccount) -> Table:
    savings, curve = entry.savings, entry.curve
    groups = savings.groups if savings else ()
    return Table(
        f"{subject.info.name}, {entry.policy}, ranked {entry.scope}ly at ratio "
        f"{savings.point.ratio if savings else 0:g}: what each group saves",
        (
            "group",
            "channels",
            "removed",
            "MACs saved",
            "of all MACs",
            "parameters saved",
            "of all parameters",
            "MACs of its first channel",
            "parameters of its first channel",
        ),
        tuple(
            (
                group.root,
                count(group.width),
                count(group.removed),
                count(round(group.macs)),
                share(group.macs / curve.dense_macs),
                count(round(group.params)),
                share(group.params / curve.dense_params),
                count(round(group.macs_of_one)),
                count(round(group.params_of_one)),
            )
            for group in sorted(groups, key=lambda group: -group.macs)
        ),
        wide=True,
    )
