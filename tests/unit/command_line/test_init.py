"""What ``init`` writes runs: it lets a sound network pass and stops a wrong one."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from analysis.command_line.main import main
from analysis.environment import versions

pytestmark = pytest.mark.usefixtures("everything_is_imported")

MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).mean((2, 3)))

class Flipped(Net):
    def forward(self, x):
        return self.head(self.second(self.first(x).relu().flip(1)).mean((2, 3)))

def batch():
    return torch.randn(2, 3, 9, 9)
"""
FILES = ("test_pruning.py", "tox.ini", ".github/workflows/pruning.yml")
SMALL = ("--input-size", "3,8,8", "--ratios", "0.5")
ALONE = ("-n", "0")
"""Instead of two workers, which import torch anew."""


@pytest.fixture(autouse=True)
def project(pytester) -> Path:
    """The working folder."""
    (pytester.path / "zoo").mkdir()
    (pytester.path / "zoo" / "nets.py").write_text(MODELS)
    return pytester.path


def written(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "zoo" not in path.parts)
    return {str(path.relative_to(folder)) for path in found}


@pytest.fixture
def outcome(pytester, monkeypatch):
    """Runs the command of the environment in a folder, in a session of this process."""

    def run(folder: Path, *options: str) -> pytest.RunResult:
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(folder / "tox.ini")
        command = tox["testenv:pruning"]["commands"].replace("{posargs}", shlex.join(options))
        name, *arguments = shlex.split(command)
        assert name == "pytest"
        with monkeypatch.context() as here:
            here.chdir(folder)
            here.syspath_prepend(folder)  # as `python -m pytest` does
            return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    return run


@pytest.mark.parametrize("factory", ["zoo.nets:{}", "zoo/nets.py:{}"])
def test_what_is_written_passes_a_sound_network_and_fails_a_wrong_one(
    project, outcome, capsys, factory
) -> None:
    assert main(["init", factory.format("Net"), *SMALL]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [*(f"wrote {name}" for name in FILES), "run it: pytest test_pruning.py"]
    assert written(project) == set(FILES)
    sound = outcome(project, *ALONE, "-k", "not survives")
    assert sound.ret == 0, sound.outlines
    test = project / "test_pruning.py"
    # torch-pruning keeps the same channels on both sides of a flip, which is wrong.
    test.write_text(test.read_text().replace("Net", "Flipped"))
    wrong = outcome(project, *ALONE, "-k", "equivalent_to_masked")
    assert wrong.ret == 1, wrong.outlines
    assert "`second` is the first to differ" in wrong.stdout.str()


def test_the_options_are_those_of_the_test(project) -> None:
    options = (
        "--inputs",
        "zoo.nets:batch",
        "--ratios",
        "0.25,0.5",
        "--ignore",
        "none",
        "--seed",
        "3",
    )
    assert main(["init", "zoo.nets:Net", *options]) == 0
    assert (
        (project / "test_pruning.py").read_text()
        == '''\
"""The network is pruned at each ratio, and each pruning is held to every check."""

from analysis import parametrize_with_checks


@parametrize_with_checks(
    "zoo.nets:Net",
    inputs="zoo.nets:batch",
    seed=3,
    ratios=(0.25, 0.5),
    ignore="none",
)
def test_pruning(check):
    check()
'''
    )


def test_paths_lead_from_the_folder_that_the_files_are_written_to(project, outcome, capsys) -> None:
    options = ("--inputs", "zoo/nets.py:batch", "--ratios", "0.5", "--out", "gates/first")
    assert main(["init", "zoo/nets.py:Net", *options]) == 0
    output = capsys.readouterr().out
    assert output.endswith("run it: cd gates/first && pytest test_pruning.py\n")
    assert "GitHub looks for .github/workflows/pruning.yml in the root of a repository" in output
    folder = project / "gates/first"
    text = (folder / "test_pruning.py").read_text()
    assert '"../../zoo/nets.py:Net"' in text
    assert 'inputs="../../zoo/nets.py:batch"' in text
    sound = outcome(folder, *ALONE, "-k", "forward_runs")
    assert sound.ret == 0, sound.outlines


def test_the_environment_pins_what_a_verdict_depends_on(project) -> None:
    assert main(["init", "zoo.nets:Net", *SMALL]) == 0
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(project / "tox.ini")
    pins = dict(line.split("==") for line in tox["testenv:pruning"]["deps"].split())
    # What was installed here, without the name of its build, which no other index knows.
    installed = {name: found.split("+")[0] for name, found in versions(pins).items()}
    assert pins == installed
    assert {"torch", "torch-pruning", "pruning-analysis", "pytest"} <= pins.keys()


@pytest.mark.parametrize("is_project", [True, False])
def test_the_package_is_installed_where_the_folder_is_one(project, is_project) -> None:
    if is_project:
        (project / "pyproject.toml").write_text("[project]\nname = 'zoo'\n")
    assert main(["init", "zoo.nets:Net", *SMALL]) == 0
    assert ("skip_install" in (project / "tox.ini").read_text()) is not is_project


def test_the_workflow_runs_the_environment_and_keeps_its_page(project, outcome) -> None:
    assert main(["init", "zoo.nets:Net", *SMALL]) == 0
    workflow = yaml.safe_load((project / ".github/workflows/pruning.yml").read_text())
    runs = [step["run"] for step in workflow["jobs"]["pruning"]["steps"] if "run" in step]
    assert runs[1] == "tox run -e pruning -- --report=pruning-report"
    output = outcome(project, "--report=pruning-report", "-k", "0.5-forward_runs")
    assert output.ret == 0, output.outlines
    assert (project / "pruning-report" / "report.md").is_file()
    # By two processes, of which the report gathers what each has found.
    (subject,) = json.loads((project / "pruning-report/results.json").read_text())["subjects"]
    assert [(run["ratio"], run["verdict"]) for run in subject["runs"]] == [(0.5, "exact")]


# Stands for GitHub's command: it knows one run, whose report is that of the base branch.
GH = """#!/bin/sh
case "$1 $2" in
    "run list") echo 17 ;;
    "run download") test "$3" = 17 && cp -r main base ;;
    "pr comment") echo "$@" > commented && cp comment.md posted.md ;;
esac
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_the_workflow_comments_a_pull_request_with_what_changed(project, outcome) -> None:
    assert main(["init", "zoo.nets:Net", *SMALL]) == 0
    script(project / "bin" / "gh", GH)
    script(
        project / ".tox" / "pruning" / "bin" / "pruning-analysis",
        f'#!/bin/sh\nexec {sys.executable} -m analysis "$@"\n',
    )
    outcome(project, *ALONE, "--report=main", "-k", "0.5-forward_runs")
    shutil.copytree(project / "main", project / "pruning-report")
    workflow = yaml.safe_load((project / ".github/workflows/pruning.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["pruning"]["steps"] if "run" in step]
    download, diff, comment = steps[-3:]

    def status(step: str) -> int:
        shell = ["bash", "-eo", "pipefail", "-c", step]
        own = {
            "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "GITHUB_BASE_REF": "main",
            "GITHUB_STEP_SUMMARY": str(project / "summary.md"),
            "NUMBER": "5",
        }
        return subprocess.run(shell, cwd=project, env=os.environ | own, check=False).returncode

    assert (status(download), status(diff), status(comment)) == (0, 0, 0)
    assert "nothing changed" in (project / "posted.md").read_text()
    # As if the base branch had saved one parameter more.
    results = json.loads((project / "base" / "results.json").read_text())
    results["subjects"][0]["runs"][0]["params"]["after"] -= 1
    (project / "base" / "results.json").write_text(json.dumps(results))
    assert (status(diff), status(comment)) == (1, 0)
    posted = (project / "posted.md").read_text()
    assert "1 worse" in posted
    assert (project / "summary.md").read_text().endswith(posted)
    assert (project / "commented").read_text().startswith("pr comment 5 ")


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_written_over_a_file_or_beside_it(project, capsys, name) -> None:
    there = project / name
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("mine")
    assert main(["init", "zoo.nets:Net", *SMALL]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"pruning-analysis init: {name} exists, and nothing was written; move it away, or give a "
        "new folder with --out and take what you need from there\n"
    )
    assert written(project) == {name}
    assert there.read_text() == "mine"


def test_a_new_folder_takes_the_files_instead(project) -> None:
    (project / "tox.ini").write_text("mine")
    assert main(["init", "zoo.nets:Net", *SMALL, "--out", "new"]) == 0
    assert written(project / "new") == set(FILES)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("zoo.nets:Nut", *SMALL), "did you mean 'Net'?"),
        (("zoo/nets.py:Nut", *SMALL), "did you mean 'Net'?"),
        (("zoo.nets:Net", "--input-size", "4,8,8"), "channels"),
    ],
)
def test_a_network_that_cannot_be_run_is_refused_before_anything_is_written(
    project, capsys, arguments, output
) -> None:
    assert main(["init", *arguments]) == 2
    said = capsys.readouterr().err
    assert output in said
    assert len(said.splitlines()) == 1
    assert written(project) == set()


def test_what_fails_half_way_leaves_nothing_behind(project, capsys) -> None:
    # A file where the workflow's folder should be: the first two files could be written.
    (project / ".github").write_text("a file")
    assert main(["init", "zoo.nets:Net", *SMALL]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert written(project) == {".github"}


METRICS = """
def size(model):
    return float(sum(each.numel() for each in model.parameters()))
"""


def test_a_gate_is_written_for_a_target_and_a_metric_and_fails_where_one_is_missed(
    project, outcome
) -> None:
    (project / "metrics.py").write_text(METRICS)
    asked = ("zoo/nets.py:Net", "--input-size", "3,8,8", "--target", "macs=0.6")
    assert main(["init", *asked, "--evaluate", "metrics.py:size", "--metric-loss", "2000"]) == 0
    only = (*ALONE, "-k", "meets_target or metrics_held")
    assert outcome(project, *only).ret == 0
    test = project / "test_pruning.py"
    text = test.read_text()
    assert '    targets={"macs": 0.6},\n' in text
    test.write_text(text.replace("0.6", "0.001").replace("2000", "1"))
    found = outcome(project, *only)
    assert found.ret == 1
    assert "at most 0.1% of the MACs are to be left, and" in found.stdout.str()
    assert re.search(r"at most 1(\.0)? may be lost", found.stdout.str())
