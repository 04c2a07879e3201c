"""Cells on a running cluster of dask.distributed, given by its scheduler."""

import multiprocessing
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any

from analysis.environment import OWN
from analysis.errors import InputError
from analysis.grid.cells import Cell
from analysis.grid.local import Slot
from analysis.grid.records import End
from analysis.grid.sources import made_with

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Cluster"]

_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_COME_BACK = 300.0
"""What a scheduler that was there is waited for."""

_CELLS_A_TASK = 16
"""At most: what the scheduler does for a task costs a tenth of a short cell."""

_TASKS, _TASKS_A_THREAD = 64, 4
"""At least, so that all workers have some, those that come later too, and end at about the same
time."""

_SECONDS_A_TASK = 1.0
"""After these a worker gives back what it has not begun, so that ends come soon."""


@dataclass(frozen=True)
class Cluster:
    """Workers of a cluster: each does cells in processes that it can end, as `Local` does.

    Attributes:
        scheduler: its address, or the file that it wrote with ``--scheduler-file``.
        resources: of a worker that each cell takes.
    """

    scheduler: str
    resources: Mapping[str, float] = field(default_factory=dict)

    def answers(self, cells: Iterable[Cell]) -> Generator[tuple[Cell, End | None]]:
        """Each cell with its end, as it ends; None of one that workers died of time and again.

        A scheduler that is lost is waited for, and given what is left.

        Raises:
            InputError: no scheduler answers, or a worker has other versions.
        """
        left = dict(enumerate(cells))
        seconds = _SECONDS_TO_ANSWER
        while left:
            with _connected(self.scheduler, seconds) as client:
                for number, end in self._answers(client, left):
                    yield left.pop(number), end
            seconds = _SECONDS_TO_COME_BACK

    def _answers(
        self, client: "Client", left: Mapping[int, Cell]
    ) -> Generator[tuple[int, End | None]]:
        """The ends that come before the scheduler is lost."""
        from distributed import as_completed

        _compare(client, left.values())
        work = partial(_answer, sent=_send(client, left.values()))
        asked: dict[Future[Any], Sequence[int]] = {}
        running = as_completed(loop=client.loop)

        def ask(tasks: Iterable[Sequence[int]]) -> None:
            cells = [[left[number] for number in numbers] for numbers in tasks]
            futures = client.map(work, cells, pure=False, resources=dict(self.resources) or None)
            asked.update(zip(futures, tasks, strict=True))
            running.update(futures)

        ask(_tasks(left, sum(client.nthreads().values())))
        for future in running:
            if future.status == "cancelled":  # with the scheduler
                return
            numbers = asked.pop(future)
            ends = self._ends(future, len(numbers))
            yield from zip(numbers, ends, strict=False)
            if rest := numbers[len(ends) :]:
                ask([[number] for number in rest])

    def _ends(self, future: "Future[Any]", count: int) -> Sequence[End | None]:
        """What a task gives: the ends of the first of its cells, as many as it came to.

        None is of a cell that workers died of; of several cells it is not known which one it is.
        """
        from distributed import KilledWorker

        error = future.exception()
        if error is None:
            ends: Sequence[End | None] = future.result()
            return ends
        if isinstance(error, KilledWorker):
            return [None] if count == 1 else []
        if isinstance(error, InputError):
            raise error
        told = " ".join(str(error).split())
        raise InputError(f"a worker of {self.scheduler} cannot work: {told}") from error


def _tasks(cells: Mapping[int, Cell], threads: int) -> list[Sequence[int]]:
    """The numbers of the cells, those of one subject together where there are many."""
    least = max(_TASKS, _TASKS_A_THREAD * threads)
    most = min(_CELLS_A_TASK, -(-len(cells) // least))
    of_subjects = [[*of] for _, of in groupby(cells, key=lambda number: cells[number].subject)]
    return [of[at : at + most] for of in of_subjects for at in range(0, len(of), most)]


@contextmanager
def _connected(scheduler: str, seconds: float) -> Generator["Client"]:
    """A client of the scheduler.

    Raises:
        InputError: dask.distributed is not installed, or nobody answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(f"--scheduler needs dask: pip install '{OWN}[cluster]'") from None
    is_file = Path(scheduler).is_file()
    try:
        client = (
            Client(scheduler_file=scheduler, timeout=seconds, set_as_default=False)
            if is_file
            else Client(scheduler, timeout=seconds, set_as_default=False)
        )
    except (OSError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"no scheduler answers at {scheduler!r} ({why}); expected the address that "
            "`dask scheduler` prints, or its --scheduler-file"
        ) from error
    with client:
        yield client


def _compare(client: "Client", cells: Iterable[Cell]) -> None:
    """Refuse to begin where a worker would give other answers.

    Raises:
        InputError: names a worker, and what is another there.
    """

    def told(packages: list[str]) -> dict[str, str] | None:
        # Inside, it is sent as it is: a worker without this package could not import it.
        try:
            from analysis.grid.sources import made_with
        except ImportError:
            return None
        return dict(made_with(packages))

    if not client.scheduler_info(n_workers=-1)["workers"]:
        print("waiting for a worker of the cluster", file=sys.stderr)
        client.wait_for_workers(1)
    wanted = dict(pair for cell in cells for pair in cell.versions)
    for worker, versions in client.run(told, [*wanted]).items():
        _check(worker, versions, wanted)


def _check(worker: str, versions: Mapping[str, str] | None, wanted: Mapping[str, str]) -> None:
    if versions is None:
        raise InputError(f"worker {worker} has no {OWN}; install what is installed here")
    for package, version in wanted.items():
        if versions[package] != version:
            raise InputError(
                f"worker {worker} has {package} {versions[package]}, and here is {version}; "
                "install the same on both"
            )


def _send(client: "Client", cells: Iterable[Cell]) -> str:
    """Give every worker, those to come too, the user's files; the name of their folder there.

    A file outside of this folder is taken to be where it is on every machine.
    """
    from distributed import WorkerPlugin

    class Sent(WorkerPlugin):
        """Writes the files where a worker keeps its own."""

        def __init__(self, name: str, files: Mapping[str, bytes]) -> None:
            self.name, self.files = name, files

        def setup(self, worker: Any) -> None:
            for path, content in self.files.items():
                target = Path(worker.local_directory, self.name, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)

    digests = {pair for cell in cells for pair in cell.files if not Path(pair[0]).is_absolute()}
    name = f"cells-{sha256(repr(sorted(digests)).encode()).hexdigest()[:16]}"
    files = {path: Path(path).read_bytes() for path, _ in digests}
    client.register_plugin(Sent(name, files), name=name)
    return name


_slots = local()
"""Of each thread of a worker its own process, and what it works in."""


def _answer(cells: Sequence[Cell], sent: str) -> list[End | None]:
    """What a thread of a worker does: cell after cell, as many as there is time for.

    Raises:
        InputError: the worker joined later, and has other versions.
    """
    from distributed import get_worker

    worker, until = get_worker(), time.monotonic() + _SECONDS_A_TASK
    wanted = dict(pair for cell in cells for pair in cell.versions)
    _check(worker.address, _versions(tuple(wanted)), wanted)
    slot, ends = _slot(worker, sent), []
    for cell in cells:
        ends.append(slot.do(cell))
        if time.monotonic() > until:
            break
    return ends


@cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return dict(made_with(packages))


def _slot(worker: Any, sent: str) -> Slot:
    known: tuple[str, Slot] | None = getattr(_slots, "known", None)
    if known is not None and known[0] == sent:
        return known[1]
    if known is not None:
        known[1].close()
    # dask makes its workers daemons, which Python lets begin no processes; ours end with it.
    process: Any = multiprocessing.current_process()
    process._config["daemon"] = False
    place = Path(worker.local_directory, sent)
    place.mkdir(parents=True, exist_ok=True)
    slot = Slot(1, 1 / worker.state.nthreads, worker.memory_manager.memory_limit, str(place))
    _slots.known = sent, slot
    return slot
