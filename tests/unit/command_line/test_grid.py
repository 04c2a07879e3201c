"""The command ``grid``: what it prints, keeps, refuses, and its exit status."""

import json
from pathlib import Path

import pytest

from analysis.command_line.main import main
from analysis.processes.workers import Worker

NETWORKS = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.turned(self.second(self.first(x))).mean((2, 3)))

    def turned(self, x):
        return x

class Flipped(Net):
    def turned(self, x):
        return x.flip(1)

class Raising(Net):
    def __init__(self):
        raise RuntimeError("it is not built")
"""
GRID = """
ratios = [0.25, 0.5]
[[subject]]
model = "net.py:Net"
input_size = [3, 8, 8]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NETWORKS)
    (tmp_path / "grid.toml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def grid(*options: str) -> int:
    return main(["grid", "grid.toml", "--records", "records", "--workers", "1", *options])


def test_a_record_holds_what_verify_says_and_the_next_run_reads_it(project, capsys) -> None:
    assert grid("--dry-run") == 0
    planned = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[1] for line in planned[:2]] == [
        "to do net.py:Net 0.25 classifier global",
        "to do net.py:Net 0.5 classifier global",
    ]
    assert planned[2:] == ["2 of 2 cells to do"]
    assert not (project / "records").exists()
    assert grid() == 0
    assert capsys.readouterr() == ("2 cells: 2 exact\n", "")
    paths = sorted((project / "records").iterdir())
    written = {path.name: path.read_bytes() for path in paths}
    assert {name[:12] for name in written} == {line[:12] for line in planned[:2]}
    answers = [json.loads(text)["end"]["answer"] for text in written.values()]
    words = ["verify", "net.py:Net", "--input-size", "3,8,8", "--ratios", "0.25,0.5"]
    assert main([*words, "--json", "verify.json"]) == 0
    told = json.loads((project / "verify.json").read_text())
    by_ratio = sorted(answers, key=lambda answer: answer["runs"][0]["ratio"])
    assert [answer["runs"][0] for answer in by_ratio] == told["runs"]
    assert [answer["subject"] for answer in answers] == [told["subject"]] * 2
    capsys.readouterr()
    assert grid() == 0
    assert capsys.readouterr().out == "2 cells: 2 exact\n"
    assert grid("--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 of 2 cells to do"
    assert {path.name: path.read_bytes() for path in paths} == written


def test_what_does_not_pass_is_listed_and_ends_with_1(project, capsys) -> None:
    more = "".join(
        f'[[subject]]\nmodel = "net.py:{name}"\ninput_size = [3, 8, 8]\n'
        for name in ("Flipped", "Raising")
    )
    (project / "grid.toml").write_text(GRID.replace("0.25, ", "") + more)
    assert grid() == 1
    flipped, raising, summary = capsys.readouterr().out.splitlines()
    assert flipped.startswith(
        "net.py:Flipped 0.5 classifier global: equivalent_to_masked: wrong: runs with"
    )
    assert raising.startswith("net.py:Raising 0.5 classifier global: refused: ")
    assert "raised RuntimeError: it is not built; expected" in raising
    assert summary == "3 cells: 1 exact, 1 wrong, 1 refused"


def test_what_is_described_twice_counts_once(project, capsys) -> None:
    """Also where it is spelled otherwise."""
    again = GRID.partition("[[subject]]")
    usual = "".join([*again[1:], "seed = 0\n"])
    (project / "grid.toml").write_text(GRID + "".join(again[1:]) + usual)
    assert grid("--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "2 of 2 cells to do",
        "4 cells are described again, by equal subjects; one of each is enough",
    ]
    assert grid() == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 cells: 2 exact",
        "4 cells are described again, by equal subjects; one of each is enough",
    ]
    assert len(list((project / "records").iterdir())) == 2


def test_records_of_before_a_change_are_reported(project, capsys) -> None:
    assert grid() == 0
    (project / "net.py").write_text(NETWORKS + "# changed\n")
    assert grid("--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "2 of 2 cells to do",
        "2 records in the folder are of other cells; they are left as they are",
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--resources", "GPU=1"], "--resources are those of a cluster's workers; give its --sch"),
        (["--records", "."], "is no folder of records: it holds 'grid.toml'; give a new folder"),
        (["--records", "net.py"], "'net.py' is a file; expected a folder of records"),
    ],
)
def test_bad_options_are_a_line(options, told, capsys) -> None:
    assert grid(*options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1


def test_an_interrupt_says_what_is_kept(monkeypatch, capsys) -> None:
    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "has_ended", interrupted)
    assert grid() == 130
    told = "interrupted; what was done is kept; run it again to do the rest\n"
    assert capsys.readouterr().err == told
