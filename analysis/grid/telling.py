"""What a grid says on a terminal."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from analysis.grid.cells import Cell
from analysis.grid.records import End

__all__ = ["ended", "notes", "planned"]

_SHOWN = 20
"""Cells that do not pass are listed one by one up to this many."""


def notes(again: int, others: Counter[str]) -> list[str]:
    """What stands below either.

    Args:
        again: how many cells are described that others equal.
        others: records of no such cell, see `analysis.grid.records.Records.others`.
    """
    cells = f"{again} cell{' is' if again == 1 else 's are'}"
    described = [f"{cells} described again, by equal subjects; one of each is enough"]
    return [*(described if again else ()), *_of(others)]


def planned(cells: Sequence[Cell], todo: Sequence[Cell], notes: Iterable[str]) -> str:
    """Every cell and whether it is done."""
    missing = {cell.digest for cell in todo}
    lines = [
        f"{cell.digest[:12]} {'to do' if cell.digest in missing else 'done '} {cell.name}"
        for cell in cells
    ]
    return "\n".join([*lines, f"{len(missing)} of {len(cells)} cells to do", *notes])


def ended(found: Iterable[tuple[Cell, End | None]], notes: Iterable[str]) -> tuple[bool, str]:
    """Whether all cells pass, and how many ended how with those that do not pass.

    Cells are looked at one by one: all records of a large grid would not fit in memory.
    """
    counts: Counter[str] = Counter()
    lines: list[str] = []
    failing = 0
    for cell, end in found:
        counts[_word(end)] += 1
        if not _passed(end):
            failing += 1
            lines += [f"{cell.name}: {_told(end)}"] if failing <= _SHOWN else []
    if failing > _SHOWN:
        lines.append(f"and {failing - _SHOWN} more that do not pass")
    summary = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    total = counts.total()
    lines.append(f"{total} cell{'' if total == 1 else 's'}: {summary}")
    return not failing, "\n".join([*lines, *notes])


def _passed(end: End | None) -> bool:
    """Whether a cell has a verdict, and every check passes that was run."""
    if end is None or end.how is not None:
        return False
    return all(check["passed"] for check in end.answer["runs"][0]["checks"])


def _word(end: End | None) -> str:
    """A verdict, or how the cell ended without one."""
    if end is None:
        return "missing"
    return str(end.how or end.answer["runs"][0]["verdict"])


def _told(end: End | None) -> str:
    if end is None:
        return "missing: its process was ended from outside; run again"
    if end.how is not None:
        return f"{end.how}: {end.why}"
    (run,) = end.answer["runs"]
    failed = [check for check in run["checks"] if not check["passed"]]
    return "; ".join(f"{check['name']}: {check['message']}" for check in failed)


def _of(others: Counter[str]) -> Iterator[str]:
    for what, number in others.items():
        made = f"made with other versions ({what})" if what else "of other cells"
        yield f"{number} records in the folder are {made}; they are left as they are"
