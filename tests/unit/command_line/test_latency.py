"""The command that times what each ratio leaves, and what it prints."""

import json
from pathlib import Path

import pytest

from analysis.command_line.main import main
from analysis.records import EXPLANATIONS, latency_of

MODELS = """
from nets import Chain as chain
"""
WRITTEN = ("--out", "page", "--json", "timed.json")
ASKED = ("--input-size", "3,6,6", "--ratios", "0.5", "--pairs", "6")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "timed.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)


def rows(table: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_layer_has_its_time_and_a_reason_on_a_terminal_a_page_and_as_data(capsys) -> None:
    assert main(["latency", "timed.py:chain", *ASKED, "--threads", "1", *WRITTEN]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "wrote page/latency.md"
    assert "1 thread, torch " in lines[2]
    start = next(place for place, line in enumerate(lines) if line.startswith("| layer "))
    header, _, *layers = rows(lines[start:])
    assert [row[0] for row in layers] == [
        "(the model's own forward)",
        "first",
        "norm",
        "second",
        "head",
    ]
    assert header[-1] == "its time"
    assert {row[-1] for row in layers} <= set(EXPLANATIONS.values())
    by_name = {row[0]: dict(zip(header, row, strict=True)) for row in layers}
    # Of 3 x 4 channels of a 3x3 convolution half the outputs are left; of 4 x 5 2 x 3.
    assert by_name["first"]["MACs left"] == "50.0%"
    page = Path("page/latency.md").read_text()
    assert page.startswith("# Latency of timed.py:chain\n")
    assert "### Layers at ratio 0.5" in page
    assert page.rstrip().splitlines()[-1] == lines[-1]
    (run,) = json.loads(Path("timed.json").read_text())["runs"]
    found = latency_of(run["latency"])
    assert (found.timing.pairs, found.timing.threads) == (6, 1)
    assert [layer.why for layer in found.layers] == [
        next(why for why, said in EXPLANATIONS.items() if said == row[-1]) for row in layers
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--pairs", "5"), "pairs 5; expected a whole number of at least 6"),
        (("--backends", "eager,onx"), "backend 'onx'; expected eager, compile, onnxruntime"),
        (("--backends", ","), "backends (); expected"),
        (("--threads", "0"), "'0' is not a whole number of at least 1"),
        (("--target", "latency=2000"), "expected the share that may stay, in (0, 1]"),
        (("--cut", "mine"), "invalid choice: 'mine'"),
        (("--out", "timed.py"), "timed.py"),
    ],
)
def test_bad_input_is_one_line(more, said, capsys) -> None:
    try:
        status = main(["latency", "timed.py:chain", *ASKED, *more])
    except SystemExit as left:
        status = left.code
    assert status == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "command", [("macs", "timed.py:chain"), ("report", "timed.py:chain"), ("sensitivity", "x:y")]
)
def test_what_predicts_takes_no_target_of_latency(command, capsys) -> None:
    more = ("--evaluate", "timed.py:chain") if command[0] == "sensitivity" else ()
    assert main([*command, "--target", "latency=0.5", *more]) == 2
    assert "latency is measured of a pruned network, and not predicted" in capsys.readouterr().err
