"""The page on counters, made from what ``python -m analysis.counters`` wrote."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.records import CONVENTIONS, COUNTERS
from analysis.reporting.files import read_json
from analysis.reporting.section import Section
from analysis.reporting.tables import Table, count

__all__ = ["section"]


def section(directory: str) -> Section:
    """Whether three routes give one number, and why other counters give another.

    Args:
        directory: holds ``counters.json``.
    """
    counters: dict[str, Any] = read_json(Path(directory) / "counters.json")
    routes, models = counters["routes"], counters["models"]
    return Section(
        "counters",
        "Counters compared",
        (
            *_on_routes(routes),
            *_on_others(models),
            *(f"`{name}` is left out: {reason}." for name, reason in counters["left_out"].items()),
        ),
        tables=(
            _differences(models),
            _reasons(counters["counters"], models),
            _called(counters["counters"]),
            _parts(models),
            _routes(routes),
        ),
        tests=("tests/unit/counters/test_counters.py",),
    )


def _on_routes(routes: list[dict[str, Any]]) -> Iterator[str]:
    agreeing = sum(route["agree"] for route in routes)
    models = len({route["model"] for route in routes})
    yield (
        f"{agreeing} of {len(routes)} entries ({models} classification models of torchvision, once "
        "for each input size that their weights are published for) agree by every route: the MACs "
        "of convolutions, linear layers and attention that `count_macs` counts are to the last one "
        "those of fvcore with this project's handles, and half of what torch's FlopCounterMode "
        "counts, and round to the `_ops` that torchvision publishes (in 1e9 MACs, to three "
        "decimals). Norms and pooling are those of fvcore in each layer."
    )
    for route in routes:
        if not route["agree"]:
            yield (
                f"`{route['model']}` at {route['size']} does not agree: `count_macs` says "
                f"{count(route['by_pass'])}, fvcore {count(route['by_handles'])}, "
                f"FlopCounterMode {count(route['by_flop_counter'])}, "
                f"and {route['published']} is published."
            )


def _on_others(models: list[dict[str, Any]]) -> Iterator[str]:
    answers = [(model, answer) for model in models for answer in model["answers"]]
    explained = sum(answer.get("unexplained") == 0 for _, answer in answers)
    yield (
        "Other counters add what is no product (norms, activations, pooling, bias), and miss "
        "products: those of functions, those of classes they do not know, or all but one "
        "position's. Their rules, applied to the calls of one forward pass, explain "
        f"{explained} of {len(answers)} answers to the last MAC."
    )
    for model, answer in answers:
        if "error" in answer:
            yield f"{answer['counter']} does not count `{model['model']}`: {answer['error']}."
        elif answer["unexplained"]:
            yield (
                f"{_signed(answer['unexplained'])} MACs of {answer['counter']}'s answer for "
                f"`{model['model']}` are unexplained."
            )


def _differences(models: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(a["counter"] for model in models for a in model["answers"]))
    return Table(
        "how far other counters are from the number of the three routes",
        ("model", "input", "MACs", *names),
        tuple(
            (
                model["model"],
                str(model["size"]),
                count(model["products"]),
                *(_difference(model, answer) for answer in model["answers"]),
            )
            for model in models
        ),
    )


def _difference(model: dict[str, Any], answer: dict[str, Any]) -> str:
    return "error" if "error" in answer else _change(answer["macs"] - model["products"], model)


def _change(macs: int, model: dict[str, Any]) -> str:
    """As a share of the three routes' number; a small one does not look like none."""
    part = macs / model["products"]
    if abs(part) >= 0.0005:
        return f"{part:+.1%}"
    return f"{part:+.3%}" if abs(part) >= 0.000005 else f"{'-' if part < 0 else '+'}<0.001%"


def _reasons(asked: list[dict[str, Any]], models: list[dict[str, Any]]) -> Table:
    """One row a reason, the weightiest of each counter first."""
    rows = []
    for counter in asked:
        found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for model in models:
            for answer in model["answers"]:
                if answer["counter"] == counter["name"]:
                    for reason, macs in answer.get("parts", {}).items():
                        found.setdefault(reason, []).append((macs, model))
        most = {reason: max(parts, key=_weight) for reason, parts in found.items()}
        rows += [
            (
                counter["name"],
                reason,
                str(len(found[reason])),
                f"{_change(*most[reason])} ({most[reason][1]['model']})",
            )
            for reason in sorted(most, key=lambda reason: -_weight(most[reason]))
        ]
    return Table(
        "why: what each counter adds, and what it misses",
        ("counter", "counts", "models", "at most"),
        tuple(rows),
    )


def _weight(part: tuple[int, dict[str, Any]]) -> float:
    macs, model = part
    return abs(macs) / model["products"]


def _called(asked: list[dict[str, Any]]) -> Table:
    return Table(
        "how each counter is asked; none of these numbers is halved",
        ("counter", "version", "call", "unit", "what counts"),
        tuple(
            (each["name"], each["version"], f"`{each['call']}`", *_convention(each["name"]))
            for each in asked
        ),
    )


def _convention(counter: str) -> tuple[str, str]:
    """The unit of a counter, and what counts."""
    rule = CONVENTIONS.get(COUNTERS.get(counter, ""))
    return ("-", "-") if rule is None else (rule.unit, rule.says)


def _parts(models: list[dict[str, Any]]) -> Table:
    return Table(
        "every difference and what it is the sum of",
        ("model", "counter", "MACs", "difference in MACs", "because", "unexplained MACs"),
        tuple(
            (
                model["model"],
                answer["counter"],
                count(answer["macs"]),
                _signed(answer["macs"] - model["products"]),
                "; ".join(f"{_signed(macs)} {why}" for why, macs in answer["parts"].items()),
                count(answer["unexplained"]),
            )
            for model in models
            for answer in model["answers"]
            if "error" not in answer
        ),
        wide=True,
    )


def _routes(routes: list[dict[str, Any]]) -> Table:
    return Table(
        "every model by every route",
        (
            "model",
            "input",
            "MACs by count_macs",
            "MACs by fvcore with handles",
            "FLOPs by FlopCounterMode / 2",
            "published, G MACs",
            "agree",
        ),
        tuple(
            (
                route["model"],
                str(route["size"]),
                count(route["by_pass"]),
                count(route["by_handles"]),
                count(route["by_flop_counter"]),
                f"{route['published']:.3f}",
                "yes" if route["agree"] else "no",
            )
            for route in routes
        ),
        wide=True,
    )


def _signed(number: int) -> str:
    return f"{number:+,}"
