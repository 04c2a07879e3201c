"""The command that tries several prunings and recommends one."""

import json
import shlex
from pathlib import Path

import pytest

from analysis.command_line.main import main

MODELS = """
from nets import Chain as chain, Residual as residual

def elements(model):
    return {"elements": sum(each.numel() for each in model.parameters())}
"""

ASKED = ("--input-size", "3,6,6", "--target", "macs=0.7")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "advised.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)


def test_each_way_is_proved_and_the_command_that_is_recommended_makes_it(capsys) -> None:
    asked = ("advised.py:residual", *ASKED, "--evaluate", "advised.py:elements", "--latency")
    assert main(["advise", *asked, "--picture", "advice.svg", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    points = data["points"]
    keys = {"policy", "scope", "importance", "ratio", "verdict", "macs", "params", "metric"}
    assert all(keys | {"latency", "command"} <= each.keys() for each in points)
    for each in points:
        assert 0 < each["latency"]["low"] <= each["latency"]["median"] <= each["latency"]["high"]
        assert "--latency" not in each["command"]
    assert not any("latency" in each for each in data["unmeasured"])
    # Policies that exclude the same layers are tried once: of this network there are three kinds.
    ways = {(each["policy"], each["scope"], each["importance"]) for each in points}
    assert len(ways) == len(points) == 2 * 2 * len({each["policy"] for each in points})
    best = points[data["recommended"]]
    assert best["metric"] == max(each["metric"] for each in points if each["passed"])
    assert data["reason"].endswith(f"became {best['metric']:g}")
    drawn = Path("advice.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(f">{axis}<" in drawn for axis in ("elements", "share of the time left"))
    program, *words = shlex.split(best["command"])
    assert program == "pruning-analysis"
    assert main([*words, "--json", "-"]) == 0
    (made,) = json.loads(capsys.readouterr().out)["runs"]
    assert (made["macs"]["after"], made["params"]["after"]) == (best["macs"], best["params"])
    assert Path("pruned").is_dir()


def test_a_target_that_nothing_meets_ends_with_1_and_says_what_comes_nearest(capsys) -> None:
    asked = ("advised.py:chain", *ASKED[:2], "--ignore", "classifier")
    assert main(["advise", *asked, "--target", "macs=0.01"]) == 1
    out = capsys.readouterr().out
    assert "classifier misses the target in 4 of 4 ways: at most 1.0% of the MACs" in out
    assert "| policy" not in out
    assert "none passes; classifier, " in out
    assert "no ratio leaves 1.0% of the MACs: the least is" in out
    assert (
        "not measured: latency (give --latency), what it costs in a metric (give --evaluate)" in out
    )


def test_policies_that_miss_the_target_are_listed_apart_once(capsys) -> None:
    """Of a chain with a skip, a policy that keeps what an addition joins has too little to cut."""
    assert main(["advise", "advised.py:residual", *ASKED[:2], "--target", "macs=0.5"]) == 0
    out = capsys.readouterr().out
    table, _, _ = out.partition("\n\n")
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert all("fails meets_target" not in row for row in rows)
    missed = [line.split()[0] for line in out.splitlines() if " misses the target in " in line]
    assert missed
    assert len(missed) == len(set(missed))
    assert {row.split()[1] for row in rows}.isdisjoint(missed)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "advise prunes to a target; give one, as --target macs=0.5"),
        (("--target", "macs=0.5", "--ratios", "0.5"), "leave out --ratios"),
    ],
)
def test_what_is_no_question_is_refused_in_one_line(more, message: str, capsys) -> None:
    assert main(["advise", "advised.py:chain", "--input-size", "3,6,6", *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
