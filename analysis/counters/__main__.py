"""``python -m analysis.counters``: count torchvision's classification models by three routes.

Some of them are counted by other counters too. All is written to ``counters.json``; nothing in it
depends on the machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from analysis.counters.others import COUNTERS, LEFT_OUT
from analysis.counters.routes import entries
from analysis.environment import versions
from analysis.errors import InputError
from analysis.grid.cells import Cell
from analysis.grid.engine import run
from analysis.grid.local import Local
from analysis.grid.records import Records
from analysis.grid.sources import made_with
from analysis.reporting.files import check_writable, write_text

_COMPARED = {
    "mobilenet_v2": 224,
    "resnet50": 224,
    "densenet121": 224,
    "inception_v3": 299,
    "efficientnet_b0": 224,
    "mnasnet1_0": 224,
    "regnet_y_400mf": 224,
    "convnext_tiny": 224,
    "vit_b_16": 224,
    "swin_t": 224,
    "maxvit_t": 224,
}
"""Models given to every counter, with the input size: families that differ in their operators."""


def main(argv: Sequence[str] | None = None) -> int:
    """Count, write and summarize; 1 if the routes disagree somewhere, 2 if it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m analysis.counters", description=__doc__)
    parser.add_argument("--out", default="reports", help="directory of counters.json (reports)")
    target = Path(parser.parse_args(argv).out) / "counters.json"
    try:
        check_writable(target)
        asked = [
            {"name": counter.name, "version": counter.version, "call": counter.call}
            for counter in COUNTERS
        ]
        routes, compared = _count_all()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed: pip install '.[counters]'", file=sys.stderr)
        return 2
    content = {
        "schema": 1,
        "versions": versions(),
        "routes": routes,
        "counters": asked,
        "left_out": LEFT_OUT,
        "models": compared,
    }
    write_text(target, json.dumps(content, indent=1) + "\n")
    print(_summary(routes, compared))
    print(f"wrote {target}")
    return 0 if all(route["agree"] for route in routes) else 1


def _count_all() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each entry by three routes, and those compared by every counter.

    One model is held at a time: the greatest takes gigabytes.

    Raises:
        InputError: a model was not counted.
    """
    of = made_with(counter.package for counter in COUNTERS)
    cells = [
        Cell(
            f"{entry.model} at {entry.size}",
            "analysis.counters.counting:counted",
            (entry, _COMPARED.get(entry.model) == entry.size),
            versions=of,
            budget=_SECONDS,
        )
        for entry in entries()
    ]
    found = []
    for cell, end in run(cells, Local(1, threads=0), Records(_STORE), title="counters"):
        if end is None or end.how is not None:
            raise InputError(f"{cell.name} was not counted: {end.why if end else 'it was ended'}")
        found.append(end.answer)
    compared = [each["compared"] for each in found if each["compared"] is not None]
    order = list(_COMPARED)
    routes = [each["route"] for each in found]
    return routes, sorted(compared, key=lambda each: order.index(each["model"]))


_STORE = Path(".records")
_SECONDS = 600.0


def _summary(routes: list[dict[str, Any]], compared: list[dict[str, Any]]) -> str:
    apart = [route for route in routes if not route["agree"]]
    answers = [answer for model in compared for answer in model["answers"]]
    explained = sum(answer.get("unexplained") == 0 for answer in answers)
    lines = [
        f"{len(routes) - len(apart)} of {len(routes)} entries agree by three routes",
        *(f"  {route['model']} at {route['size']} does not" for route in apart),
        f"{explained} of {len(answers)} answers of other counters are explained to the last MAC",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
