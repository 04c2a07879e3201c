"""The report's section on accuracy, from a file that is made up."""

import json
from pathlib import Path

import pytest

from analysis.reporting.section import Absent, Section
from analysis.reporting.sections.accuracy import section, standard_error


def pruning(scope: str, ratio: float, pruned: float, finetuned: float) -> dict:
    return {
        "ignore": "classifier", "scope": scope, "ratio": ratio, "verdict": "exact", "passed": True,
        "macs": 0.5, "params": 0.25, "pruned": pruned, "finetuned": finetuned,
    }  # fmt: skip


MEASURED = {
    "schema": 1, "network": "net", "width": 0.5, "input_size": [3, 16, 16], "weights": "",
    "epochs": 3, "trained_on": 1198, "held_out": 400, "dense": 0.95,
    "prunings": [
        pruning("local", 0.3, 0.9, 0.95),
        pruning("local", 0.8, 0.1, 0.8),
        pruning("global", 0.8, 0.2, 0.75),
    ],
}  # fmt: skip


def test_the_gist_is_of_the_greatest_ratio(tmp_path: Path) -> None:
    (tmp_path / "accuracy.json").write_text(json.dumps(MEASURED))
    found = section(str(tmp_path))
    assert isinstance(found, Section)
    assert found.gist == (
        "at 80%, 10.0% to 20.0% of the digits are recognized, and 75.0% to 80.0% after 3 epochs of "
        "fine-tuning; 95.0% by the dense network"
    )
    assert "a standard error of 2.5%, one of 95 % of 1.1%" in found.paragraphs[1]
    row = ("classifier", "local", "0.3", "exact", "50.0%", "25.0%", "90.0%", "95.0%")
    assert found.tables[0].rows[0] == row


def test_a_standard_error_is_that_of_tosses_of_a_coin() -> None:
    """Of two tosses, the share of heads is 0, 1/2, 1/2 or 1: a variance of 1/8."""
    assert standard_error(0.5, 2) == pytest.approx((1 / 8) ** 0.5)


def test_without_the_file_it_says_how_it_is_made(tmp_path: Path) -> None:
    found = section(str(tmp_path))
    assert isinstance(found, Absent)
    assert "tox run -e accuracy" in found.why
