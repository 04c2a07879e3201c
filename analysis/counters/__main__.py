"""``python -m analysis.counters``: count torchvision's classification models by three routes.

Some of them are counted by other counters too. All is written to ``counters.json``; nothing in it
depends on the machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from analysis.counters.others import COUNTERS, LEFT_OUT, Counter, count
from analysis.counters.reasons import reasons
from analysis.counters.routes import (
    Entry,
    agree,
    build,
    by_flop_counter,
    by_handles,
    entries,
    example,
)
from analysis.counters.work import Work, observe
from analysis.environment import versions
from analysis.errors import InputError
from analysis.network.inference import one_line
from analysis.records import COLUMNS, CostTable
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
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed: pip install '.[counters]'", file=sys.stderr)
        return 2
    routes, compared = _count_all()
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
    """
    routes, compared = [], []
    with tqdm(list(entries()), desc="counters", unit="model", disable=None) as bar:
        for entry in bar:
            bar.set_postfix_str(f"{entry.model} at {entry.size}")
            model = build(entry.model, entry.size)
            table = by_handles(model, entry.size)
            if _COMPARED.get(entry.model) == entry.size:
                compared.append(_compare(entry, model, table))
            routes.append(_route(entry, table, by_flop_counter(model, entry.size)))
    order = list(_COMPARED)
    return routes, sorted(compared, key=lambda found: order.index(found["model"]))


def _route(entry: Entry, table: CostTable, flop_counter: int) -> dict[str, Any]:
    return {
        **asdict(entry),
        "by_handles": table.products,
        "by_flop_counter": flop_counter,
        "columns": dict(zip(COLUMNS, table.columns, strict=True)),
        "agree": agree(table.products, flop_counter, entry.published),
    }


def _compare(entry: Entry, model: nn.Module, table: CostTable) -> dict[str, Any]:
    """What every counter says of the model, and why."""
    image = example(entry.size)
    work = observe(model, image, table)
    return {
        "model": entry.model,
        "size": entry.size,
        "products": table.products,
        "answers": [_ask(counter, model, image, work) for counter in COUNTERS],
    }


def _ask(counter: Counter, model: nn.Module, image: Tensor, work: Work) -> dict[str, Any]:
    try:
        macs = count(counter, model, image)
    except Exception as error:
        # Another's counter may raise anything; that it does is its answer.
        return {"counter": counter.name, "error": one_line(error)}
    parts = reasons(counter.name, work)
    return {
        "counter": counter.name,
        "macs": macs,
        "parts": parts,
        "unexplained": macs - work.table.products - sum(parts.values()),
    }


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
