"""Files that the user names: imported once, picklable, with their neighbours."""

import pickle
import sys

import pytest

from analysis.errors import InputError
from analysis.network.loading import check_reference, load_callable


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


WHOLE = """
import os.path, json as reader
from math import sqrt as root

def net(): return None
class Net: ...
one, (two, *rest) = 1, (2, 3)
if one:
    late = 4
for each in (): pass
"""


@pytest.mark.parametrize(
    "name", ["net", "Net", "os", "reader", "root", "one", "two", "rest", "late", "each"]
)
def test_a_name_that_the_file_defines_passes_unimported(tmp_path, name: str) -> None:
    (tmp_path / "whole.py").write_text("raise_if_imported = None\n" + WHOLE)
    check_reference(f"{tmp_path / 'whole.py'}:{name}", "model factory")


def test_a_name_that_the_file_does_not_define_is_refused_with_the_closest(tmp_path) -> None:
    (tmp_path / "whole.py").write_text(WHOLE)
    with pytest.raises(InputError, match=r"has no 'nett'; did you mean 'net'\?"):
        check_reference(f"{tmp_path / 'whole.py'}:nett", "model factory")


@pytest.mark.parametrize(
    "text",
    [
        "locals()['net'] = print",
        "exec('net = print')",
        "def __getattr__(name): return print",
        "def register(f): globals()[f.__name__ + 't'] = f\n@register\ndef ne(): ...",
        "def define():\n    global net\n    net = print\ndefine()",
        "import sys\nsetattr(sys.modules[__name__], 'net', print)",
    ],
)
def test_a_file_that_may_define_more_than_it_says_is_not_judged(tmp_path, text: str) -> None:
    (tmp_path / "more.py").write_text(text)
    reference = f"{tmp_path / 'more.py'}:net"
    check_reference(reference, "model factory")
    assert callable(load_callable(reference, "model factory"))


def test_what_another_module_may_give_is_not_judged(tmp_path) -> None:
    (tmp_path / "star.py").write_text("from math import *")
    check_reference(f"{tmp_path / 'star.py'}:sqrt", "model factory")


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        ("\ufeffdef net(): ...".encode(), "net"),
        ("# coding: latin-1\ndef na\xefve(): ...".encode("latin-1"), "na\xefve"),
        ("def \ufb01ne(): ...".encode(), "fine"),  # Python reads the ligature as two letters
    ],
)
def test_source_is_read_as_python_reads_it(tmp_path, encoded: bytes, name: str) -> None:
    (tmp_path / "coded.py").write_bytes(encoded)
    check_reference(f"{tmp_path / 'coded.py'}:{name}", "model factory")
    with pytest.raises(InputError, match="has no 'other'"):
        check_reference(f"{tmp_path / 'coded.py'}:other", "model factory")


@pytest.mark.parametrize("encoded", [b"def net(:", b"\xff\xfe\x00", b"# coding: nonsense\n"])
def test_what_is_no_python_is_refused_in_a_line(tmp_path, encoded: bytes) -> None:
    (tmp_path / "broken.py").write_bytes(encoded)
    with pytest.raises(InputError, match="does not import") as caught:
        check_reference(f"{tmp_path / 'broken.py'}:net", "model factory")
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_there_is_refused_and_one_that_is_passes() -> None:
    check_reference("torch.nn:Identity", "model factory")
    with pytest.raises(InputError, match="No module named 'nowhere'"):
        check_reference("nowhere.at:all", "model factory")
