"""What is printed of latency, of records that are made by hand."""

from dataclasses import replace

import pytest

from analysis.records import (
    Channels,
    Config,
    Latency,
    LayerLatency,
    Machine,
    NetworkLatency,
    Run,
    Sizes,
    Spread,
    Timing,
    Verdict,
    Verification,
    Work,
)
from analysis.reporting.latency_text import latency, page, time_left

MACHINE = Machine(
    "cpu", "a processor", 2, "2.0", "float32", 16, 2e9, 1e9, (("linear", 1e-6),), None, 0.5
)
HALF = Spread(0.5, 0.4, 0.6, 0.95)


def layer(name: str, seconds: float, macs: int = 100, why: str = "fell") -> LayerLatency:
    dense, pruned = Work(seconds, macs, 100), Work(seconds / 2, macs // 2, 50)
    return LayerLatency(name, "Linear", 1, dense, pruned, HALF, why)


ROOT = LayerLatency("", "Net", 1, Work(0.1, 0, 0), Work(0.1, 0, 0), HALF, "same-work")
FOUND = Latency(
    Timing(),
    (NetworkLatency("eager", 1.0, 0.5, HALF), NetworkLatency("compile", why_not="no compiler")),
    layers=(ROOT, layer("large", 0.8), layer("tiny", 0.002, 400, "small")),
    hooked=(1.1, 0.6),
    sums=(0.802, 0.401),
    machine=MACHINE,
)
RUN = Run(
    Config(0.5),
    Verification(Verdict.EXACT),
    Channels(10, 5, 5),
    Sizes(100, 50),
    Sizes(100, 50),
    Sizes(100, 50),
    None,
    latency=FOUND,
)


def lines(run: Run = RUN) -> list[str]:
    return latency([run]).splitlines()


def test_the_whole_the_gap_and_each_layer_are_said() -> None:
    said = lines()
    assert "below 2 MACs a byte, memory is the limit" in said[0]
    assert "| eager   | 1 s   | 500 ms | 50.0% (40.0% to 60.0%) |" in said[3]
    assert said[5] == "compile: not measured: no compiler"
    (gap,) = (line for line in said if line.startswith("The layers below"))
    assert gap == (
        "The layers below take 802 ms dense and 401 ms pruned, of 1.1 s and 600 ms while each is "
        "timed; 1 s and 500 ms where none is. What they leave, 298 ms and 199 ms, are modules that "
        "only call others (1), and the timing. Each layer's time is its own median; these add up "
        "to 802 ms and 401 ms."
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in said[-2:]]
    # 50 of 100 MACs and bytes: one MAC a byte, and 50 ns at a gigabyte a second.
    assert rows[0][2:9] == [
        "800 ms",
        "400 ms",
        "50% (40% to 60%)",
        "50.0%",
        "50.0%",
        "1.00",
        "memory",
    ]
    assert rows[1][7:9] == ["4.00", "compute"]
    assert rows[1][-1] == "the overhead of a call"


def test_how_much_of_the_time_each_explanation_is_of() -> None:
    table = [line for line in lines() if line.startswith(("| fell", "| the overhead"))]
    # 0.8 of 0.802 seconds, and 0.4 of 0.401.
    assert [cell.strip() for cell in table[0].strip("|").split("|")][1:] == ["1", "99.8%", "99.8%"]


def test_a_page_leaves_small_layers_out_and_says_how_many() -> None:
    said = page("Latency", "Of one machine.", [("net", [RUN])])
    assert "Not listed: 1 layers that take less than 1% each." in said
    assert "| large " in said
    assert "| tiny " not in said
    assert "| tiny " in latency([RUN])


def test_what_is_not_proved_is_not_timed_and_its_reason_is_said() -> None:
    wrong = replace(RUN, latency=None, verification=Verification(Verdict.WRONG, "other channels"))
    said = lines(wrong)
    assert said[-1] == "ratio 0.5: not measured: other channels"
    assert time_left(wrong) == "-"
    assert time_left(RUN) == "50.0% (40.0% to 60.0%)"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"uncounted": "an operator has no rule"}, "MACs are not known: an operator has no rule"),
        ({"unmatched": ("gone",)}, "called in one network alone: gone"),
    ],
)
def test_what_is_missing_is_said(changed, said) -> None:
    assert said in lines(replace(RUN, latency=replace(FOUND, **changed)))


def test_a_gpu_says_whether_cudnn_tries_out() -> None:
    at = replace(MACHINE, device="cuda", cudnn_benchmark=False, load=None)
    assert (
        "float32, cuDNN's benchmark off; at most"
        in lines(replace(RUN, latency=replace(FOUND, machine=at)))[0]
    )
