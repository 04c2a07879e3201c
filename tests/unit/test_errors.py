"""Words that messages share."""

from pathlib import Path

import pytest

from analysis.errors import an, several
from analysis.network.labels import reasons
from analysis.records import ratio_text


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("int", "an int"), ("Linear", "a Linear"), ("OrderedDict", "an OrderedDict"),
        ("UNet", "a UNet"), ("Upsample", "an Upsample"), ("LSTM", "an LSTM"), ("GRU", "a GRU"),
        ("NoneType", "a NoneType"),
    ],
)  # fmt: skip
def test_a_class_has_its_article(word: str, expected: str) -> None:
    assert an(word) == expected


def test_one_thing_has_no_plural() -> None:
    assert [several(count, "tensor") for count in (0, 1, 2, 1234)] == [
        "0 tensors", "1 tensor", "2 tensors", "1,234 tensors",
    ]  # fmt: skip


def test_the_smallest_ratio_that_asks_for_a_channel_has_no_digits() -> None:
    found = [ratio_text(ratio) for ratio in (0.0, 2**-53, 1e-5, 0.46875, 0.5)]
    assert found == ["0", "just above 0", "1e-05", "0.46875", "0.5"]


def test_the_page_on_groups_lists_the_reasons_as_they_are_printed() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "groups.md"
    _, table = page.read_text("utf-8").split("| reason |")
    rows = [line.split("|")[1].strip() for line in table.partition("\n\n")[0].splitlines()[2:]]
    printed = [getattr(reasons, name) for name in reasons.__all__ if name != "ADVICE"]
    assert len(rows) > 9
    assert [row for row in rows if not any(each.startswith(row) for each in printed)] == []
    assert len({*printed}) == len(printed)
    assert reasons.ADVICE.keys() <= {*printed}
