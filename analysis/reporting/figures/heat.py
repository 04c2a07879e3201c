"""A heat map: numbers by row and column as shades, each with its words."""

from collections.abc import Sequence

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from analysis.reporting.figures.drawing import BLUE, FAILED, INK, MUTED, PAPER, RULE, drawn

__all__ = ["heat_map"]

_DARK = 0.55
"""Shades beyond this part of the way have light words on them."""

_INCHES = 0.09
"""Of a character of the title."""


def heat_map(
    name: str,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    words: Sequence[Sequence[str]],
) -> str:
    """The SVG: red is a loss and blue a gain; without a number a cell is hatched, not pale.

    Args:
        name: see `drawn`.
        title: above it.
        rows: their names.
        columns: their names.
        values: by row and column; None is not known.
        words: written into each cell.
    """
    known = [abs(value) for row in values for value in row if value is not None]
    greatest = max(known, default=0.0) or 1.0
    shades = LinearSegmentedColormap.from_list("loss", [BLUE, PAPER, FAILED])
    width = max(2.6 + 0.8 * len(columns), _INCHES * len(title))
    with drawn(name, (width, 1.4 + 0.28 * len(rows))) as (figure, made):
        figure.suptitle(title, fontsize=11)
        axes = figure.subplots()
        axes.grid(False)
        for row, own in enumerate(values):
            for column, value in enumerate(own):
                part = 0.0 if value is None else value / greatest
                hatch = "////" if value is None else None
                axes.add_patch(
                    Rectangle(
                        (column - 0.5, row - 0.5),
                        1,
                        1,
                        facecolor=PAPER if value is None else shades(0.5 + part / 2),
                        edgecolor=RULE,
                        hatch=hatch,
                    )
                )
                axes.text(
                    column,
                    row,
                    words[row][column],
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=MUTED if value is None else PAPER if abs(part) > _DARK else INK,
                )
        axes.set(
            xlim=(-0.5, len(columns) - 0.5),
            ylim=(len(rows) - 0.5, -0.5),
            xlabel="share of the group's channels that go",
        )
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
    return made[0]
