"""What the command macs prints on a terminal."""

from collections.abc import Sequence
from math import ceil

from analysis.records import (
    COLUMNS,
    CONVENTIONS,
    QUANTITIES,
    CostTable,
    CurvePoint,
    RatioCurve,
    Reach,
    Run,
    Savings,
    Scaling,
    ratio_text,
)
from analysis.reporting.tables import as_markdown, count, layer_name, share
from analysis.reporting.text import by_text, once
from analysis.reporting.words import counted_by

__all__ = ["macs", "not_counted"]


def macs(
    dense: CostTable,
    found: Sequence[Run],
    reach: tuple[Reach, Savings] | None = None,
    curve: RatioCurve | None = None,
    point: CurvePoint | None = None,
) -> str:
    """One line a layer with what each ratio leaves of it; answers to a sweep, a target, widths.

    The table of layers is left out where only such an answer is asked for.
    """
    parts = [] if (reach or curve or point) and not found else [_layers(dense, found)]
    if curve:
        parts.append(_swept(curve))
    if reach:
        parts.append(_reached(*reach, dense.unit))
    if point:
        parts.append(f"the widths leave {_left_at(point, dense, dense.unit)}\n{counted_by(dense)}")
    return "\n\n".join(parts)


def _left_at(point: CurvePoint, dense: CostTable | CurvePoint, unit: str = "MACs") -> str:
    """What a point leaves of the dense network."""
    return (
        f"{count(point.macs)} of {count(dense.macs)} {unit} ({point.macs / dense.macs:.2%}) "
        f"and {count(point.params)} of {count(dense.params)} parameters "
        f"({point.params / dense.params:.2%})"
    ) + (f", and a file of {count(point.bytes)} bytes" if point.bytes is not None else "")


def _swept(curve: RatioCurve) -> str:
    """One line a ratio, those marked at which asking for more leaves more, or groups drop out."""
    back = {
        after: f"more parameters than {before:g} leaves"
        for after, before in curve.more_params.items()
    }
    back |= {
        turn.after.ratio: f"more than {ratio_text(turn.before.ratio)} leaves"
        for turn in curve.turns
    }
    unit = CONVENTIONS[curve.convention].unit
    table = as_markdown(
        ("ratio", unit, "left", "parameters", "left", "non-monotonic", "groups that drop out"),
        [
            (
                ratio_text(point.ratio),
                count(point.macs),
                share(point.macs / curve.dense_macs),
                count(point.params),
                share(point.params / curve.dense_params),
                back.get(point.ratio, "-"),
                ", ".join(f"{group.root} ({group.reason})" for group in dropped) or "-",
            )
            for point, dropped in zip(curve.points, curve.dropped, strict=True)
        ],
    )
    reasons = [
        f"ratio {ratios}: not known: {why}"
        for why, ratios in by_text((ratio_text(ratio), why) for ratio, why in curve.unknown)
    ]
    return "\n".join([table, *reasons])


def _layers(dense: CostTable, found: Sequence[Run]) -> str:
    """The rows sum to the total, and the columns of a row to its MACs."""
    after = [run.costs.by_layer() for run in found if run.costs]
    ratios = [f"MACs at {ratio_text(run.config.ratio)}" for run in found if run.costs]
    shown = [place for place, macs in enumerate(dense.columns) if macs]
    rows = [
        (
            layer_name(row.layer),
            row.kind,
            count(row.calls),
            "x".join(map(str, row.shape)) or "-",
            count(row.params),
            *(count(row.columns[place]) for place in shown),
            count(row.macs),
            share(row.macs / dense.macs if dense.macs else 0.0),
            *(count(costs[row.layer].macs if row.layer in costs else 0) for costs in after),
        )
        for row in dense.layers
    ]
    totals = [run.costs.macs for run in found if run.costs]
    columns = [count(dense.columns[place]) for place in shown]
    last = (count(dense.params), *columns, count(dense.macs), "100.0%", *map(count, totals))
    names = [COLUMNS[place] for place in shown]
    table = as_markdown(
        ("layer", "kind", "calls", "output", "parameters", *names, dense.unit, "share", *ratios),
        [*rows, ("total", "", "", "", *last)],
    )
    lacking = [
        (run, f"not counted: {run.verification.verdict}: {run.verification.reason}")
        for run in found
        if run.costs is None
    ]
    return "\n".join([table, counted_by(dense), not_counted(dense), *once(lacking)])


def _reached(reach: Reach, savings: Savings, unit: str) -> str:
    """The ratio that meets a target or why none does, what holds it up, and who saves what."""
    name = unit if reach.quantity == "macs" else QUANTITIES["params"]
    dense, point = reach.dense, reach.nearest
    known = "is known to leave" if reach.gap else "leaves"
    head = reach.falls_short or (
        f"ratio {_at_least(point.ratio)} is the smallest that {known} at most "
        f"{reach.words.replace('MACs', unit)}"
    )
    left = f"there, {_left_at(point, dense, unit)} are left"
    held = as_markdown(
        ("layer", f"{name} left", "of what is left", "why"),
        [
            (layer_name(row.layer), count(row.left), share(row.share), row.why)
            for row in reach.holders
        ],
    )
    least = (
        f"the least that any ratio {'is known to leave' if reach.unknown else 'leaves'}, at "
        f"{_at_least(reach.least.ratio)}, is "
        f"{reach.least.macs / dense.macs:.2%} of the {unit} and "
        f"{reach.least.params / dense.params:.2%} of the parameters; most of it is in:"
    )
    return "\n".join(
        [
            f"{head}: {left}",
            *([reach.gap] if reach.gap else []),
            *([_bend(reach.scaling, name)] if reach.scaling else []),
            "",
            least,
            held,
            "",
            "saving by group:",
            _who_saves(savings, dense.macs - point.macs, unit),
        ]
    )


def _bend(form: Scaling, name: str) -> str:
    whole = form.at(0)
    return (
        f"with a share r of every prunable group gone, {form.square / whole:.1%} (1 - r)^2 + "
        f"{form.line / whole:.1%} (1 - r) + {form.constant / whole:.1%} of the {name} are left: "
        "no ratio changes the last part"
    )


def _who_saves(savings: Savings, saved: int, unit: str) -> str:
    """What each group has to do with a saving of so many MACs."""
    return as_markdown(
        (
            "group",
            "channels",
            "removed",
            f"{unit} saved",
            "share",
            "parameters saved",
            f"{unit} of one",
        ),
        [
            (
                group.root,
                count(group.width),
                count(group.removed),
                count(round(group.macs)),
                share(group.macs / max(saved, 1)),
                count(round(group.params)),
                count(round(group.macs_of_one)),
            )
            for group in sorted(savings.groups, key=lambda group: -group.macs)
            if group.removed
        ],
    )


def _at_least(ratio: float) -> str:
    """A ratio with six digits, rounded up, so that it still asks for as many channels."""
    return ratio_text(ceil(ratio * 1e6) / 1e6)


def not_counted(costs: CostTable) -> str:
    """The gap of the total, in a sentence."""
    operators = ", ".join(f"{name.split('::')[-1]} ({times}x)" for name, times in costs.uncounted)
    uncalled = ", ".join(costs.uncalled)
    return (
        f"Not counted by {costs.convention}: {operators or 'nothing'}. "
        f"Layers with parameters that were never called: {uncalled or 'none'}."
    )
