"""The page on printed figures, made from what ``tox run -e published`` wrote."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.records import CONVENTIONS
from analysis.reporting.files import read_json
from analysis.reporting.section import Section
from analysis.reporting.tables import Table, count

__all__ = ["section"]

Rows = list[dict[str, Any]]


def section(directory: str) -> Section:
    """How many printed figures the cost model reproduces, and why it does not reproduce the others.

    Args:
        directory: holds ``published.json``.
    """
    rows: Rows = read_json(Path(directory) / "published.json")["rows"]
    return Section(
        "published",
        "Printed figures",
        (*_on_agreement(rows),),
        tables=(_sources(rows), _wrong(rows), _left_out(rows), _conventions(rows), _every(rows)),
    )


def _on_agreement(rows: Rows) -> Iterator[str]:
    found = Counter(row["verdict"] for row in rows)
    tested = len(rows) - found["not expressed"]
    yield (
        f"{tested} of {len(rows)} figures from {len(_by_source(rows))} public sources are tested: "
        "MACs, FLOPs and parameters of networks at width multipliers, at uniform ratios and at "
        "widths layer by layer. Each is predicted from a dense network by the closed form, under "
        "the convention of whoever printed it, and held to the printed digits."
    )
    yield (
        f"{found['agrees']} agree to the last digit. {found['misprint']} are known misprints, "
        f"{found['unexplained']} do not agree and are not explained; both are expected failures, "
        f"so that one which agrees after all fails. {found['not expressed']} are not tested, "
        "with the reason. `tox run -e published` tests them again."
    )
    for row in rows:
        if row["met"] not in (None, row["verdict"] == "agrees"):
            yield (
                f"`{row['id']}` no longer has the verdict `{row['verdict']}`: "
                f"{row['found']} is found."
            )


def _source(row: dict[str, Any]) -> str:
    """The repository of a source, which its text begins with."""
    return str(row["source"]).split()[0]


def _by_source(rows: Rows) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for row in sorted(rows, key=_source):
        found.setdefault(_source(row), []).append(row)
    return found


def _sources(rows: Rows) -> Table:
    verdicts = ("agrees", "misprint", "unexplained", "not expressed")
    return Table(
        "figures by the repository that prints them",
        ("source", "networks", "figures", *verdicts),
        tuple(
            (
                source,
                ", ".join(dict.fromkeys(row["network"] for row in own)),
                count(len(own)),
                *(count(sum(row["verdict"] == verdict for row in own)) for verdict in verdicts),
            )
            for source, own in _by_source(rows).items()
        ),
    )


def _wrong(rows: Rows) -> Table:
    return Table(
        "figures that are not what the printed widths cost",
        ("row", "quantity", "printed", "found", "verdict", "why", "source"),
        tuple(
            (
                row["id"],
                row["quantity"],
                _shown(row, "value"),
                _shown(row, "found"),
                row["verdict"],
                row["reason"],
                row["source"],
            )
            for row in rows
            if row["verdict"] in ("misprint", "unexplained")
        ),
    )


def _shown(row: dict[str, Any], figure: str) -> str:
    unit = "" if row["unit"] == "exact" else f" {row['unit']}"
    return f"{row[figure]}{unit}"


def _left_out(rows: Rows) -> Table:
    return Table(
        "figures that are not tested",
        ("row", "why", "source"),
        tuple(
            (row["id"], row["reason"], row["source"])
            for row in rows
            if row["verdict"] == "not expressed"
        ),
    )


def _conventions(rows: Rows) -> Table:
    used = Counter(row["convention"] for row in rows if row["verdict"] != "not expressed")
    return Table(
        "conventions that the figures are counted by",
        ("convention", "unit", "figures", "what counts"),
        tuple(
            (name, rule.unit, count(used[name]), rule.says)
            for name, rule in CONVENTIONS.items()
            if used[name]
        ),
    )


def _every(rows: Rows) -> Table:
    headers = ("network", "setting", "input", "quantity", "printed", "found")
    return Table(
        "every figure",
        (*headers, "convention", "verdict", "source"),
        tuple(
            (
                row["network"],
                row["setting"],
                row["input_size"] or "-",
                row["quantity"],
                _shown(row, "value"),
                "-" if row["found"] is None else _shown(row, "found"),
                row["convention"] or "-",
                row["verdict"],
                row["source"],
            )
            for row in rows
        ),
        wide=True,
    )
