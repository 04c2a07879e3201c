"""What was tried to meet targets, and which of it is recommended."""

from dataclasses import dataclass

from analysis.records.runs import Run

__all__ = ["Advice", "Point"]


@dataclass(frozen=True)
class Point:
    """One pruning that was tried, with the command that makes it."""

    run: Run
    command: str


@dataclass(frozen=True)
class Advice:
    """Prunings side by side.

    Attributes:
        points: in the order in which they were tried.
        recommended: the place of one of them; None where none meets what was asked.
        reason: why that one, or why none.
        front: places of those than which no other is as good in all that was measured.
        unmeasured: what nothing is known of, in words.
    """

    points: tuple[Point, ...]
    recommended: int | None
    reason: str
    front: tuple[int, ...]
    unmeasured: tuple[str, ...]
