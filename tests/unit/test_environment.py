"""The doctor, against interpreters in which something is wrong."""

import sys

import pytest

from analysis import environment
from analysis.command_line.main import main


def interpreter(folder, torchvision: str) -> str:
    """A python that finds this torchvision before the installed one."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(torchvision)
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_this_environment_is_sound(capsys) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for package, version in environment.versions().items():
        assert f"{package} " in printed
        assert version in printed


def test_a_pair_of_builds_that_do_not_belong_together_is_explained(tmp_path) -> None:
    python = interpreter(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    (trouble,) = environment.diagnose(python)
    assert "do not belong together" in trouble
    assert "operator torchvision::nms does not exist" in trouble
    assert "pip install --force-reinstall torch torchvision" in trouble


def test_another_failure_is_reported_as_it_is(tmp_path) -> None:
    python = interpreter(tmp_path, "raise ImportError('no libjpeg')")
    (trouble,) = environment.diagnose(python)
    assert trouble.endswith("do not import: ImportError: no libjpeg")


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-such-package"))
    assert environment.diagnose() == [
        "no-such-package is not installed: pip install no-such-package"
    ]
