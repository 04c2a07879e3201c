"""The package as a wheel, in other folders, gates networks as the pages say.

Run by ``tox run -e wheel``, whose environment holds the built wheel and not this checkout.
"""

import configparser
import re
import shutil
from pathlib import Path

import yaml
from installed.pages import ROOT, Page, call
from packaging.requirements import Requirement

CI = Page("docs/howto/ci.md")


def test_what_is_imported_is_the_wheel(folder: Path) -> None:
    output = call(folder, "python -c 'import analysis; print(analysis.__file__)'")
    assert "site-packages" in output.stdout
    assert not Path(output.stdout.strip()).is_relative_to(ROOT / "analysis")


def test_the_command_finds_the_package_beside_a_module_of_the_same_name(folder: Path) -> None:
    (folder / "analysis.py").write_text("raise SystemExit('this is the user's own')")
    output = call(folder, "pruning-analysis --version")
    assert (output.returncode, output.stderr) == (0, "")
    assert re.fullmatch(r"pruning-analysis \d+\.\d+\.\d+\n", output.stdout)
    for model in ("my_models.py:small_net", "my_models:small_net"):
        proved = call(folder, f"pruning-analysis verify {model} --input-size 3,8,8 --ratios 0.5")
        assert proved.returncode == 0, proved.stderr
        assert "exact" in proved.stdout


def test_four_lines_fail_where_a_network_is_pruned_wrong(folder: Path) -> None:
    wrongly = CI.file("test_pruning.py").replace("small_net", "flipped")
    (folder / "test_pruning.py").write_text(wrongly)
    wrong = call(folder, "pytest -q -k 0.5-equivalent_to_masked")
    assert wrong.returncode == 1
    assert "`second` is the first to differ" in wrong.stdout
    assert re.search(r"should carry (none|channel \d+ of `first`) and carries", wrong.stdout)


def test_the_suite_needs_no_test_file(folder: Path) -> None:
    output = call(
        folder,
        "pytest --pyargs analysis.suite --model my_models.py:small_net --input-size 3,32,32 "
        "--ratios 0.5 -k forward_runs",
    )
    assert output.returncode == 0, output.stdout
    assert "networks: my_models.py:small_net" in output.stdout
    nothing = call(folder, "pytest --pyargs analysis.suite")
    assert nothing.returncode == 4
    assert nothing.stderr.strip().count("\n") == 0


def workflow() -> list[str]:
    """The commands of the workflow file."""
    jobs = yaml.safe_load(CI.file(".github/workflows/pruning.yml"))["jobs"]
    return [step["run"] for step in jobs["pruning"]["steps"] if "run" in step]


def test_the_workflow_gates(folder: Path) -> None:
    (folder / "test_pruning.py").write_text(CI.file("test_pruning.py"))
    install, doctor, gate, summary, _, diff, _ = workflow()
    assert install == "pip install -r requirements-pruning.txt"  # done by tox, with the wheel
    # The numbers alone, as all checks run once; by one process, as nothing runs beside it.
    accepting = gate.replace("--check-baseline", "--update-baseline").replace("-n 2", "-n 0")
    accepted = call(folder, f"{accepting} -k held_to")
    assert accepted.returncode == 1, accepted.stdout
    for command in (doctor, gate, summary):
        output = call(folder, command, GITHUB_STEP_SUMMARY=str(folder / "summary.md"))
        assert output.returncode == 0, output.stdout + output.stderr
    assert "| 0.5 | exact" in re.sub(" +", " ", (folder / "summary.md").read_text())
    assert {"index.html", "junit.xml", "results.schema.json"} <= {
        path.name for path in (folder / "pruning-report").iterdir()
    }
    shutil.copytree(folder / "pruning-report", folder / "base")
    same = call(folder, diff)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "nothing changed" in (folder / "comment.md").read_text()
    numbers = folder / "pruning.csv"
    numbers.write_text(re.sub(r"(0.5,params),\d+", r"\1,1", numbers.read_text()))
    snippet = configparser.ConfigParser(interpolation=None)
    snippet.read_string(CI.file("tox.ini"))
    command = snippet["testenv:pruning"]["commands"]
    # The environment's command and the workflow's are one, which writes a report besides.
    assert gate.startswith(command.replace(" {posargs}", " --report="))
    worse = call(folder, command.replace("{posargs}", "-k held_to"))
    assert worse.returncode == 1
    assert "REGRESSION small_net classifier global 0.5 params: expected 1," in worse.stdout


def test_the_pins_of_the_workflow_are_the_versions_that_are_tested() -> None:
    lines = CI.file("requirements-pruning.txt").splitlines()
    wheel = [line for line in lines if " @ " in line]
    pins = {Requirement(line).name: line for line in lines if "==" in line}
    assert {"torch", "torchvision", "torch-pruning", "fvcore", "pytest"} <= pins.keys()
    tried = (ROOT / "constraints.txt").read_text() + (ROOT / "tox.ini").read_text()
    for pin in pins.values():
        assert re.search(rf"(^|\s){re.escape(pin)}$", tried, re.MULTILINE), pin
    assert Requirement(wheel[0].partition(" @ ")[0]).extras == {"onnx"}
