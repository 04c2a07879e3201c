"""Every model of torchvision, and networks of other packages, as ``python -m analysis.zoo`` wrote.

The networks are listed if their file is there.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from analysis.records import Verdict
from analysis.reporting.files import read_json
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table, count, share

__all__ = ["section"]

_TITLE = "Every model of torchvision"
_UPSTREAM = Path(__file__).parents[1] / "upstream.json"
"""What torch-pruning's own table says of which models."""


def section(directory: str) -> Section | Absent:
    """Every model with its verdict, beside torch-pruning's own table; then the networks.

    Args:
        directory: of the report; its ``zoo.json`` and ``networks.json`` are read.
    """
    path = Path(directory) / "zoo.json"
    if not path.is_file():
        return Absent(_TITLE, "there is no `zoo.json` in the folder (`python -m analysis.zoo`)")
    zoo, upstream = read_json(path), read_json(_UPSTREAM)
    models = zoo["models"]
    equal = [model for model in models if _is_equal(model)]
    untold = [model for model in models if model.get("untold")]
    failing = [model for model in untold if not _is_equal(model["untold"])]
    claimed = len(upstream["runs"])
    doubtful = [model["name"] for model in failing if model["name"] in upstream["runs"]]
    sentences = [
        f"{len(equal)} of torchvision's {len(models)} models, pruned by half (ratio "
        f"{zoo['ratio']:g}, {zoo['scope']} L1 ranking, output layers ignored), equal their masked "
        "dense network at every layer in float64.",
        f"torch-pruning's own table tells for which models the forward pass runs afterwards: "
        f"{claimed} of {claimed + len(upstream['fails'])} ({upstream['source']}). That a network "
        "runs is not that it is right: of those that it lists as successful, "
        f"{len(doubtful)} are not proved unless torch-pruning is told more than the model.",
        f"{len(untold)} models are pruned as torch-pruning is told by a recipe "
        f"(analysis/zoo/recipes.py); as they are, {len(failing)} of them are not proved.",
        *(
            f"`{model['name']}` is {model['verdict']}: {model['reason']}."
            for model in models
            if not _is_equal(model)
        ),
    ]
    if all("by_groups" in model for model in models):
        sentences.append(
            f"Cut by their own groups, with nothing told ({_by_groups(models)}): see `prune`."
        )
    networks = _networks_in(directory)
    if networks:
        sentences.append(_of_networks(networks))
    return Section(
        "zoo",
        _TITLE,
        tuple(sentences),
        tables=(
            _against(models, upstream),
            _by_task(models),
            *([_network_table(networks)] if networks else []),
            _told(untold),
            _all(models, upstream),
        ),
        gist=f"{len(equal)} of {len(models)} equal their masked dense network",
        tests=("tests/unit/zoo/test_networks.py", "tests/unit/zoo/test_zoo.py"),
    )


def _by_groups(found: list[dict[str, Any]]) -> str:
    """How many pass in each scope when they are cut by their groups, and which do not."""
    parts = []
    for scope in ("local", "global"):
        verdicts = {each["name"]: each["by_groups"][scope].get("verdict") for each in found}
        failing = [name for name, own in verdicts.items() if not own or not Verdict(own).passes]
        rest = f", all but {', '.join(failing)}" if failing else ""
        parts.append(f"{scope}: {len(found) - len(failing)} of {len(found)} proved{rest}")
    return "; ".join(parts)


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
        told = [model for model in those if model.get("untold")]
        rows.append(
            (
                words,
                str(len(those)),
                str(sum(_is_equal(model) for model in plain)),
                str(sum(_is_equal(model) for model in told)),
                str(sum(not _is_equal(model["untold"]) for model in told)),
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
            "of these not proved without it",
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


def _networks_in(directory: str) -> list[dict[str, Any]]:
    """The networks of other packages; none where they were not looked at."""
    path = Path(directory) / "networks.json"
    return read_json(path)["models"] if path.is_file() else []


def _of_networks(networks: list[dict[str, Any]]) -> str:
    packages = dict.fromkeys(each["package"] for each in networks)
    grouped = [each for each in networks if "unanswered" not in each["groups"]]
    counts: Counter[str] = Counter()
    for each in networks:
        counts.update(each["audit"].get("counts", {}))
    answers = ", ".join(f"{count(number)} {answer}" for answer, number in sorted(counts.items()))
    equal = [each for each in networks if _network_verdict(each) in _EQUAL]
    wrong = [each for each in networks if _network_verdict(each) == Verdict.WRONG]
    priced = [each for each in networks if each["costs"].get("macs_left") is not None]
    return (
        f"Networks of other packages ({', '.join(packages)}; `python -m analysis.zoo --networks`): "
        f"the groups of {len(grouped)} of {len(networks)} are found. torch-pruning's own view of "
        f"these groups is {answers}. Its pruner, with only the output layers ignored, leaves "
        f"{len(equal)} equal to their masked dense network and {len(wrong)} that run and compute "
        f"something else; what it leaves is predicted for {len(priced)}."
        + (
            f" By their own groups, with nothing told: {_by_groups(networks)}."
            if all("by_groups" in each for each in networks)
            else ""
        )
    )


_EQUAL = tuple(verdict for verdict in Verdict if verdict.is_equal)


def _network_verdict(network: dict[str, Any]) -> str:
    return network["pruned"].get("verdict", "-")


def _network_table(networks: list[dict[str, Any]]) -> Table:
    return Table(
        "networks of other packages",
        ("network", "package", "groups", "prunable", *_AUDITS, "MACs left", "verdict"),
        tuple(
            (
                each["name"],
                each["package"],
                count(each["groups"].get("groups")),
                count(each["groups"].get("prunable")),
                *_audit_cells(each["audit"]),
                share(_macs_left(each["costs"])),
                _network_verdict(each),
            )
            for each in networks
        ),
    )


_AUDITS = ("same", "misread", "missing", "cannot-be-cut", "cannot-be-told")


def _audit_cells(audit: dict[str, Any]) -> list[str]:
    counts = audit.get("counts")
    return [count(None if counts is None else counts.get(answer, 0)) for answer in _AUDITS]


def _macs_left(costs: dict[str, Any]) -> float | None:
    left = costs.get("macs_left")
    return None if left is None or not costs["macs"] else left / costs["macs"]
