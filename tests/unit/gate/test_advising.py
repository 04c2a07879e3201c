"""Which of several prunings is recommended, and which are on the front."""

from dataclasses import replace

from analysis.gate.advising import advised
from analysis.records import (
    Channels,
    CheckResult,
    Config,
    Latency,
    Metric,
    NetworkLatency,
    Point,
    Run,
    Sizes,
    Spread,
    Timing,
    Verdict,
    Verification,
)

HELD = CheckResult("meets_target", True)
MISSED = CheckResult("meets_target", False, "at most half, and more is")


def point(macs: int, params: int, removed: int, metric: float | None = None, check=HELD) -> Point:
    run = Run(
        Config(removed / 100, cut="groups"),
        Verification(Verdict.EXACT),
        Channels(100, removed, removed),
        params=Sizes(1000, params),
        macs=Sizes(1000, macs),
        bytes_=Sizes(1000, params),
        costs=None,
        checks=(check,),
    )
    metrics = () if metric is None else (Metric("accuracy", 0.9, metric),)
    return Point(replace(run, metrics=metrics), f"make {macs}")


def test_with_a_metric_the_least_loss_is_recommended_among_those_that_pass() -> None:
    found = advised(
        [
            point(500, 500, 40, 0.80),
            point(450, 500, 60, 0.85),
            point(900, 900, 10, 0.90, MISSED),
            point(500, 600, 30, 0.70),
        ]
    )
    assert found.recommended == 1
    assert found.reason == (
        "of 3 that are proved and meet what was asked, it loses least of accuracy: 0.9 became 0.85"
    )
    # The first and the last are beaten by it in everything.
    assert found.front == (1,)
    assert found.unmeasured == ("latency (give --latency)",)


def test_the_front_is_what_no_other_is_as_good_as_in_all() -> None:
    """By hand: each of the first three is best in something, and the last in nothing."""
    points = [
        point(400, 600, 50, 0.80),
        point(500, 400, 50, 0.80),
        point(500, 600, 50, 0.85),
        point(500, 600, 50, 0.80),
    ]
    assert advised(points).front == (0, 1, 2)


def test_without_a_metric_the_fewest_channels_go_and_what_is_not_known_is_said() -> None:
    found = advised([point(500, 500, 40), point(500, 520, 30), point(450, 450, 60)])
    assert found.recommended == 1
    assert "removes the smallest share of channels" in found.reason
    assert any("--evaluate" in each for each in found.unmeasured)


def test_where_none_passes_the_nearest_says_why() -> None:
    found = advised([point(900, 900, 10, check=MISSED), point(600, 600, 40, check=MISSED)])
    assert found.recommended is None
    assert found.reason.startswith("none passes; classifier, global, l1 comes nearest: at most")
    assert found.front == ()


def timed(macs: int, share: float | None) -> Point:
    """One that costs this much, and leaves this share of the time; None could not be measured."""
    found = point(macs, 500, 40, 0.8)
    ratio = None if share is None else Spread(share, share, share, 0.95)
    latency = Latency(Timing(), (NetworkLatency("eager", 1.0, share, ratio),))
    return replace(found, run=replace(found.run, latency=latency))


def test_one_that_is_faster_is_on_the_front_though_it_has_more_macs() -> None:
    found = advised([timed(500, 0.9), timed(600, 0.5), timed(700, 0.6), timed(400, None)])
    assert found.front == (0, 1, 3)
    assert not any("latency" in each for each in found.unmeasured)
