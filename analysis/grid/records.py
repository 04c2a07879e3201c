"""What is known of a cell, and the folder where it is kept: one file a cell, written whole."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from analysis.errors import (
    AnalysisError,
    BudgetExceededError,
    InputError,
    OutOfMemoryError,
    WorkerError,
)
from analysis.grid.cells import Cell
from analysis.reporting.files import write_text

__all__ = ["End", "How", "Records", "ended_by"]

SCHEMA = 1


class How(StrEnum):
    """How a cell ended that has no answer."""

    TIME = "timeout"
    MEMORY = "out of memory"
    DIED = "died"
    REFUSED = "refused"


@dataclass(frozen=True)
class End:
    """How a cell ended.

    Attributes:
        answer: what its task returned.
        how: why there is none; None if there is.
        why: the same in words.
        limit: seconds or bytes that it may take, of a cell that took more.
    """

    answer: Any = None
    how: How | None = None
    why: str = ""
    limit: float | None = None


def ended_by(error: AnalysisError | BudgetExceededError, cell: Cell) -> End:
    """The end of a cell whose task raised, or whose process was ended."""
    if isinstance(error, BudgetExceededError):
        # A limit that the task sets itself would end it again under the same budget.
        return End(how=How.TIME, why=error.reason, limit=cell.budget)
    if isinstance(error, OutOfMemoryError):
        return End(how=How.MEMORY, why=str(error), limit=error.limit)
    return End(how=How.DIED if isinstance(error, WorkerError) else How.REFUSED, why=str(error))


class Records:
    """A folder of records.

    Args:
        folder: made where it is missing.

    Raises:
        InputError: it is a file, or holds something else.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._check()

    def read(self, cell: Cell) -> End | None:
        """How a cell ended; None if that is not known, or was by a limit that is lower than now."""
        path = self._path(cell)
        ended = _part(path, "end") if path.is_file() else None
        if ended is None:
            return None
        end = End(**{**ended, "how": How(ended["how"]) if ended["how"] else None})
        return None if _may_do_more(cell, end) else end

    def write(self, cell: Cell, end: End) -> None:
        """Keep how a cell ended, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        told = {field.name: getattr(end, field.name) for field in fields(end)}
        content = {"schema": SCHEMA, "name": cell.name, **cell.content, "end": told}
        # On one line, which Python writes four times as fast as one that is indented.
        write_text(self._path(cell), json.dumps(content, default=asdict) + "\n")

    def others(self, cells: Iterable[Cell]) -> Counter[str]:
        """How many records are of no such cell, by what of their versions is another."""
        own = {cell.digest for cell in cells}
        versions = dict(next(iter(cells)).versions)
        paths = [path for path in self._files() if path.stem not in own]
        return Counter(_told(path, versions) for path in paths)

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.digest}.json"

    def _files(self) -> Iterator[Path]:
        """All records; what begins with a dot is being written, or was."""
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if not path.name.startswith("."):
                yield path

    def _check(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{str(self.folder)!r} is a file; expected a folder of records")
        other = next((path for path in self._files() if not _NAME.fullmatch(path.name)), None)
        if other is not None:
            raise InputError(
                f"{str(self.folder)!r} is no folder of records: it holds {other.name!r}; give a "
                "new folder, or one with records alone"
            )


def _may_do_more(cell: Cell, end: End) -> bool:
    """Whether a cell that was ended by a limit has a higher one now."""
    if end.how is How.TIME:
        return cell.budget is None or cell.budget > (end.limit or 0)
    return end.how is How.MEMORY and cell.memory is not None and cell.memory > (end.limit or 0)


_NAME = re.compile(r"[0-9a-f]{64}\.json")


def _part(path: Path, name: str) -> dict[str, Any] | None:
    """A part of the record in a file; None of a file that is no record, which is made again."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))[name]
    except (ValueError, KeyError, TypeError):
        return None
    return found


def _told(path: Path, versions: dict[str, str]) -> str:
    """What of a record's versions is not as now; empty if all is."""
    before = _part(path, "versions")
    if before is None:
        return "unreadable"
    return ", ".join(
        f"{package} {before.get(package, 'none')}"
        for package, version in versions.items()
        if before.get(package) != version
    )
