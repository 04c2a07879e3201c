"""A collection of networks, analysed part by part in processes that can be ended, and reported.

Every part is a cell whose end is kept under ``.records/``; when all are there they are written to
one file.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.environment import MISSING, PACKAGES, versions
from analysis.errors import InputError
from analysis.grid.cells import Cell
from analysis.grid.engine import run as run_cells
from analysis.grid.local import Local
from analysis.grid.records import End, Records
from analysis.grid.sources import made_with
from analysis.reporting.files import write_text
from analysis.zoo import RATIO, SCOPE

__all__ = ["Gathered", "Part", "Record", "compare", "run"]

Record = dict[str, Any]

_STORE = Path(".records")


@dataclass(frozen=True)
class Part:
    """One thing that is asked of a network.

    Attributes:
        function: of the collection's module, that takes the network's name first.
        arguments: what else it takes.
        budget: seconds.
    """

    function: str
    arguments: tuple[Any, ...]
    budget: float


@dataclass(frozen=True)
class Gathered:
    """Networks that are looked at alike.

    Attributes:
        name: of the collection.
        subjects: by name.
        module: what the working process imports.
        parts: what is asked of a network within a budget, by key.
        record: what is kept of a network: its name, subject, and how each part ended.
        sorted_by: the key of a record by which the summary sorts.
        failures: what of a record is not as it should be, by place.
        line: a record in a line.
        known: the file of the failures that are known: by network a reason and, by place, what it
            is.
        packages: that the networks are of, beside those that everything needs.
        extra: of this project, which installs them.
        heavy: networks of which two at once do not fit in memory.
        store: the folder of the cells' records.
    """

    name: str
    subjects: Mapping[str, Any]
    module: str
    parts: Callable[[Any, float], Mapping[str, Part]]
    record: Callable[[str, Any, Mapping[str, End]], Record]
    sorted_by: str
    failures: Callable[[Record], dict[str, str]]
    line: Callable[[Record], str]
    known: Path
    packages: tuple[str, ...] = ()
    extra: str = ""
    heavy: frozenset[str] = frozenset()
    store: Path = _STORE

    @property
    def versions(self) -> dict[str, str]:
        """What the records are made with."""
        return versions((*PACKAGES, *self.packages))

    def cells(self, name: str, budget: float) -> dict[str, Cell]:
        """What is asked of a network, by key."""
        return {
            key: Cell(
                f"{name}: {key}",
                f"{self.module}:{part.function}",
                (name, *part.arguments),
                subject=name,
                versions=made_with(self.packages),
                budget=part.budget,
            )
            for key, part in self.parts(self.subjects[name], budget).items()
        }


def run(
    gathered: Gathered, names: Collection[str], out: str, budget: float, fresh: bool = False
) -> int:
    """Look at what has no record; 1 if something is not as known, 2 if it cannot start.

    Args:
        gathered: the collection.
        names: only these, printed and not written; empty is all of them.
        out: the file that is written.
        budget: seconds a network.
        fresh: look again at those with a record.
    """
    chosen = list(names or gathered.subjects)
    trouble = _trouble(gathered, chosen)
    if trouble:
        print(trouble, file=sys.stderr)
        return 2
    records = _records(gathered, chosen, budget, fresh)
    if names:
        for record in records:
            print(gathered.line(record))
        return 0
    content = {
        "schema": 1,
        "versions": gathered.versions,
        "ratio": RATIO,
        "scope": SCOPE,
        "models": records,
    }
    write_text(out, json.dumps(content, indent=1, sort_keys=True) + "\n")
    print(_summary(gathered, records))
    print(f"wrote {out}")
    known = json.loads(gathered.known.read_text())
    surprises = compare(records, known, gathered.failures)
    print("\n".join(surprises) or f"every verdict is what {gathered.known.name} says")
    return 1 if surprises else 0


def compare(
    records: Iterable[Record],
    known: Mapping[str, Mapping[str, str]],
    failures: Callable[[Record], dict[str, str]],
) -> list[str]:
    """What is not as known: a failure that is not listed, a listed one that passes.

    Args:
        records: of the networks.
        known: failures by network and place, beside the ``reason``.
        failures: see `Gathered`.
    """
    found = {
        (record["name"], place): what
        for record in records
        for place, what in failures(record).items()
    }
    listed = {
        (name, place): what
        for name, entry in known.items()
        for place, what in entry.items()
        if place != "reason"
    }
    return [
        f"{name} ({place}): {found.get((name, place), 'passes')}, "
        f"and known as {listed.get((name, place), 'passing')}"
        for name, place in sorted(found.keys() | listed.keys())
        if found.get((name, place)) != listed.get((name, place))
    ]


def _trouble(gathered: Gathered, chosen: Iterable[str]) -> str:
    """Why it cannot start, in a line; empty if it can."""
    unknown = next((name for name in chosen if name not in gathered.subjects), None)
    if unknown is not None:
        expected = ", ".join(gathered.subjects)
        return f"no network {unknown!r} in the {gathered.name}; expected one of {expected}"
    absent = next((p for p, version in gathered.versions.items() if version == MISSING), None)
    if absent is not None:
        wanted = f"'.[{gathered.extra}]'" if absent in gathered.packages else absent
        return f"{absent} is not installed: pip install {wanted}"
    return ""


def _records(gathered: Gathered, names: list[str], budget: float, fresh: bool) -> list[Record]:
    """The record of each network, in this order; the heaviest are looked at alone, at the end.

    Raises:
        InputError: a part was ended from outside.
    """
    cells = {name: gathered.cells(name, budget) for name in names}
    ends: dict[str, End] = {}
    for heavy, workers in ((False, 0), (True, 1)):
        todo = [
            cell
            for name in names
            if (name in gathered.heavy) == heavy
            for cell in cells[name].values()
        ]
        # What a package leaves behind in a process is of no other network.
        executor, kept = Local(workers, anew=True, threads=0), Records(gathered.store)
        for cell, end in run_cells(todo, executor, kept, fresh=fresh, title=gathered.name):
            if end is None:
                raise InputError(f"{cell.name} was ended from outside; run it again")
            ends[cell.digest] = end
    return [
        gathered.record(
            name,
            gathered.subjects[name],
            {key: ends[cell.digest] for key, cell in cells[name].items()},
        )
        for name in names
    ]


def _summary(gathered: Gathered, records: list[Record]) -> str:
    lines = []
    for kind in dict.fromkeys(record[gathered.sorted_by] for record in records):
        of_kind = [record for record in records if record[gathered.sorted_by] == kind]
        failing = [record for record in of_kind if "verdict" in gathered.failures(record)]
        lines.append(f"{kind}: {len(of_kind) - len(failing)} of {len(of_kind)} proved")
        lines += [f"  {gathered.line(record)}" for record in failing]
    return "\n".join(lines)
