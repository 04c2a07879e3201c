"""From all MACs to those left, one step a group."""

from itertools import count

from matplotlib.axes import Axes

from analysis.records import PolicyAccount, SubjectStudy, ratio_text
from analysis.reporting.coupling import Coupling
from analysis.reporting.figures.drawing import BLUE, LOCKED, Drawing, drawn, in_group
from analysis.reporting.tables import slug

__all__ = ["waterfall"]

_BARS = 14
"""Groups that have a bar of their own."""


def waterfall(
    subject: SubjectStudy, coupling: Coupling, entry: PolicyAccount, table: str
) -> Drawing:
    """What each group saves, the largest first."""
    savings, dense = entry.savings, entry.curve.dense_macs
    assert savings is not None
    groups = sorted((g for g in savings.groups if g.macs > 0), key=lambda group: -group.macs)
    shown = [(group.root, group.macs) for group in groups[:_BARS]]
    if groups[_BARS:]:
        shown.append(("all other groups", sum(group.macs for group in groups[_BARS:])))
    name, serial = f"{slug(subject.info.name)}-waterfall", count()
    with drawn(name, (9, 1 + 0.26 * (len(shown) + 2))) as (figure, made):
        axes = figure.subplots()
        top = 100.0
        names = ["dense"]
        axes.barh(0, top, color=LOCKED)
        for place, (root, macs) in enumerate(shown, 1):
            part = round(100 * macs / dense, 2)
            for patch in axes.barh(place, part, left=top - part, color=BLUE):
                in_group(patch, coupling.keys.get(root, ""), serial)
            _label(axes, f"-{part:.1f}", top, place)
            top = round(top - part, 2)
            names.append(root)
        axes.barh(len(names), top, color=LOCKED)
        _label(axes, f"{top:.1f}", top, len(names))
        axes.set_yticks(range(len(names) + 1), [*names, "left"])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="share of the MACs, %", xlim=(0, 108))
    return Drawing(
        name,
        f"{subject.info.name}: what each group saves at ratio {ratio_text(savings.point.ratio)}",
        f"From all MACs of {subject.info.name} down to those left at ratio "
        f"{ratio_text(savings.point.ratio)} under the policy {entry.policy}, ranked "
        f"{entry.scope}ly: what each dependency group saves, the largest first.",
        made[0],
        table,
    )


def _label(axes: Axes, text: str, x: float, y: int) -> None:
    axes.annotate(text, (x, y), xytext=(4, 0), va="center", textcoords="offset points")
