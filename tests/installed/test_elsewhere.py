"""The package as a wheel, in folders that are not ours: what the README tells users to run.

Run by ``tox run -e wheel``, whose environment holds the built wheel and not this checkout.
"""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

MODELS = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 24, 3, padding=1)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.second(self.norm(self.first(x)).relu()).mean((2, 3)))

class Flipped(Net):
    def forward(self, x):
        x = self.norm(self.first(x)).flip(1)
        return self.head(self.second(x.relu()).mean((2, 3)))

def small_net(): return Net()
def flipped(): return Flipped()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_models.py").write_text(MODELS)
    return tmp_path


def call(folder: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command of a user in that folder; python and pytest are those of this environment."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    scripts = str(Path(sys.executable).parent)
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=kept | {"PATH": f"{scripts}:{os.environ['PATH']}", **more},
    )


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def block_with(text: str, language: str) -> str:
    (found,) = [block for block in blocks(language) if text in block]
    return found


def test_what_is_imported_is_the_wheel(folder: Path) -> None:
    told = call(folder, "python -c 'import analysis; print(analysis.__file__)'")
    assert "site-packages" in told.stdout
    assert not Path(told.stdout.strip()).is_relative_to(ROOT / "analysis")


def test_the_command_finds_the_package_where_a_module_of_its_name_stands(folder: Path) -> None:
    (folder / "analysis.py").write_text("raise SystemExit('this is the user's own')")
    told = call(folder, "pruning-analysis --version")
    assert (told.returncode, told.stderr) == (0, "")
    assert re.fullmatch(r"pruning-analysis \d+\.\d+\.\d+\n", told.stdout)
    for model in ("my_models.py:small_net", "my_models:small_net"):
        proved = call(folder, f"pruning-analysis verify {model} --input-size 3,8,8 --ratios 0.5")
        assert proved.returncode == 0, proved.stderr
        assert "exact" in proved.stdout


def test_four_lines_gate_a_network(folder: Path) -> None:
    text = block_with("ratios=[0.3, 0.5])", "python")
    (folder / "test_pruning.py").write_text(text)
    sound = call(folder, "pytest -q -n 2")
    assert sound.returncode == 0, sound.stdout
    (folder / "test_pruning.py").write_text(text.replace("small_net", "flipped"))
    wrong = call(folder, "pytest -q -k 0.5-equivalent_to_masked")
    assert wrong.returncode == 1
    assert "`second` is the first to depart" in wrong.stdout
    assert re.search(r"should carry (none|channel \d+ of `first`) and carries", wrong.stdout)


def test_what_is_known_to_fail_is_said_as_the_readme_says_it(folder: Path) -> None:
    (folder / "test_pruning.py").write_text(block_with("expected_failures", "python"))
    told = call(folder, "pytest -q -rx -k 'not survives'")
    assert told.returncode == 0, told.stdout
    assert "1 xfailed" in told.stdout


def test_the_suite_needs_no_test_file(folder: Path) -> None:
    (line,) = re.findall(r"^pytest --pyargs analysis.suite .*my_models.*$", README, re.MULTILINE)
    told = call(folder, f"{line} -q")
    assert told.returncode == 0, told.stdout
    assert "networks: my_models.py:small_net" in call(folder, line).stdout
    nothing = call(folder, "pytest --pyargs analysis.suite")
    assert nothing.returncode == 4
    assert nothing.stderr.strip().count("\n") == 0


def test_the_command_line_needs_no_checkout(folder: Path) -> None:
    lines = [line for line in README.splitlines() if line.startswith("pruning-analysis verify my")]
    assert lines
    for line in lines:
        told = call(folder, line.partition(" #")[0])
        assert told.returncode == 0, told.stderr
        assert told.stderr == ""


def test_the_first_example_is_wrong_and_then_cured(folder: Path) -> None:
    (folder / "net.py").write_text(block_with("class Flipped", "python"))
    session = block_with("net.py:Flipped", "").splitlines()
    verify, prune = (line[2:] for line in session if line.startswith("$ "))
    wrong, cured = call(folder, verify), call(folder, prune)
    assert (wrong.returncode, cured.returncode) == (1, 0), wrong.stderr + cured.stderr
    assert "wrong: runs with the right output shape" in wrong.stdout
    shown = re.search(r"0 should carry channel \d+ of `first` and carries channel \d+", README)
    assert shown is not None
    assert shown[0] in wrong.stdout
    table, cure = wrong.stdout.split("the same, cut by the groups as they are:")[1].split(
        "which is"
    )
    assert "| exact " in table
    assert cure.splitlines()[-1] == f"{prune.partition(' --save')[0]} --scope global"
    assert cured.stdout.splitlines()[-1] == session[-1]


def test_what_is_pruned_in_python_comes_back(folder: Path) -> None:
    (folder / "tried.py").write_text(block_with("save_pruned", "python"))
    told = call(folder, "python tried.py")
    assert told.returncode == 0, told.stderr
    assert "path=('hidden_dim',), before=64, after=32" in told.stdout


def workflow() -> list[str]:
    """The commands of the workflow file in the README."""
    jobs = yaml.safe_load(block_with("runs-on", "yaml"))["jobs"]
    return [step["run"] for step in jobs["pruning"]["steps"] if "run" in step]


def test_the_workflow_of_the_readme_gates(folder: Path) -> None:
    (folder / "test_pruning.py").write_text(block_with("ratios=[0.3, 0.5])", "python"))
    install, doctor, gate, summary = workflow()
    assert install == "pip install -r requirements-pruning.txt"  # done by tox, with the wheel
    accepted = call(folder, gate.replace("--check-baseline", "--update-baseline"))
    assert accepted.returncode == 1, accepted.stdout
    for command in (doctor, gate, summary):
        told = call(folder, command, GITHUB_STEP_SUMMARY=str(folder / "summary.md"))
        assert told.returncode == 0, told.stdout + told.stderr
    assert "| 0.5 | exact" in re.sub(" +", " ", (folder / "summary.md").read_text())
    assert {"index.html", "junit.xml", "results.schema.json"} <= {
        path.name for path in (folder / "pruning-report").iterdir()
    }
    numbers = folder / "pruning.csv"
    numbers.write_text(re.sub(r"(0.5,params),\d+", r"\1,1", numbers.read_text()))
    worse = call(folder, gate)
    assert worse.returncode == 1
    assert "REGRESSION small_net classifier global 0.5 params: expected 1," in worse.stdout
    snippet = configparser.ConfigParser(interpolation=None)
    snippet.read_string(block_with("[testenv:pruning]", "ini"))
    command = snippet["testenv:pruning"]["commands"].replace("{posargs}", "-k held_to")
    assert call(folder, command).returncode == 1


def test_the_pins_of_the_readme_are_the_versions_that_are_tested() -> None:
    (block,) = [text for text in blocks("") if text.startswith("torch==")]
    lines = block.split()
    wheel = [line for line in block.splitlines() if " @ " in line]
    pins = {Requirement(line).name: line for line in lines if "==" in line}
    assert {"torch", "torchvision", "torch-pruning", "fvcore", "pytest"} <= pins.keys()
    tried = (ROOT / "constraints.txt").read_text() + (ROOT / "tox.ini").read_text()
    for pin in pins.values():
        assert re.search(rf"(^|\s){re.escape(pin)}$", tried, re.MULTILINE), pin
    assert Requirement(wheel[0].partition(" @ ")[0]).extras == {"onnx"}


def test_commands_of_the_readme_parse() -> None:
    """A quick look at the rest: what is written is what the options are called."""
    from analysis.command_line.options import parser

    lines = [line for line in README.splitlines() if line.startswith("pruning-analysis ")]
    assert len(lines) > 8
    for line in lines:
        parser().parse_args(shlex.split(line, comments=True)[1:])
