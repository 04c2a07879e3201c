"""The report's section on the zoo, from the file that ``python -m analysis.zoo`` wrote."""

import json
from pathlib import Path
from typing import Any

from analysis.reporting.sections import Section
from analysis.reporting.tables import Table, count, share

__all__ = ["read", "section"]

_EQUAL = ("exact", "renormalized")


def read(directory: str) -> dict[str, Any] | None:
    """What stands in ``zoo.json`` of a report's directory; None if there is none."""
    path = Path(directory) / "zoo.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


def section(zoo: dict[str, Any]) -> Section:
    """Every model with its verdict, and what torch-pruning had to be told."""
    models = zoo["models"]
    equal = [model for model in models if model["verdict"] in _EQUAL]
    untold = [model for model in models if model.get("untold")]
    failing = [model for model in untold if model["untold"]["verdict"] not in _EQUAL]
    sentences = [
        f"{len(equal)} of torchvision's {len(models)} models, pruned by half (ratio "
        f"{zoo['ratio']:g}, {zoo['scope']} L1 ranking, output layers ignored), equal their masked "
        "dense network at every layer in float64. torch-pruning's own table says that the forward "
        "pass runs for 77 of 85 (examples/torchvision_models/readme.md of its repository).",
        f"{len(untold)} models are pruned as torch-pruning is told by a recipe "
        f"(analysis/zoo/recipes.py): as they are, {len(failing)} of them are not proved.",
        *(
            f"`{model['name']}` is {model['verdict']}: {model['reason']}."
            for model in models
            if model["verdict"] not in _EQUAL
        ),
    ]
    return Section(
        "zoo",
        "Every model of torchvision",
        tuple(sentences),
        (_by_task(models), _told(untold), _all(models)),
        tests="tests/unit/test_zoo.py",
    )


def _by_task(models: list[dict[str, Any]]) -> Table:
    tasks = dict.fromkeys(model["task"] for model in models)
    verdicts = dict.fromkeys(model["verdict"] for model in models)
    return Table(
        "models by task and verdict",
        ("task", "models", *verdicts, "greatest rel. error"),
        tuple(
            (
                task,
                str(len(of_task)),
                *(str(sum(m["verdict"] == verdict for m in of_task)) for verdict in verdicts),
                f"{max(m['max_rel_error'] or 0.0 for m in of_task if m['verdict'] in _EQUAL):.0e}",
            )
            for task in tasks
            for of_task in [[model for model in models if model["task"] == task]]
        ),
    )


def _told(untold: list[dict[str, Any]]) -> Table:
    return Table(
        "what torch-pruning is told, and what it makes of the model otherwise",
        ("model", "told", "verdict", "untold", "because"),
        tuple(
            (
                model["name"],
                model["told"],
                model["verdict"],
                model["untold"]["verdict"],
                model["untold"]["reason"] or "-",
            )
            for model in untold
        ),
    )


def _all(models: list[dict[str, Any]]) -> Table:
    return Table(
        "every model",
        ("model", "task", "input", "verdict", "rel. error", "removed", "params left", "seconds"),
        tuple(
            (
                model["name"],
                model["task"],
                " and ".join("x".join(map(str, size)) for size in model["sizes"]),
                model["verdict"],
                "-" if model["max_rel_error"] is None else f"{model['max_rel_error']:.0e}",
                count(model["removed"]),
                share(_left(model)),
                "-" if model["seconds"] is None else f"{model['seconds']:g}",
            )
            for model in models
        ),
        wide=True,
    )


def _left(model: dict[str, Any]) -> float | None:
    before, after = model["params_before"], model["params_after"]
    return None if after is None or not before else after / before
