"""Which planted faults are seen, and by what."""

from collections.abc import Sequence

from analysis.records import FaultCount
from analysis.reporting.figures.drawing import BLUE, LOCKED, ORANGE, Drawing, drawn

__all__ = ["mutants"]


def mutants(found: Sequence[FaultCount], table: str) -> Drawing:
    """For each kind of fault, how many were planted and how many each of the two ways saw."""
    kinds = list(dict.fromkeys(fault.kind for fault in found))
    name = "mutants"
    with drawn(name, (9, 1.2 + 0.42 * len(kinds))) as (figure, made):
        axes = figure.subplots()
        for place, (label, attribute, colour) in enumerate(
            (
                ("planted", "planted", LOCKED),
                ("seen by the proof", "seen_by_proof", BLUE),
                ("seen by running it and looking at the shape", "seen_by_shape", ORANGE),
            )
        ):
            counts = [sum(getattr(f, attribute) for f in found if f.kind == k) for k in kinds]
            where = [row + 0.27 * (place - 1) for row in range(len(kinds))]
            axes.barh(where, counts, 0.25, color=colour, label=label)
            for y, number in zip(where, counts, strict=True):
                axes.annotate(str(number), (number, y), xytext=(3, 0), va="center", fontsize=7,
                              textcoords="offset points")  # fmt: skip
        axes.set_yticks(range(len(kinds)), kinds)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("faults")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return Drawing(
        name,
        "Planted faults, and what sees them",
        "For each kind of fault, how many were planted, one at a time; how many the proof sees; "
        "and how many are seen by running the network and looking at the shape of its output.",
        made[0],
        table,
    )
