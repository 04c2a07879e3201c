"""What other pruners left, judged from two files, from what the pruners' environment wrote."""

from collections.abc import Iterator
from typing import Any

from analysis.reporting.section import Absent, Section, left_by
from analysis.reporting.tables import Table, count

__all__ = ["section"]

_TITLE = "Other pruners, judged from two files"

Pruners = list[dict[str, Any]]


def section(directory: str) -> Section | Absent:
    """Which networks other pruners pruned rightly.

    Args:
        directory: of the report; its ``pruners.json`` is read.
    """
    found = left_by("pruners", directory, _TITLE)
    if isinstance(found, Absent):
        return found
    pruners: Pruners = found["pruners"]
    networks = [each for pruner in pruners for each in pruner["networks"]]
    passed = sum(each["passed"] for each in networks)
    return Section(
        "pruners",
        _TITLE,
        (*_said(pruners, passed),),
        tables=(_verdicts(pruners), _needed(pruners)),
        gist=f"{passed} of {len(networks)} networks of {len(pruners)} pruners are pruned rightly",
    )


def _said(pruners: Pruners, passed: int) -> Iterator[str]:
    total = sum(len(pruner["networks"]) for pruner in pruners)
    yield (
        f"{len(pruners)} other pruners each pruned small networks with random weights, in an "
        "environment of their own. They left the tensors before and after, and nothing else; "
        f"`compare` found which channels stayed, and that {passed} of {total} networks are pruned "
        "rightly. `tox run -e pruners` does it again."
    )
    for pruner in pruners:
        if pruner["failure"]:
            yield f"{pruner['pruner']} did not run to its end: `{pruner['failure']}`"


def _verdicts(pruners: Pruners) -> Table:
    return Table(
        "networks that other pruners left",
        ("pruner", "how", "network", "verdict", "layers cut", "told"),
        tuple(
            (
                pruner["pruner"],
                pruner["what"],
                each["network"],
                each["verdict"] or "none",
                count(each["layers"]),
                "; ".join([*filter(None, [each["reason"]]), *map(_untied, each["untied"])]) or "-",
            )
            for pruner in pruners
            for each in pruner["networks"]
        ),
        wide=True,
    )


def _untied(tie: dict[str, Any]) -> str:
    names = " and ".join(f"`{name}`" for name in tie["names"])
    return f"{names} are no longer tied, which adds {tie['added']:,} parameters"


def _needed(pruners: Pruners) -> Table:
    return Table(
        "what each pruner was run with",
        ("pruner", "packages"),
        tuple((pruner["pruner"], ", ".join(pruner["packages"])) for pruner in pruners),
    )
