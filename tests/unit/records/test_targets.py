"""What is to be left at most, as every function takes it."""

import pytest

from analysis.errors import InputError
from analysis.records import Network, Request, Target, targets_of
from analysis.records.targets import share_beside

BOTH = (Target("macs", 0.45), Target("params", 1.2e6))


@pytest.mark.parametrize(
    "given",
    [
        "macs=0.45,params=1.2e6",
        " macs = .45 , params=1200000 ",
        {"macs": 0.45, "params": 1.2e6},
        BOTH,
    ],
)
def test_targets_are_said_in_one_way(given) -> None:
    assert targets_of(given) == BOTH


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.45, "45.0%"), (0.375, "37.5%"), (0.0005, "0.05%"), (0.29, "29.0%"), (0.9999, "99.99%")],
)
def test_a_share_is_said_as_it_was_given(share: float, words: str) -> None:
    assert Target("macs", share).words == f"{words} of the MACs"


def test_a_share_alone_is_of_the_macs_and_an_option_reads_as_it_is_spelled() -> None:
    assert targets_of("0.5") == (Target("macs", 0.5),)
    assert targets_of(",".join(map(str, BOTH))) == BOTH


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("macs=45", r"macs=45.0; expected the share .*; did you mean 0.45\?"),
        ("macs=nan", "macs=nan; expected"),
        ("macs=inf", "macs=inf; expected"),
        ("params=0", r"params=0\.0; expected"),
        ("params=-2", "params=-2.0; expected"),
        ("half", "'half'; expected the share that may stay or a number"),
        ("flops=0.5", "target of 'flops'; expected macs, params, bytes"),
        ("parms=0.5", "did you mean 'params'"),
        ("macs=0.4,macs=0.5", "macs=0.4 and macs=0.5 are of one quantity"),
        (",", "expected e.g. macs=0.45"),
        ({"macs": True}, "macs=True; expected"),
        ({"macs": "half"}, "macs='half'; expected"),
        ([0.5], "targets are given as 0.5; expected a dict"),
        (0.5, "targets are given as 0.5; expected a dict"),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(given, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        targets_of(given)
    assert "\n" not in str(caught.value)


def test_a_share_is_of_the_dense_network_and_a_number_of_nothing() -> None:
    assert Target("macs", 0.25).most(400) == 100
    assert Target("params", 150).most(400) == 150
    assert Target("macs", 1).most(400) == 400


def test_a_request_seeks_its_ratio_only_where_none_is_given() -> None:
    (config,) = Request(Network("net"), ratios=(), targets="macs=0.5").configs
    assert (config.sought, config.asked) == (True, "macs=0.5")
    given = Request(Network("net"), ratios=(0.3, 0.5), targets="macs=0.5").configs
    assert [(config.sought, config.asked) for config in given] == [(False, "0.3"), (False, "0.5")]
    with pytest.raises(InputError, match="no ratio was given"):
        Request(Network("net"), ratios=())


@pytest.mark.parametrize(
    ("share", "limit", "text"),
    [
        (0.796, 0.8, "79.6%"),
        (0.80004, 0.8, "80.004%"),
        (0.79996, 0.8, "79.996%"),
        (0.8, 0.8, "80.0%"),
        (0.5700001, 0.57, "57.00001%"),
    ],
)
def test_a_share_has_the_digits_that_tell_it_from_a_limit(share, limit, text) -> None:
    assert share_beside(share, limit) == text
