"""The page on printed figures, made from an invented file."""

import json
from pathlib import Path

import pytest

from analysis.reporting.results.published import section
from analysis.reporting.section import Section

ROW = {
    "id": "a-1.0-macs", "network": "net", "setting": "x1.0", "input_size": "224", "classes": "10",
    "quantity": "macs", "value": "569", "unit": "M", "rounding": "nearest,0",
    "convention": "conv-linear", "source": "some/repository README.md:3", "verdict": "agrees",
    "reason": "", "found": "569", "met": True,
}  # fmt: skip
ROWS = [
    ROW,
    {**ROW, "id": "a-0.5-macs", "value": "529", "verdict": "misprint", "reason": "a digit",
     "met": False},
    {**ROW, "id": "b-params", "quantity": "params", "value": "7", "unit": "exact", "found": "8",
     "verdict": "unexplained", "reason": "nobody knows", "source": "other/one page.md",
     "met": False},
    {**ROW, "id": "c-params", "verdict": "not expressed", "reason": "too large", "found": None,
     "met": None},
]  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Section:
    """The section of these rows."""
    (tmp_path / "published.json").write_text(json.dumps({"schema": 1, "rows": ROWS}))
    return section(str(tmp_path))


def test_the_page_says_how_many_figures_agree_and_how_many_do_not(made: Section) -> None:
    text = "\n".join(made.paragraphs)
    assert "3 of 4 figures from 2 public sources are tested" in text
    assert "1 agree to the last digit. 1 are known misprints" in text
    assert "1 do not agree and are not explained" in text


def test_each_source_misprint_and_omission_has_its_row(made: Section) -> None:
    rows = [row for table in made.tables for row in table.rows]
    assert ("some/repository", "net", "3", "1", "1", "0", "1") in rows
    assert (
        "a-0.5-macs", "macs", "529 M", "569 M", "misprint", "a digit",
        "some/repository README.md:3",
    ) in rows  # fmt: skip
    assert ("c-params", "too large", "some/repository README.md:3") in rows
    assert ("conv-linear", "MACs", "3", "products of convolutions and linear layers") in rows


def test_a_row_whose_verdict_no_longer_holds_is_named(tmp_path: Path) -> None:
    (tmp_path / "published.json").write_text(
        json.dumps({"rows": [{**ROW, "found": "570", "met": False}]})
    )
    found = section(str(tmp_path))
    assert "`a-1.0-macs` no longer has the verdict `agrees`: 570 is found." in found.paragraphs
