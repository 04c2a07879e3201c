"""CI draws a part of long rows of tests; an environment of its own runs all of them."""

import configparser
import re
from pathlib import Path

import drawn
import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def a_fifth(monkeypatch) -> None:
    """Whatever the environment says that runs this test."""
    monkeypatch.setattr(drawn, "SHARE", 5)


@pytest.mark.parametrize("count", [5, 6, 10, 23])
def test_every_fifth_is_drawn(count: int) -> None:
    for of in range(20):
        taken = drawn.part(range(count), of)
        assert taken[0] < 5
        assert taken == list(range(taken[0], count, 5))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_of_fewer_one_is_drawn(count: int) -> None:
    assert [len(drawn.part(range(count), of)) for of in range(20)] == [1] * 20
    assert drawn.part([], "nothing") == []


@pytest.mark.parametrize("count", [2, 5, 12])
def test_rows_of_different_things_have_other_members_drawn_until_all_are(count: int) -> None:
    names = [f"network {number}" for number in range(60)]
    assert {member for name in names for member in drawn.part(range(count), name)} == {
        *range(count)
    }


def test_all_are_drawn_where_that_is_asked(monkeypatch) -> None:
    monkeypatch.setattr(drawn, "SHARE", 1)
    assert drawn.part("hello", "of") == list("hello")
    assert drawn.draws(250).max_examples == 250


def test_a_property_draws_ten_networks_at_the_least() -> None:
    assert [drawn.draws(count).max_examples for count in (4, 10, 40, 250)] == [4, 10, 10, 50]


def test_the_environment_that_draws_all_runs_every_file_that_draws() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(TESTS.parent / "tox.ini")
    assert "{[drawn]files}" in tox["testenv:properties"]["commands"]
    assert "DRAWN = all" in tox["testenv:properties"]["set_env"]
    named = tox["drawn"]["files"].split()
    draw = {
        str(path.relative_to(TESTS.parent))
        for path in TESTS.rglob("test_*.py")
        if re.search(r"^from drawn import .*\b(part|draws)\b", path.read_text(), re.MULTILINE)
    }
    assert {path for path in draw if not path.startswith("tests/properties/")} == {
        path for path in named if path != "tests/properties"
    }
    assert "tests/properties" in named
