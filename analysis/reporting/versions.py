"""The report's section on other versions of torch-pruning, from what each was found to do."""

from collections.abc import Sequence
from pathlib import Path

from analysis import baseline_csv
from analysis.baseline import Row
from analysis.known import KNOWN
from analysis.reporting.sections import Section
from analysis.reporting.tables import Table

__all__ = ["read", "section"]

_PREFIX = "torch-pruning-"

Found = dict[str, tuple[Row, ...]]
"""By version of torch-pruning, the numbers of the case study."""


def read(directory: str) -> Found | None:
    """What stands in ``versions/`` of a report's directory.

    Returns:
        By version, in order; None where no version was tried.

    Raises:
        InputError: a file is not a baseline; names it and the line.
    """
    files = sorted((Path(directory) / "versions").glob(f"{_PREFIX}*.csv"))
    found = {
        path.stem.removeprefix(_PREFIX): baseline_csv.read(path.read_text("utf-8"), str(path))
        for path in files
        if not path.name.endswith(".new.csv")  # what a failed run proposes
    }
    return found or None


def section(found: Found) -> Section:
    """What differs between the versions; where a verdict does, the numbers behind it do as well."""
    values = {version: {row.key: str(row.value) for row in rows} for version, rows in found.items()}
    keys = sorted({key for rows in values.values() for key in rows})
    differing = [key for key in keys if len({rows.get(key) for rows in values.values()}) > 1]
    judged = {key[:-1] for key in differing if key[-1] == "verdict"}
    told = [key for key in differing if key[-1] == "verdict" or key[:-1] not in judged]
    sentences = [
        f"{len({key[0] for key in keys})} networks, the case study's and one for each kind of "
        f"layer, were pruned and proved with torch-pruning {_listed(tuple(found))} on the same "
        f"torch. Of {len(keys)} verdicts and numbers of channels, MACs, parameters and bytes "
        f"{len(keys) - len(differing)} are the same in all of them.",
        *(
            f"Known of {entry.pruner}x: `{entry.model}` is not proved; {entry.reason}."
            for entry in KNOWN
            if entry.pruner
        ),
        "Recorded and checked by `tox run -m matrix`, which fails where a version does anything "
        "else than stands in `reports/versions/`.",
    ]
    table = Table(
        "what differs between versions of torch-pruning",
        ("network", "policy", "scope", "ratio", "of", *found),
        tuple(
            (*map(str, key), *(values[version].get(key, "-") for version in found)) for key in told
        ),
    )
    return Section(
        "versions",
        "Versions of torch-pruning",
        tuple(sentences),
        (table,) if told else (),
        tests="tests/versions/test_kinds_of_layers.py",
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
