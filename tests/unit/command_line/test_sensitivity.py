"""The command that measures each group alone: kept, resumed, and what it suggests made again."""

import json
import shlex
from pathlib import Path

import pytest

from analysis.command_line.main import main

MODELS = """
from nets import Chain as chain, Residual as residual

CALLS = "calls"

def weight(model):
    with open(CALLS, "a") as calls:
        calls.write("x")
    return {"weight": float(model.head.weight.abs().sum())}
"""
ASKED = ("--input-size", "3,6,6", "--ratios", "0.25,0.5")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "measured.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)


def calls() -> int:
    return len(Path("calls").read_text())


def test_it_is_resumed_and_what_it_suggests_is_made_by_its_command(capsys) -> None:
    asked = ["sensitivity", "measured.py:residual", *ASKED, "--evaluate", "measured.py:weight"]
    asked += ["--records", "records", "--json", "-"]
    assert main(asked) == 0
    first = json.loads(capsys.readouterr().out)
    cuts = {(group["name"], cut["kept"]) for group in first["groups"] for cut in group["cuts"]}
    measured = {
        (group["name"], cut["kept"])
        for group in first["groups"]
        for cut in group["cuts"]
        if cut["lost"] is not None
    }
    assert {name for name, _ in cuts - measured} == {"head"}
    assert len(list(Path("records").iterdir())) == 1 + len(measured)
    assert calls() == 2 + len(measured)

    # Ended half way, it does what is missing; a target takes what is there.
    next(Path("records").iterdir()).unlink()
    before = calls()
    more = ["--target", "macs=0.7", "--picture", "loss.svg", "--save", "widths.json"]
    assert main([*asked, *more]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["groups"] == first["groups"]
    # One or two for the record that was gone, and three for the proof: dense twice, and pruned.
    assert before + 4 <= calls() <= before + 5
    svg = Path("loss.svg").read_text()
    assert svg.startswith("<svg")
    assert svg.count(">not cut<") == 2
    suggestion = again["suggestion"]
    assert json.loads(Path("widths.json").read_text()) == suggestion["widths"]
    program, *words = shlex.split(suggestion["command"])
    assert program == "pruning-analysis"
    assert main([*words, "--json", "-"]) == 0
    (made,) = json.loads(capsys.readouterr().out)["runs"]
    assert made["macs"]["after"] == suggestion["macs"] == again["runs"][0]["macs"]["after"]
    assert made["params"]["after"] == suggestion["params"]


def test_another_metric_in_the_same_file_is_measured_anew(capsys) -> None:
    asked = ["sensitivity", "measured.py:chain", *ASKED, "--evaluate", "measured.py:weight"]
    assert main([*asked, "--records", "records"]) == 0
    before = calls()
    assert main([*asked, "--records", "records"]) == 0
    assert calls() == before
    Path("measured.py").write_text(MODELS.replace(".abs()", ""))
    assert main([*asked, "--records", "records"]) == 0
    assert calls() == 2 * before
    assert "`head`: it is excluded" in capsys.readouterr().out


def test_a_target_out_of_reach_ends_with_1_and_says_the_least(capsys) -> None:
    asked = ("measured.py:chain", *ASKED, "--evaluate", "measured.py:weight")
    assert main(["sensitivity", *asked, "--target", "macs=0.01"]) == 1
    assert "no choice of the measured cuts leaves 1.0% of the MACs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "give its function, as --evaluate metrics.py:accuracy"),
        (("--evaluate", "measured.py:weight", "--save", "w.json"), "give a target"),
        (("--evaluate", "measured.py:weight", "--target", "bytes=0.5"), "give params"),
        (("--evaluate", "measured.py:wait"), "has no 'wait'"),
    ],
)
def test_what_is_no_question_is_refused_in_one_line(more, message: str, capsys) -> None:
    assert main(["sensitivity", "measured.py:chain", *ASKED, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_metric_that_is_random_is_refused_before_the_cuts_are_measured(capsys) -> None:
    Path("drawn.py").write_text(
        "from nets import Chain as chain\nimport torch\n\n"
        "def drawn(model):\n    return torch.rand(())\n"
    )
    asked = ("drawn.py:chain", *ASKED, "--evaluate", "drawn.py:drawn", "--workers", "1")
    assert main(["sensitivity", *asked]) == 2
    assert "evaluate is random" in capsys.readouterr().err
