"""Cells in, records out: as they end, in any order; reported in the order of the cells."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from tqdm import tqdm

from analysis.grid.cells import Cell, once
from analysis.grid.records import End, Records

__all__ = ["Executor", "missing", "run"]


class Executor(Protocol):
    """What does cells."""

    def answers(self, cells: Iterable[Cell]) -> Generator[tuple[Cell, End | None]]:
        """Each cell with its end, as it ends; None if it was ended from outside."""


def run(
    cells: Sequence[Cell],
    executor: Executor,
    records: Records | None = None,
    *,
    fresh: bool = False,
    title: str = "cells",
    on_end: Callable[[Cell, End | None], object] | None = None,
) -> Iterator[tuple[Cell, End | None]]:
    """Do what has no record, and tell every cell with its end, in their order.

    What ended is kept at once, so that whatever ends this process loses only what is being done.

    Args:
        cells: what is to be done.
        executor: where.
        records: where ends are kept; None keeps them for this call alone.
        fresh: do again what has a record.
        title: of the progress that a terminal shows.
        on_end: called with each cell and its end as it ends; what it raises ends the run.

    Returns:
        Cells with their ends; None of one that was ended from outside.

    Raises:
        InputError: a record cannot be written, or the executor cannot work.
    """
    todo = missing(cells, records, fresh=fresh)
    ends: dict[int, End | None] = {}
    with (
        tqdm(total=len(cells), initial=len(cells) - len(todo), desc=title, disable=None) as bar,
        closing(executor.answers(todo)) as answers,
    ):
        for cell, end in answers:
            if on_end is not None:
                on_end(cell, end)
            if records is None:
                ends[id(cell)] = end
            elif end is not None:
                records.write(cell, end)
            bar.set_postfix_str(cell.name, refresh=False)
            bar.update()
    read = records.read if records is not None else lambda cell: ends.get(id(cell))
    return ((cell, read(cell)) for cell in cells)


def missing(cells: Iterable[Cell], records: Records | None, *, fresh: bool = False) -> list[Cell]:
    """Those without a record, each once."""
    if records is None:
        return list(cells)
    return [cell for cell in once(cells) if fresh or records.read(cell) is None]
