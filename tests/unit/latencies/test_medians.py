"""The median of paired ratios, with an interval that assumes no distribution."""

from itertools import product

import pytest

from analysis.latencies.medians import paired, rank_of


@pytest.mark.parametrize("count", [6, 9, 12])
def test_the_interval_holds_the_median_as_often_as_all_throws_of_a_coin_say(
    count,
) -> None:
    rank, coverage = rank_of(count)
    throws = [sum(each) for each in product((0, 1), repeat=count)]  # how many lie below the median

    def held(place: int) -> float:
        return sum(place <= below <= count - place for below in throws) / len(throws)

    assert coverage == pytest.approx(held(rank))
    assert held(rank) >= 0.95 > held(rank + 1)


def test_ratios_are_of_pairs_and_not_of_medians() -> None:
    """A machine that gets ten times slower half way leaves every ratio as it is."""
    pairs = [(1.0, 0.5)] * 5 + [(10.0, 5.0)] * 5
    found = paired(pairs)
    assert (found.median, found.low, found.high) == (0.5, 0.5, 0.5)


def test_one_pair_that_was_disturbed_moves_neither_the_median_nor_the_interval() -> None:
    found = paired([(1.0, 0.5)] * 11 + [(1.0, 80.0)])
    assert (found.median, found.low, found.high) == (0.5, 0.5, 0.5)


def test_the_interval_of_six_pairs_is_from_the_least_to_the_greatest() -> None:
    found = paired([(1.0, place) for place in (3, 1, 2, 6, 5, 4)])
    assert (found.low, found.high, found.coverage) == (1, 6, 1 - 2 / 2**6)
