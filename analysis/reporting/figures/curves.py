"""Pictures of the share left at each ratio."""

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.records import PolicyAccount, SubjectStudy, ratio_text
from analysis.reporting.figures.drawing import (
    BLUE,
    FAILED,
    GONE,
    INK,
    LOCKED,
    MUTED,
    PAPER,
    PURPLE,
    SERIES,
    Drawing,
    drawn,
)
from analysis.reporting.tables import slug

__all__ = ["bend", "curve", "headline"]


def headline(subject: SubjectStudy, table: str) -> Drawing:
    """The share of the MACs that each pruned ratio left, on the predicted curve."""
    runs = [run for run in subject.headline_runs if run.macs.share is not None]
    points = [
        (run.config.ratio, round(run.macs.share or 0, 3), run.verification.verdict) for run in runs
    ]
    name = f"{slug(subject.info.name)}-headline"
    with drawn(name, (4.7, 3.1)) as (figure, made):
        axes = figure.subplots()
        (diagonal,) = axes.plot([0, 1], [1, 0], color=MUTED, linestyle=":")
        # Words go to the side of the diagonal where the curve is not.
        is_above = sum(ratio + share - 1 for ratio, share, _ in points) > 0
        axes.legend([diagonal], ["if the ratio were the saving"],
                    loc="lower left" if is_above else "upper right", fontsize=9)  # fmt: skip
        predicted = _predicted(subject)
        axes.plot(*predicted, color=BLUE, linewidth=2.4)
        for ratio, share, verdict in points:
            colour = BLUE if verdict.passes else FAILED
            words = f"{share:.0%}" if verdict.passes else f"{share:.0%}, {verdict}"
            axes.plot(ratio, share, "o" if verdict.passes else "X", color=colour, markersize=9)
            # Beside the curve, and above the axis.
            place = 9 if is_above or share < _LOW else -20
            axes.annotate(words, (ratio, share), xytext=(0, place), ha="center",
                          fontsize=13, fontweight="bold", textcoords="offset points",
                          color=INK if verdict.passes else FAILED,
                          bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})  # fmt: skip
        axes.set(xlabel="channels requested", ylabel="MACs left", xlim=(0, 1), ylim=(0, 1.12))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
    marks = ", ".join(f"{share:.1%} at {ratio_text(ratio)}" for ratio, share, _ in points)
    return Drawing(
        name,
        f"{subject.info.name}: MACs left at each pruning ratio",
        f"Each mark was pruned and counted: {marks}."
        + (" The line is predicted for every ratio." if predicted[0] else ""),
        made[0],
        table,
    )


_LOW = 0.2
"""A share below which there is no room for words under its mark."""


def _predicted(subject: SubjectStudy) -> tuple[list[float], list[float]]:
    """The curve under the headline's policy and scope; empty where none is known."""
    entry = subject.account(*subject.headline)
    if entry is None or not entry.curve.points:
        return [], []
    found = entry.curve
    return list(found.ratios), [round(macs / found.dense_macs, 3) for macs in found.macs]


def curve(subject: SubjectStudy, table: str) -> Drawing:
    """The share of MACs and parameters left at each ratio, beside the line of proportion."""
    name = f"{slug(subject.info.name)}-curve"
    with drawn(name, (9, 4.6)) as (figure, made):
        axes = figure.subplots(1, 2, sharey=True)
        _policies(axes[0], subject, "macs")
        _policies(axes[1], subject, "params")
        axes[0].set(title="MACs", ylabel="share left")
        axes[1].set(title="parameters")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    points = ", ".join(ratio_text(run.config.ratio) for run in subject.headline_runs)
    return Drawing(
        name,
        f"{subject.info.name}: what each pruning ratio leaves",
        f"Share of MACs (left) and of parameters (right) that {subject.info.name} keeps at each "
        "pruning ratio, with one colour for each policy. Full lines rank all groups together, "
        "dashed lines each group alone. On the dotted diagonal the ratio would be the saving. Dots "
        f"are prunings that were counted (at {points}), crosses ratios at which torch-pruning "
        "drops whole groups, triangles ratios at which the curve is non-monotonic.",
        made[0],
        table,
    )


def _policies(axes: Axes, subject: SubjectStudy, quantity: str) -> None:
    axes.plot([0, 1], [1, 0], color=MUTED, linestyle=":", label="ratio = saving")
    axes.axhline(0.5, color=MUTED, linewidth=0.6)
    for entry in subject.accounts:
        _policy(axes, subject, entry, quantity)
    for label, marker, there in (
        ("pruned and counted", "o", True),
        ("groups drop out", "x", any(any(entry.curve.dropped) for entry in subject.accounts)),
        ("non-monotonic", "v", any(entry.curve.turns for entry in subject.accounts)),
    ):
        if there:
            axes.plot([], [], marker, color=INK, label=label)
    axes.set(xlabel="pruning ratio asked", xlim=(0, 1), ylim=(0, 1.02))


def _policy(axes: Axes, subject: SubjectStudy, entry: PolicyAccount, quantity: str) -> None:
    found, colour = entry.curve, SERIES.get(entry.policy, PURPLE)
    if not found.points:
        return
    # Three decimals, as in the table, so that a last bit does not move a point.
    dense = getattr(found, f"dense_{quantity}")
    left = [round(value / dense, 3) for value in getattr(found, quantity)]
    is_headline = (entry.policy, entry.scope) == subject.headline
    is_main = is_headline or entry.scope == "global"
    axes.plot(
        found.ratios,
        left,
        color=colour,
        linestyle="-" if entry.scope == "global" else "--",
        linewidth=2.4 if is_headline else 1.4 if is_main else 1,
        label=_label(entry.policy) if is_main else None,
    )
    if not is_main:
        return
    at = dict(zip(found.ratios, left, strict=True))
    drops = [ratio for ratio, groups in zip(found.ratios, found.dropped, strict=False) if groups]
    turns = [turn.after.ratio for turn in found.turns]
    for marker, ratios, size in (("x", drops, 5), ("v", turns, 7)):
        axes.plot(ratios, [at[ratio] for ratio in ratios], marker, color=colour, markersize=size)
    runs = [
        (run.config.ratio, share)
        for run in subject.select(entry.policy, entry.scope)
        if (share := getattr(run, quantity).share) is not None
    ]
    axes.plot([ratio for ratio, _ in runs], [round(y, 3) for _, y in runs], "o", color=colour)
    for ratio, share in runs if is_headline else ():
        axes.annotate(
            f"{share:.0%}", (ratio, round(share, 3)), xytext=(5, 6), textcoords="offset points"
        )


def _label(policy: str) -> str:
    """Matplotlib leaves what begins with an underscore out of a legend."""
    return f" {policy}" if policy.startswith("_") else policy


def bend(subject: SubjectStudy, table: str) -> Drawing:
    """What falls with the square of the kept share, with the share itself, and not at all."""
    local = [entry for entry in subject.accounts if entry.scope == "local" and entry.macs_scaling]
    accounts = local or [entry for entry in subject.accounts if entry.macs_scaling]
    name = f"{slug(subject.info.name)}-bend"
    with drawn(name, (9, 3.7)) as (figure, made):
        panels = figure.subplots(1, len(accounts), sharey=True, squeeze=False)[0]
        for axes, entry in zip(panels, accounts, strict=True):
            _stacked(axes, entry)
        panels[0].set_ylabel("share of the MACs")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return Drawing(
        name,
        f"{subject.info.name}: how MACs fall with the ratio",
        f"MACs of {subject.info.name} at each ratio under each policy: the parts that do not fall, "
        "that fall with the ratio, and that fall with its square. Dotted, what is left in whole "
        "channels.",
        made[0],
        table,
    )


def _stacked(axes: Axes, entry: PolicyAccount) -> None:
    form, dense = entry.macs_scaling, entry.curve.dense_macs
    assert form is not None
    ratios = entry.curve.ratios
    parts = (
        ("stays", [form.constant] * len(ratios), LOCKED),
        ("one width goes", [form.line * (1 - ratio) for ratio in ratios], GONE),
        ("both widths go", [form.square * (1 - ratio) ** 2 for ratio in ratios], BLUE),
    )
    axes.stackplot(
        ratios,
        *([round(value / dense, 3) for value in values] for _, values, _ in parts),
        labels=[name for name, _, _ in parts],
        colors=[colour for _, _, colour in parts],
    )
    left = [round(macs / dense, 3) for macs in entry.curve.macs]
    axes.plot(ratios, left, color=INK, linestyle=":", label="left, in whole channels")
    axes.set(xlabel="pruning ratio asked", title=entry.policy, xlim=(0, ratios[-1]), ylim=(0, 1.02))
