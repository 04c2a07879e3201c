"""Files that the user names: imported once, picklable, with their neighbours."""

import pickle
import sys

import pytest

from analysis.errors import InputError
from analysis.network.loading import load_callable


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_is_imported_once(tmp_path) -> None:
    (tmp_path / "once.py").write_text("class A: ...\ndef b(): return A()\n")
    file = tmp_path / "once.py"
    kind, build = (load_callable(f"{file}:{name}", "it") for name in ("A", "b"))
    assert type(build()) is kind
    assert type(pickle.loads(pickle.dumps(build()))) is kind


def test_files_of_the_same_name_are_two(tmp_path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.py").write_text(f"class A:\n    folder = {folder!r}\n")
    one, two = (load_callable(f"{tmp_path}/{name}/model.py:A", "it") for name in ("one", "two"))
    assert (one.folder, two.folder) == ("one", "two")
    for kind in (one, two):
        assert type(pickle.loads(pickle.dumps(kind()))) is kind


def test_a_file_that_does_not_import_is_not_half_there(tmp_path) -> None:
    (tmp_path / "half.py").write_text("def a(): ...\nraise ValueError('half')\n")
    with pytest.raises(InputError, match="does not import: ValueError: half"):
        load_callable(f"{tmp_path}/half.py:a", "it")
    assert "half" not in sys.modules


def test_a_neighbour_may_be_imported_when_the_function_is_called(tmp_path) -> None:
    (tmp_path / "neighbour_of.py").write_text("value = 3\n")
    (tmp_path / "late.py").write_text(
        "def a():\n    import neighbour_of\n    return neighbour_of.value\n"
    )
    assert load_callable(f"{tmp_path}/late.py:a", "it")() == 3
