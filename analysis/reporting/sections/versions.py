"""How versions of torch-pruning differ, from their recorded numbers."""

from pathlib import Path

from analysis.gate import baseline_csv
from analysis.gate.baseline import Row
from analysis.gate.expected_failures import EXPECTED_FAILURES
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table
from analysis.reporting.words import listed

__all__ = ["section"]

_PREFIX = "torch-pruning-"

_Found = dict[str, tuple[Row, ...]]
"""By version of torch-pruning, the numbers of the case study."""

_TITLE = "Versions of torch-pruning"


def _read(directory: str) -> _Found:
    files = sorted((Path(directory) / "versions").glob(f"{_PREFIX}*.csv"))
    return {
        path.stem.removeprefix(_PREFIX): baseline_csv.read(path.read_text("utf-8"), str(path))
        for path in files
        if not path.name.endswith(".new.csv")  # what a failed run proposes
    }


def section(directory: str) -> Section | Absent:
    """What differs between the versions; where a verdict does, the numbers behind it do as well.

    Args:
        directory: of the report; the baselines in its ``versions/`` are read.

    Raises:
        InputError: a file is not a baseline; names it and the line.
    """
    found = _read(directory)
    if not found:
        return Absent(_TITLE, "other versions were not tried (`tox run -m matrix`)")
    values = {version: {row.key: str(row.value) for row in rows} for version, rows in found.items()}
    keys = sorted({key for rows in values.values() for key in rows})
    differing = [key for key in keys if len({rows.get(key) for rows in values.values()}) > 1]
    judged = {key[:-1] for key in differing if key[-1] == "verdict"}
    rows = [key for key in differing if key[-1] == "verdict" or key[:-1] not in judged]
    sentences = [
        f"{len({key[0] for key in keys})} networks, the case study's and one for each kind of "
        f"layer, were pruned and proved with torch-pruning {listed(tuple(found))} on the same "
        f"torch. Of {len(keys)} verdicts and numbers of channels, MACs, parameters and bytes "
        f"{len(keys) - len(differing)} are the same in all of them.",
        *(
            f"Expected of {entry.pruner}x: `{entry.model}` is not proved; {entry.reason}."
            for entry in EXPECTED_FAILURES
            if entry.pruner
        ),
        "`tox run -m matrix` checks this against the recorded numbers in `reports/versions/`.",
    ]
    table = Table(
        "what differs between versions of torch-pruning",
        ("network", "policy", "scope", "ratio", "of", *found),
        tuple(
            (*map(str, key), *(values[version].get(key, "-") for version in found)) for key in rows
        ),
    )
    return Section(
        "versions",
        _TITLE,
        tuple(sentences),
        tables=(table,) if rows else (),
        gist=f"{len(keys) - len(differing)} of {len(keys)} verdicts and numbers are the same in "
        f"{listed(tuple(found))}",
        tests=("tests/versions/test_kinds_of_layers.py",),
    )
