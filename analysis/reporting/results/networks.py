"""The page on networks of other packages, from what ``python -m analysis.zoo --networks`` wrote."""

from collections import Counter
from pathlib import Path
from typing import Any

from analysis.records import Verdict
from analysis.reporting.files import read_json
from analysis.reporting.results.by_groups import by_groups
from analysis.reporting.section import Section
from analysis.reporting.tables import Table, count, share

__all__ = ["section"]


def section(directory: str) -> Section:
    """Each network with its groups, torch-pruning's view of them, its costs and its verdict.

    Args:
        directory: holds ``networks.json``.
    """
    networks = read_json(Path(directory) / "networks.json")["models"]
    return Section(
        "networks",
        "Networks of other packages",
        (
            _on_groups(networks),
            _on_pruning(networks),
            f"`prune` proves {by_groups(networks)}.",
        ),
        tables=(_network_table(networks),),
        tests=("tests/unit/zoo/test_networks.py",),
    )


def _on_groups(networks: list[dict[str, Any]]) -> str:
    packages = dict.fromkeys(each["package"] for each in networks)
    grouped = [each for each in networks if "unanswered" not in each["groups"]]
    counts: Counter[str] = Counter()
    for each in networks:
        counts.update(each["audit"].get("counts", {}))
    answers = ", ".join(f"{count(number)} `{answer}`" for answer, number in sorted(counts.items()))
    return (
        f"{len(networks)} networks of {', '.join(packages)}. The groups of {len(grouped)} of them "
        f"are found. torch-pruning's view of these groups is {answers}."
    )


def _on_pruning(networks: list[dict[str, Any]]) -> str:
    equal = [each for each in networks if _network_verdict(each) in _EQUAL]
    wrong = [each for each in networks if _network_verdict(each) == Verdict.WRONG]
    predicted = [each for each in networks if each["costs"].get("macs_left") is not None]
    return (
        f"torch-pruning's own pruner, with only the output layers ignored, leaves {len(equal)} "
        f"equal to their masked dense network. {len(wrong)} run and compute another function. "
        f"The MACs left are predicted for {len(predicted)}."
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
