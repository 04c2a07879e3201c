"""Words that messages share."""

import pytest

from analysis.errors import an, several
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
