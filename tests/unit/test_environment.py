"""The doctor, against environments in which something is wrong."""

import subprocess
import sys

import pytest

from analysis import environment
from analysis.command_line.main import main


@pytest.fixture
def installed(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Install a package that is nothing but its metadata and its version file."""

    def install(name: str, version: str, *requires: str, build: str = "") -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        needs = "".join(f"Requires-Dist: {text}\n" for text in requires)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        (folder / "METADATA").write_text(metadata)
        package = tmp_path / name.replace("-", "_")
        package.mkdir()
        (package / "__init__.py").write_text("raise RuntimeError('nobody may import this')")
        stated = f"__version__ = '{version}{build}'\n"
        (package / "version.py").write_text(f"from typing import Optional\n{stated}")

    monkeypatch.syspath_prepend(tmp_path)
    return install


def test_this_environment_is_sound(capsys) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for package, version in environment.versions().items():
        assert f"{package} " in printed
        assert version in printed


def test_the_doctor_imports_none_of_what_it_looks_at() -> None:
    code = (
        "import sys; from analysis.command_line.main import main; status = main(['doctor']);"
        "heavy = {'torch', 'torchvision', 'torch_pruning', 'fvcore', 'numpy', 'matplotlib'};"
        "sys.exit(status or sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pair_of_builds_that_do_not_belong_together_is_explained(installed) -> None:
    installed("torch", "2.15.0", build="+cpu")
    installed("torchvision", "0.29.2", "torch (==2.15.0)", build="+cu132")
    (trouble,) = environment.diagnose()
    assert trouble.startswith("torch cpu and torchvision cu132 are builds that do not belong")
    assert "pip install --force-reinstall torch torchvision" in trouble


def test_builds_that_are_not_stated_are_not_judged(installed) -> None:
    installed("torch", "2.15.0", build="+cpu")
    installed("torchvision", "0.29.2")
    assert environment.diagnose() == []


def test_a_version_that_another_package_refuses_is_reported_with_the_cure(installed) -> None:
    installed("torch", "2.14.0", build="+cpu")
    installed("torchvision", "0.29.2", "torch (==2.15.0)", build="+cpu")
    *_, pair = environment.diagnose()
    assert pair == (
        "torchvision 0.29.2 needs torch==2.15.0, and 2.14.0 is installed: "
        "pip install --force-reinstall torch torchvision"
    )


def test_what_an_extra_needs_is_not_missed(installed) -> None:
    installed("fvcore", "1.0", 'no-such-package; extra == "all"')
    assert environment.diagnose() == []


def test_a_failure_to_import_says_which_builds_are_to_blame() -> None:
    mixed = environment.explained(RuntimeError("operator torchvision::nms does not exist"))
    assert "do not belong together" in mixed
    assert "pip install --force-reinstall torch torchvision" in mixed
    other = environment.explained(ImportError("no libjpeg"))
    assert other == (
        "the installed packages do not import (no libjpeg); run pruning-analysis doctor"
    )


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-such-package"))
    assert environment.diagnose() == [
        "no-such-package is not installed: pip install no-such-package"
    ]
