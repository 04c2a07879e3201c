"""Pictures of a study: matplotlib to SVG with real text, the same bytes for the same numbers."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.records import PolicyAccount, Run, Study, SubjectStudy
from analysis.reporting.stages import Stage, stages

__all__ = ["WATERFALL", "Drawing", "draw"]

WATERFALL = ("classifier", "global")
"""Policy and scope whose savings are shown group by group."""

_BARS = 14
"""Groups that have a bar of their own."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
}
# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = {
    "residual-blocks": "#0072b2",
    "skip-channels": "#009e73",
    "classifier": "#d55e00",
}
_MACS, _PARAMS, _GREY = "#0072b2", "#e69f00", "#999999"


@dataclass(frozen=True)
class Drawing:
    """An SVG picture, the subject and the question it belongs to, and what it shows in words."""

    name: str
    subject: str
    question: str
    description: str
    svg: str


def draw(study: Study) -> list[Drawing]:
    """Every picture of the report."""
    drawn = []
    for subject in study.subjects:
        drawn += [_curve(subject), _stages(subject), _before_and_after(subject)]
        if any(entry.macs_scaling for entry in subject.accounts):
            drawn += [_bend(subject), _waterfall(subject)]
    return drawn


def _curve(subject: SubjectStudy) -> Drawing:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        _policies(axes[0], subject, "MACs")
        _policies(axes[1], subject, "parameters")
        axes[0].set_ylabel("share left")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return _drawing(
        figure,
        subject,
        "curve",
        f"Share of MACs and of parameters that {subject.info.name} keeps at each pruning ratio, "
        "under three policies, ranked globally (full lines) and locally (dashed), beside the line "
        "on which a ratio would be its own saving. Dots mark the case study's ratios, pruned and "
        "counted; crosses the ratios at which torch-pruning drops whole groups out of a global "
        "ranking. The numbers are in the tables below.",
    )


def _policies(axes: Axes, subject: SubjectStudy, quantity: str) -> None:
    axes.plot([0, 1], [1, 0], color=_GREY, linestyle=":", label="ratio = saving")
    for entry in subject.accounts:
        curve, colour = entry.curve, _COLOURS[entry.policy]
        left = (
            [macs / curve.dense_macs for macs in curve.macs]
            if quantity == "MACs"
            else [params / curve.dense_params for params in curve.params]
        )
        # Three decimals, as in the table, so that a last bit does not move a point.
        points = [round(value, 3) for value in left]
        if entry.scope == "local":
            axes.plot(curve.ratios, points, color=colour, linestyle="--", linewidth=1)
            continue
        axes.plot(curve.ratios, points, color=colour, label=entry.policy)
        drops = [place for place, groups in enumerate(curve.dropped) if groups]
        axes.plot(
            [curve.ratios[place] for place in drops],
            [points[place] for place in drops],
            "x",
            color=colour,
            markersize=5,
        )
        marked = [run for run in subject.runs if _is_global(run, entry.policy)]
        shares = [run.macs.share if quantity == "MACs" else run.params.share for run in marked]
        axes.plot(
            [run.config.ratio for run in marked],
            [round(share, 3) for share in shares if share is not None],
            "o",
            color=colour,
        )
    if any(groups for entry in subject.accounts for groups in entry.curve.dropped):
        axes.plot([], [], "x", color=_GREY, label="groups drop out")
    axes.set(xlabel="pruning ratio", title=quantity, xlim=(0, 1), ylim=(0, 1.02))


def _bend(subject: SubjectStudy) -> Drawing:
    accounts = [entry for entry in subject.accounts if entry.scope == "local"]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        for axes, entry in zip(
            figure.subplots(1, len(accounts), sharey=True), accounts, strict=True
        ):
            _stacked(axes, entry)
        figure.axes[0].set_ylabel("share of the MACs")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return _drawing(
        figure,
        subject,
        "bend",
        f"MACs of {subject.info.name} at each ratio, ranked locally, under each policy: what stays "
        "whatever the ratio, what falls with the ratio, what falls with its square, and, dotted, "
        "what is left once channels are whole. The numbers are in the table below.",
    )


def _stacked(axes: Axes, entry: PolicyAccount) -> None:
    form, dense = entry.macs_scaling, entry.curve.dense_macs
    if form is None:
        return
    ratios = entry.curve.ratios
    parts = (
        ("stays", [form.constant] * len(ratios), "#bbbbbb"),
        ("one width goes", [form.line * (1 - ratio) for ratio in ratios], "#9ecae1"),
        ("both widths go", [form.square * (1 - ratio) ** 2 for ratio in ratios], "#4292c6"),
    )
    axes.stackplot(
        ratios,
        *([round(value / dense, 3) for value in values] for _, values, _ in parts),
        labels=[name for name, _, _ in parts],
        colors=[colour for _, _, colour in parts],
    )
    left = [round(macs / dense, 3) for macs in entry.curve.macs]
    axes.plot(ratios, left, "k:", label="left, in whole channels")
    axes.set(xlabel="pruning ratio", title=entry.policy, xlim=(0, ratios[-1]), ylim=(0, 1.02))


def _waterfall(subject: SubjectStudy) -> Drawing:
    entry = next(
        entry
        for entry in subject.accounts
        if (entry.policy, entry.scope) == WATERFALL and entry.savings is not None
    )
    savings, dense = entry.savings, entry.curve.dense_macs
    assert savings is not None
    groups = sorted(savings.groups, key=lambda group: -group.macs)
    shown = [(group.root, group.macs) for group in groups[:_BARS]]
    shown.append(("all other groups", sum(group.macs for group in groups[_BARS:])))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots()
        top = 100.0
        names = ["dense"]
        axes.barh(0, top, color="#bbbbbb")
        for place, (root, macs) in enumerate(shown, 1):
            part = round(100 * macs / dense, 2)
            axes.barh(place, part, left=top - part, color=_MACS)
            axes.annotate(
                f"-{part:.1f}", (top, place), xytext=(4, 0), va="center", textcoords="offset points"
            )
            top = round(top - part, 2)
            names.append(root)
        axes.barh(len(names), top, color="#bbbbbb")
        axes.annotate(
            f"{top:.1f}", (top, len(names)), xytext=(4, 0), va="center", textcoords="offset points"
        )
        axes.set_yticks(range(len(names) + 1), [*names, "left"])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="share of the MACs, %", xlim=(0, 108))
    return _drawing(
        figure,
        subject,
        "waterfall",
        f"From all MACs of {subject.info.name} to those left at ratio {savings.point.ratio:g} "
        f"under the policy {entry.policy}, ranked {entry.scope}ly: what each dependency group "
        "saves, the largest first. The numbers are in the table below.",
    )


def _is_global(run: Run, policy: str) -> bool:
    return (run.config.policy, run.config.scope) == (policy, "global") and run.costs is not None


def _stages(subject: SubjectStudy) -> Drawing:
    found = stages(subject.costs)
    total_macs, total_params = subject.costs.macs, subject.costs.params
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        axes = figure.subplots()
        places = range(len(found))
        axes.bar(
            [place - 0.2 for place in places],
            [100 * stage.macs / total_macs for stage in found],
            0.4,
            color=_MACS,
            label="MACs",
        )
        axes.bar(
            [place + 0.2 for place in places],
            [100 * stage.params / total_params for stage in found],
            0.4,
            color=_PARAMS,
            label="parameters",
        )
        _name_stages(axes, found)
        axes.set_ylabel("share of the total, %")
        axes.legend()
    return _drawing(
        figure,
        subject,
        "where",
        f"Share of {subject.info.name}'s MACs and of its parameters in each of its blocks, from "
        "the input to the output: MACs lie early, parameters late. The numbers are in the table "
        "below.",
    )


def _before_and_after(subject: SubjectStudy) -> Drawing:
    before = stages(subject.costs)
    runs = [run for run in subject.runs if _is_global(run, "residual-blocks")]
    shades = ("#9ecae1", "#4292c6", "#08519c")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / (len(runs) + 1)
        for index, (label, found, colour) in enumerate(
            [("dense", before, "#bbbbbb")]
            + [
                (f"ratio {run.config.ratio:g}", stages(run.costs), shade)
                for run, shade in zip(runs, shades, strict=False)
                if run.costs is not None
            ]
        ):
            axes.bar(
                [place - 0.4 + width * (index + 0.5) for place in range(len(found))],
                [stage.macs / 1e6 for stage in found],
                width,
                color=colour,
                label=label,
            )
        _name_stages(axes, before)
        axes.set_ylabel("million MACs")
        axes.legend()
    return _drawing(
        figure,
        subject,
        "cut",
        f"MACs of each block of {subject.info.name} before and after pruning at each ratio under "
        "the policy residual-blocks, ranked globally. Blocks with a skip only change where their "
        "input narrows. The numbers are in the table below.",
    )


def _name_stages(axes: Axes, found: Sequence[Stage]) -> None:
    axes.set_xticks(range(len(found)), [stage.name for stage in found], rotation=60, ha="right")
    axes.grid(visible=False, axis="x")


def _drawing(figure: Figure, subject: SubjectStudy, question: str, description: str) -> Drawing:
    name = f"{_file_name(subject.info.name)}-{question}"
    buffer = io.StringIO()
    # The salt makes the ids of clip paths the same each time and distinct between pictures.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return Drawing(name, subject.info.name, question, description, text[text.index("<svg") :])


def _file_name(subject: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in subject)
