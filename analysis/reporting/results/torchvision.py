"""The page on the models of torchvision, made from what ``python -m analysis.zoo`` wrote."""

from pathlib import Path
from typing import Any

from analysis.records import Verdict
from analysis.reporting.files import read_json
from analysis.reporting.results.by_groups import by_groups
from analysis.reporting.section import Section
from analysis.reporting.tables import Table, count, share

__all__ = ["section"]

_UPSTREAM = Path(__file__).parents[1] / "upstream.json"
"""torch-pruning's own table: which models run after pruning."""


def section(directory: str) -> Section:
    """Every model with its verdict, beside torch-pruning's own table.

    Args:
        directory: holds ``zoo.json``.
    """
    zoo, upstream = read_json(Path(directory) / "zoo.json"), read_json(_UPSTREAM)
    models = zoo["models"]
    with_recipe = [model for model in models if model.get("untold")]
    return Section(
        "torchvision",
        "Every model of torchvision",
        (
            _on_equality(zoo),
            _on_upstream(with_recipe, upstream),
            _on_recipes(with_recipe),
            *(
                f"`{model['name']}` is {model['verdict']}: {model['reason']}."
                for model in models
                if not _is_equal(model)
            ),
            f"`prune`, which needs no recipe, proves {by_groups(models)}.",
        ),
        tables=(
            _against(models, upstream),
            _by_task(models),
            _recipes(with_recipe),
            _all(models, upstream),
        ),
        tests=("tests/unit/zoo/test_zoo.py",),
    )


def _on_equality(zoo: dict[str, Any]) -> str:
    models = zoo["models"]
    return (
        f"{sum(map(_is_equal, models))} of torchvision's {len(models)} models are pruned by half "
        f"(ratio {zoo['ratio']:g}, {zoo['scope']} L1 ranking, output layers ignored) and equal "
        "their masked dense network at every layer in float64."
    )


def _on_upstream(with_recipe: list[dict[str, Any]], upstream: dict[str, Any]) -> str:
    claimed = len(upstream["runs"])
    doubtful = [
        model
        for model in with_recipe
        if model["name"] in upstream["runs"] and not _is_equal(model["untold"])
    ]
    return (
        f"torch-pruning's own table lists the models whose forward pass runs after pruning: "
        f"{claimed} of {claimed + len(upstream['fails'])} ({upstream['source']}). A network that "
        f"runs can still be wrong: {len(doubtful)} of those that it lists as successful are "
        "proved only with a recipe, which gives torch-pruning more than the model."
    )


def _on_recipes(with_recipe: list[dict[str, Any]]) -> str:
    failing = sum(not _is_equal(model["untold"]) for model in with_recipe)
    return (
        f"{len(with_recipe)} models have a recipe (`analysis/zoo/recipes.py`). Without it, "
        f"{failing} of them are not proved."
    )


def _is_equal(answer: dict[str, Any]) -> bool:
    return Verdict(answer["verdict"]).is_equal


def _claim(model: dict[str, Any], upstream: dict[str, Any]) -> str:
    """What torch-pruning's table says of a model."""
    return next((claim for claim in ("runs", "fails") if model["name"] in upstream[claim]), "-")


def _against(models: list[dict[str, Any]], upstream: dict[str, Any]) -> Table:
    rows = []
    for claim, words in (("runs", "runs"), ("fails", "fails"), ("-", "not listed")):
        those = [model for model in models if _claim(model, upstream) == claim]
        plain = [model for model in those if not model.get("untold")]
        with_recipe = [model for model in those if model.get("untold")]
        rows.append(
            (
                words,
                str(len(those)),
                str(sum(_is_equal(model) for model in plain)),
                str(sum(_is_equal(model) for model in with_recipe)),
                str(sum(not _is_equal(model["untold"]) for model in with_recipe)),
                str(sum(not _is_equal(model) for model in those)),
            )
        )
    return Table(
        "torch-pruning's own table against the proof",
        (
            "upstream says",
            "models",
            "equal as they are",
            "equal with a recipe",
            "not proved without it",
            "not equal",
        ),
        tuple(rows),
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
                f"{_greatest(of_task):.0e}",
            )
            for task in tasks
            for of_task in [[model for model in models if model["task"] == task]]
        ),
    )


def _greatest(models: list[dict[str, Any]]) -> float:
    errors = [m["max_rel_error"] or 0.0 for m in models if _is_equal(m)]
    return max(errors, default=0.0)


def _recipes(with_recipe: list[dict[str, Any]]) -> Table:
    return Table(
        "models with a recipe: the verdict with it, and without it",
        ("model", "recipe", "verdict", "without it", "because"),
        tuple(
            (
                model["name"],
                model["told"],
                model["verdict"],
                model["untold"]["verdict"],
                model["untold"]["reason"] or "-",
            )
            for model in with_recipe
        ),
        wide=True,
    )


def _all(models: list[dict[str, Any]], upstream: dict[str, Any]) -> Table:
    return Table(
        "every model",
        (
            "model",
            "task",
            "input",
            "upstream",
            "verdict",
            "rel. error",
            "removed",
            "params left",
            "seconds",
        ),
        tuple(
            (
                model["name"],
                model["task"],
                " and ".join("x".join(map(str, size)) for size in model["sizes"]),
                _claim(model, upstream),
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
