"""What each version of torch-pruning does is on record for every kind of layer."""

import csv
from pathlib import Path

import pytest
from blocks import PROVED

RECORDS = Path(__file__).parents[2] / "reports" / "versions"
FILES = [path for path in sorted(RECORDS.glob("*.csv")) if ".new" not in path.name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_kind_of_layer_is_on_record(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        recorded = {row["model"] for row in csv.DictReader(file)}
    assert PROVED.keys() <= recorded


def test_three_versions_are_on_record() -> None:
    assert len(FILES) >= 3
