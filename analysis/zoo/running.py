"""A collection of networks, each looked at in a process of its own, and what was found kept.

One record a network is kept under ``.zoo/``; a record counts while the code and the versions it was
made with are the same. When all are there they are written to one file.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.environment import MISSING, PACKAGES, versions
from analysis.processes.workers import Worker
from analysis.reporting.files import write_text
from analysis.zoo import RATIO, SCOPE

__all__ = ["Gathered", "Record", "compare", "run"]

Record = dict[str, Any]

_STORE = Path(".zoo")


@dataclass(frozen=True)
class Gathered:
    """Networks that are looked at alike.

    Attributes:
        name: of the collection.
        subjects: by name.
        module: what the working process imports.
        look: makes the record of a network: working process, name, subject and budget.
        sorted_by: the key of a record by which the summary sorts.
        failures: what of a record is not as it should be, by place.
        line: a record in a line.
        known: the file of the failures that are known: by network a reason and, by place, what it
            is.
        packages: that the networks are of, beside those that everything needs.
        extra: of this project, which installs them.
        heavy: networks of which two at once do not fit in memory.
        store: the folder of the records.
    """

    name: str
    subjects: Mapping[str, Any]
    module: str
    look: Callable[[Worker, str, Any, float], Record]
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
    stamp = _stamp(gathered)
    missing = [name for name in chosen if fresh or _read(gathered, name, stamp) is None]
    _look_at_all(gathered, missing, stamp, budget)
    records = [record for name in chosen if (record := _read(gathered, name, stamp))]
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


def _look_at_all(gathered: Gathered, names: list[str], stamp: str, budget: float) -> None:
    """Networks on one worker a core, the heaviest alone at the end."""
    heavy = [name for name in names if name in gathered.heavy]
    light = [name for name in names if name not in gathered.heavy]
    cores = os.cpu_count() or 1
    with tqdm(total=len(names), desc=gathered.name, unit="network", disable=None) as bar:
        for part, workers in ((light, cores), (heavy, 1)):
            with ThreadPoolExecutor(workers) as pool:
                threads = max(cores // workers, 1)
                futures = [
                    pool.submit(_look_at, gathered, name, stamp, budget, threads) for name in part
                ]
                for future in as_completed(futures):
                    bar.set_postfix_str(future.result())
                    bar.update()


def _look_at(gathered: Gathered, name: str, stamp: str, budget: float, threads: int) -> str:
    """Look at one network in a process that ends with it, and keep the record."""
    with Worker(gathered.module, threads=threads) as worker:
        record = gathered.look(worker, name, gathered.subjects[name], budget)
    gathered.store.mkdir(parents=True, exist_ok=True)
    kept = json.dumps({"stamp": stamp, "record": record})
    write_text(gathered.store / f"{name}.json", kept)
    return f"{name}: {gathered.failures(record).get('verdict', 'proved')}"


def _read(gathered: Gathered, name: str, stamp: str) -> Record | None:
    path = gathered.store / f"{name}.json"
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    return kept["record"] if kept["stamp"] == stamp else None


def _stamp(gathered: Gathered) -> str:
    """Of the code that makes a record, and of the versions it runs with."""
    root = Path(__file__).parents[1]
    code = [
        path.read_bytes() for path in sorted(root.rglob("*.py")) if "reporting" not in path.parts
    ]
    return hashlib.sha256(b"".join(code) + repr(gathered.versions).encode()).hexdigest()


def _summary(gathered: Gathered, records: list[Record]) -> str:
    lines = []
    for kind in dict.fromkeys(record[gathered.sorted_by] for record in records):
        of_kind = [record for record in records if record[gathered.sorted_by] == kind]
        failing = [record for record in of_kind if "verdict" in gathered.failures(record)]
        lines.append(f"{kind}: {len(of_kind) - len(failing)} of {len(of_kind)} proved")
        lines += [f"  {gathered.line(record)}" for record in failing]
    return "\n".join(lines)
