"""Cells on this machine: a process a worker, each ended by its limits, used for cell after cell."""

import os
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import wait

import psutil

from analysis.errors import AnalysisError, BudgetExceededError, InstallationError, WorkerError
from analysis.grid.cells import Cell
from analysis.grid.records import End, ended_by
from analysis.processes.workers import Worker

__all__ = ["Local", "Slot", "cores"]

_OF_THE_MEMORY = 0.9
"""The part of a machine's memory that cells share."""


def cores() -> int:
    """Those that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


@dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Attributes:
        workers: how many; 0 takes one for each core.
        anew: whether each subject has a new process, where what is left behind would matter.
        threads: of each process; sums are rounded by how many there are, so that with one an answer
            is the same on every machine. 0 shares out the cores.
    """

    workers: int = 0
    anew: bool = False
    threads: int = 1

    def answers(self, cells: Iterable[Cell]) -> Generator[tuple[Cell, End | None]]:
        """Each cell with its end, as it ends; None if it was ended from outside.

        Raises:
            InstallationError: what the work imports does not import.
        """
        left = _Left(cells)
        count = min(self.workers or cores(), len(left)) or 1
        threads = self.threads or max(cores() // count, 1)
        with ExitStack() as open_:
            slots = [
                open_.enter_context(Slot(threads, 1 / count, anew=self.anew)) for _ in range(count)
            ]
            while left or any(slot.cell for slot in slots):
                for slot in slots:
                    if slot.cell is None and left:
                        slot.take(left.next_for(slot.subject, [each.subject for each in slots]))
                yield from _ended([slot for slot in slots if slot.cell is not None])


def _ended(running: Sequence["Slot"]) -> Iterator[tuple[Cell, End | None]]:
    """Wait until a process is to be looked at, and give what has ended."""
    times = [time for slot in running if (time := slot.worker.patience) is not None]
    wait([slot.worker.pipe for slot in running], min(times, default=None))
    for slot in running:
        if slot.worker.has_ended():
            yield slot.give()


class _Left:
    """The cells that nobody has taken, by subject."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._cells: dict[str, deque[Cell]] = {}
        for cell in cells:
            self._cells.setdefault(cell.subject, deque()).append(cell)

    def __len__(self) -> int:
        return sum(map(len, self._cells.values()))

    def __bool__(self) -> bool:
        return bool(self._cells)

    def next_for(self, subject: str | None, busy: Collection[str | None]) -> Cell:
        """One of the subject that a process knows, or of one that no other is at, or any."""
        first = next(iter(self._cells))
        free = next((name for name in self._cells if name not in busy), first)
        chosen = subject if subject in self._cells else free
        cells = self._cells[chosen]
        cell = cells.popleft()
        if not cells:
            del self._cells[chosen]
        return cell


class Slot:
    """One process at a time, which does one cell at a time.

    Args:
        threads: for each torch operation.
        of_memory: the part of what cells share of ``memory`` that one cell may hold.
        memory: bytes; None is the machine's.
        place: the folder that the process works in; None is this process's.
        anew: whether each subject has a new process.

    Attributes:
        subject: of the last cell.
        cell: what is being done.
    """

    def __init__(
        self,
        threads: int,
        of_memory: float,
        memory: float | None = None,
        place: str | None = None,
        *,
        anew: bool = False,
    ) -> None:
        whole = memory or psutil.virtual_memory().total
        self.subject: str | None = None
        self.cell: Cell | None = None
        self._memory = whole * _OF_THE_MEMORY * of_memory
        self._threads = threads
        self._place = place
        self._anew = anew
        self._worker: Worker | None = None

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    @property
    def worker(self) -> Worker:
        """The process of the cell."""
        assert self._worker is not None
        return self._worker

    def take(self, cell: Cell) -> None:
        """Begin a cell, in a new process if the last one had other work."""
        is_other = self._anew and cell.subject != self.subject
        if self._worker is not None and (is_other or self._worker.module != cell.module):
            self.close()
        if self._worker is None:
            self._worker = Worker(cell.module, threads=self._threads, quiet=True, place=self._place)
        self.cell, self.subject = cell, cell.subject
        memory = self._memory if cell.memory is None else cell.memory
        self._worker.submit(cell.function, *cell.arguments, budget=cell.budget, memory=memory)

    def give(self) -> tuple[Cell, End | None]:
        """The cell and how it ended; None if somebody ended it from outside.

        Raises:
            InstallationError: what the work imports does not import.
        """
        assert self.cell is not None
        cell, self.cell = self.cell, None
        try:
            return cell, End(self.worker.result())
        except InstallationError:
            raise
        except (AnalysisError, BudgetExceededError) as error:
            told_to_end = isinstance(error, WorkerError) and error.was_told_to_end
            return cell, None if told_to_end else ended_by(error, cell)

    def do(self, cell: Cell) -> End | None:
        """A cell from its beginning to its end, see `give`."""
        self.take(cell)
        while not self.worker.has_ended():
            wait([self.worker.pipe], self.worker.patience)
        return self.give()[1]
