"""Where the MACs are: layer by layer before and after, and block by block."""

from itertools import count

from analysis.records import SubjectStudy
from analysis.reporting.coupling import Coupling, LayerShare
from analysis.reporting.figures.drawing import (
    BLUE,
    GONE,
    LOCKED,
    ORANGE,
    Drawing,
    drawn,
    in_group,
)
from analysis.reporting.stages import stages
from analysis.reporting.tables import slug

__all__ = ["layers", "where"]

_BARS = 80
"""Layers that have a bar of their own."""

_SHARE = 0.002
"""Of all MACs: a layer with less has no bar of its own."""


def layers(
    subject: SubjectStudy, coupling: Coupling, found: list[LayerShare], title: str, table: str
) -> Drawing:
    """A bar for each layer: what a cut took, what it left, what it could not touch."""
    bars, others = _largest(found)
    name, serial = f"{slug(subject.info.name)}-layers", count()
    scale, unit = _unit(max((bar.before for bar in bars), default=0))
    with drawn(name, (9, 1.4 + 0.19 * (len(bars) + 1))) as (figure, made):
        axes = figure.subplots()
        for label, colour in (("left, can be cut", BLUE), ("cut", GONE), ("locked", LOCKED)):
            axes.barh([0], [0], color=colour, edgecolor=BLUE if colour == GONE else colour,
                      linewidth=0.6, label=label)  # fmt: skip
        for place, share in enumerate([*bars, others]):
            left, gone = share.after / scale, max(share.before - share.after, 0) / scale
            colour = LOCKED if share.is_locked else BLUE
            parts = [axes.barh(place, left, color=colour)]
            if gone:
                parts.append(
                    axes.barh(place, gone, left=left, color=GONE, edgecolor=BLUE, linewidth=0.6)
                )
            for part in parts:
                for patch in part:
                    in_group(patch, coupling.key_of(share.layer), serial)
        axes.set_yticks(range(len(bars) + 1), [*(bar.name for bar in bars), "all other layers"])
        axes.tick_params(axis="y", labelsize=8)
        axes.set_ylim(len(bars) + 0.7, -0.7)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{unit}MACs; the whole bar is the dense layer")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return Drawing(
        name,
        f"{subject.info.name}: every layer before and after, {title}",
        f"One bar for each layer of {subject.info.name} that holds at least {_SHARE:.1%} of the "
        "MACs, from the input to the output. The whole bar is the dense layer: full blue is what "
        "is left of it, the outlined rest what was cut away; grey layers are locked, none of their "
        "channels are prunable at any ratio. The last bar sums all other layers.",
        made[0],
        table,
    )


def _unit(most: int) -> tuple[int, str]:
    """What bars are counted in, so that the longest has a number of few digits."""
    units = ((10**9, "billion "), (10**6, "million "), (10**3, "thousand "))
    return next(((scale, unit) for scale, unit in units if most >= scale), (1, ""))


def _largest(found: list[LayerShare]) -> tuple[list[LayerShare], LayerShare]:
    """The layers with a bar of their own, in their order, and the sum of the others."""
    total = sum(share.before for share in found)
    worth = sorted(found, key=lambda share: -share.before)[:_BARS]
    kept = {share.layer for share in worth if share.before >= _SHARE * total}
    bars = [share for share in found if share.layer in kept]
    rest = [share for share in found if share.layer not in kept]
    before, after = sum(share.before for share in rest), sum(share.after for share in rest)
    return bars, LayerShare("(others)", "", before, after, all(share.is_locked for share in rest))


def where(subject: SubjectStudy, table: str) -> Drawing:
    """The share of MACs and of parameters in each block."""
    found = stages(subject.costs)
    total_macs, total_params = subject.costs.macs or 1, subject.costs.params or 1
    name = f"{slug(subject.info.name)}-where"
    with drawn(name, (max(9, 0.35 * len(found)), 3.4)) as (figure, made):
        axes = figure.subplots()
        places = range(len(found))
        for shift, label, colour, values in (
            (-0.2, "MACs", BLUE, [stage.macs / total_macs for stage in found]),
            (0.2, "parameters", ORANGE, [stage.params / total_params for stage in found]),
        ):
            axes.bar(
                [place + shift for place in places],
                [100 * value for value in values],
                0.4,
                color=colour,
                label=label,
            )
        axes.set_xticks(places, [stage.name for stage in found], rotation=60, ha="right")
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("share of the total, %")
        axes.legend()
    return Drawing(
        name,
        f"{subject.info.name}: MACs and parameters by block",
        f"Share of {subject.info.name}'s MACs and of its parameters in each of its blocks, from "
        "the input to the output.",
        made[0],
        table,
    )
