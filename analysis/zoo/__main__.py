"""``python -m analysis.zoo``: prove every model that has no record yet, in parallel.

One record a model is kept under ``.zoo/``; a record counts while the code and the versions it was
made with are the same. When all are there they are written to ``reports/zoo.json``.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.environment import versions
from analysis.errors import BudgetExceededError, WorkerError
from analysis.processes.workers import Worker
from analysis.records import Verdict
from analysis.reporting.files import write_text

_STORE = Path(".zoo")


def main(argv: Sequence[str] | None = None) -> int:
    """Prove what has no record; 1 if a verdict is not what `KNOWN` says."""
    options = _options(argv)
    subjects = import_module("analysis.zoo.subjects").SUBJECTS
    chosen = options.models or list(subjects)
    unknown = [name for name in chosen if name not in subjects]
    if unknown:
        print(f"no model {unknown[0]!r} in the zoo; expected names of torchvision", file=sys.stderr)
        return 2
    stamp = _stamp()
    missing = [name for name in chosen if options.fresh or _read(name, stamp) is None]
    _prove_all(missing, subjects, stamp, options.budget)
    records = [_read(name, stamp) for name in chosen]
    if options.models:
        for record in records:
            print(_line(record))
        return 0
    content = {
        "schema": 1,
        "versions": versions(),
        "ratio": 0.5,
        "scope": "local",
        "models": records,
    }
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    print(_summary(records))
    print(f"wrote {options.out}")
    surprises = compare(records, json.loads(KNOWN.read_text()))
    print("\n".join(surprises) or f"every verdict is what {KNOWN.name} says")
    return 1 if surprises else 0


KNOWN = Path(__file__).with_name("expected_failures.json")
"""What does not pass and why, by model: ``verdict`` as it is, ``untold`` without its recipe."""


def compare(records: Iterable[dict[str, Any] | None], known: dict[str, Any]) -> list[str]:
    """What is not as known: a failure that is not listed, a listed one that passes.

    Args:
        records: of the models, as ``reports/zoo.json`` holds them.
        known: as `KNOWN` holds it.
    """
    found = {
        (record["name"], place): answer["verdict"]
        for record in records
        if record
        for place, answer in (("verdict", record), ("untold", record.get("untold")))
        if answer and not Verdict(answer["verdict"]).is_equal
    }
    listed = {
        (name, place): entry[place]
        for name, entry in known.items()
        for place in ("verdict", "untold")
        if place in entry
    }
    return [
        f"{name} ({'as it is' if place == 'untold' else 'with what it is told'}): "
        f"{found.get((name, place), 'proved')}, and known as {listed.get((name, place), 'proved')}"
        for name, place in sorted(found.keys() | listed.keys())
        if found.get((name, place)) != listed.get((name, place))
    ]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis.zoo", description=__doc__)
    parser.add_argument("models", nargs="*", help="only these, printed and not written")
    parser.add_argument("--fresh", action="store_true", help="prove those with a record again")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds a model (600)")
    parser.add_argument("--out", default="reports/zoo.json")
    return parser.parse_args(argv)


def _prove_all(names: list[str], subjects: Any, stamp: str, budget: float) -> None:
    """Models on one worker a core, the heaviest alone at the end: two would not fit in memory."""
    heavy = [name for name in names if name in _HEAVY]
    light = [name for name in names if name not in _HEAVY]
    cores = os.cpu_count() or 1
    with tqdm(total=len(names), desc="zoo", unit="model", disable=None) as bar:
        for part, workers in ((light, cores), (heavy, 1)):
            with ThreadPoolExecutor(workers) as pool:
                threads = max(cores // workers, 1)
                futures = [
                    pool.submit(_prove_one, name, subjects[name], stamp, budget, threads)
                    for name in part
                ]
                for future in as_completed(futures):
                    bar.set_postfix_str(future.result())
                    bar.update()


_HEAVY = frozenset({"vit_h_14", "regnet_y_128gf"})


def _prove_one(name: str, subject: Any, stamp: str, budget: float, threads: int) -> str:
    """Prove one model in a process that ends with it, and keep the record."""
    with Worker("analysis.zoo.proving", threads=threads) as worker:
        record = _answer(worker, name, subject, budget, told=True)
        if subject.recipe is not None:
            plain = _answer(worker, name, subject, min(budget, _PLAIN_SECONDS), told=False)
            record["untold"] = {key: plain[key] for key in ("verdict", "reason")}
    _STORE.mkdir(exist_ok=True)
    write_text(str(_STORE / f"{name}.json"), json.dumps({"stamp": stamp, "record": record}))
    return f"{name}: {record['verdict']}"


_PLAIN_SECONDS = 60.0
"""For a model without its recipe: group building that ends at all ends sooner."""


def _answer(
    worker: Worker, name: str, subject: Any, budget: float, *, told: bool
) -> dict[str, Any]:
    try:
        return asdict(worker.call("prove", name, told, budget=budget))
    except BudgetExceededError as error:
        return _failed(name, subject, Verdict.TIMEOUT, f"{error} while {error.step}", budget)
    except WorkerError as error:
        return _failed(name, subject, Verdict.BROKEN, str(error), None)


def _failed(
    name: str, subject: Any, verdict: Verdict, reason: str, seconds: float | None
) -> dict[str, Any]:
    return {
        "name": name,
        "task": subject.task,
        "sizes": subject.sizes,
        "told": subject.recipe.told if subject.recipe else "",
        "verdict": verdict.value,
        "reason": reason,
        "max_rel_error": None,
        "removed": None,
        "params_before": None,
        "params_after": None,
        "seconds": seconds,
    }


def _read(name: str, stamp: str) -> dict[str, Any] | None:
    path = _STORE / f"{name}.json"
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    record: dict[str, Any] | None = kept["record"] if kept["stamp"] == stamp else None
    return record


def _stamp() -> str:
    """Of the code that makes a record, and of the versions it runs with."""
    root = Path(__file__).parents[1]
    code = [
        path.read_bytes() for path in sorted(root.rglob("*.py")) if "reporting" not in path.parts
    ]
    return hashlib.sha256(b"".join(code) + repr(versions()).encode()).hexdigest()


def _line(record: dict[str, Any] | None) -> str:
    assert record is not None
    error = record["max_rel_error"]
    shown = "" if error is None else f" {error:.0e}"
    return (
        f"{record['name']}: {record['verdict']}{shown} in {record['seconds']} s {record['reason']}"
    )


def _summary(records: list[dict[str, Any] | None]) -> str:
    lines = []
    for task in dict.fromkeys(record["task"] for record in records if record):
        of_task = [record for record in records if record and record["task"] == task]
        proved = [r for r in of_task if Verdict(r["verdict"]).is_equal]
        lines.append(f"{task}: {len(proved)} of {len(of_task)} proved")
        lines += [f"  {_line(record)}" for record in of_task if record not in proved]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
