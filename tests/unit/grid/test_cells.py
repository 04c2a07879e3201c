"""What decides an answer decides a cell's digest, and nothing else does."""

from dataclasses import replace
from pathlib import Path

import pytest
from grid_jobs import cell

from analysis.errors import InputError
from analysis.grid.described import cells_of
from analysis.grid.records import End, How, Records
from analysis.grid.sources import imported_packages, made_with, sources
from analysis.records import Network, Request

NET = "import timm\nimport parts\nfrom folder.inner import deep\ndef net(): ...\n"
GRID = 'ratios = [0.5]\n[[subject]]\nmodel = "net.py:net"\ninput_size = [3, 8, 8]\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A factory that imports a file beside it, and one of a package that imports relatively."""
    (tmp_path / "folder").mkdir()
    for name, text in {
        "net.py": NET,
        "parts.py": "from torch import nn\n",
        "folder/__init__.py": "",
        "folder/inner.py": "from . import deeper\ndeep = 1\n",
        "folder/deeper.py": "",
        "beside.py": "",
        "grid.toml": GRID,
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def digest() -> str:
    (found,) = cells_of("grid.toml", lambda request: None)
    return found.digest


def test_the_sources_of_a_factory_are_what_it_imports_of_the_users_own(
    project,
) -> None:
    expected = {"net.py", "parts.py", "folder/__init__.py", "folder/inner.py", "folder/deeper.py"}
    assert set(sources("net.py:net")) == expected
    assert set(sources("folder.inner:deep")) == {name for name in expected if "folder" in name}
    assert sources("torch.nn:Linear") == ()


def test_the_packages_that_a_factory_imports_are_those_that_are_installed(project) -> None:
    (project / "parts.py").write_text("import torch, numpy, parts, no_such_package")
    assert imported_packages(["parts.py"]) == ("numpy", "torch")
    assert {"numpy", "torch", "fvcore", "pruning-analysis", "python"} <= dict(
        made_with(imported_packages(["parts.py"]))
    ).keys()


@pytest.mark.parametrize(
    ("name", "matters"),
    [("net.py", True), ("parts.py", True), ("folder/deeper.py", True), ("beside.py", False)],
)
def test_a_file_that_the_answer_depends_on_makes_another_cell(project, name, matters) -> None:
    before = digest()
    with (project / name).open("a") as file:
        file.write("# changed\n")
    assert (digest() != before) == matters


def test_weights_make_another_cell(project) -> None:
    (project / "grid.toml").write_text(GRID + 'weights = "net.pt"\n')
    digests = set()
    for content in (b"1", b"2"):
        (project / "net.pt").write_bytes(content)
        digests.add(digest())
    assert len(digests) == 2


def test_a_cell_is_the_same_in_another_folder(project, tmp_path_factory, monkeypatch) -> None:
    """So that records of several machines are merged by copying."""
    before = digest()
    other = tmp_path_factory.mktemp("other")
    for path in project.rglob("*.*"):
        (other / path.relative_to(project)).parent.mkdir(exist_ok=True)
        (other / path.relative_to(project)).write_bytes(path.read_bytes())
    monkeypatch.chdir(other)
    assert digest() == before


def test_names_and_limits_do_not_decide_an_answer_and_all_else_does() -> None:
    request = Request(Network("resnet18"), (0.5,))
    first = cell("square", request)
    for more in ({"name": "other"}, {"budget": 3.0}, {"memory": 1e9}, {"subject": "a"}):
        assert replace(first, **more).digest == first.digest
    others = [
        cell("square", replace(request, ratios=(0.3,))),
        cell("square", replace(request, scope="local")),
        cell("square", replace(request, network=Network("resnet18", seed=1))),
        replace(first, task="grid_jobs:other"),
        replace(first, versions=(("torch", "2.0"),)),
        replace(first, files=(("net.py", "0"),)),
    ]
    assert len({first.digest, *(each.digest for each in others)}) == 7


def test_what_is_no_data_is_no_cell_that_can_be_kept() -> None:
    with pytest.raises(InputError, match="a cell is data, and is given a function"):
        cell("square", Request(Network("resnet18"), ignore=lambda model: [])).digest  # noqa: B018


def test_records_of_other_versions_are_reported(tmp_path) -> None:
    records = Records(tmp_path)
    now = cell("square", 1, versions=(("torch", "2.15.0"),))
    for other in (
        replace(now, versions=(("torch", "2.14.0"),)),
        replace(now, versions=(("torch", "2.14.0"),), task="grid_jobs:die"),
        replace(now, task="grid_jobs:refuse"),
    ):
        records.write(other, End(how=How.REFUSED, why="no"))
    assert records.others([now]) == {"torch 2.14.0": 2, "": 1}


@pytest.mark.parametrize("name", ["notes.txt", "results.json", "0" * 63 + ".json"])
def test_a_folder_that_holds_something_else_is_none_of_records(tmp_path, name) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=f"is no folder of records: it holds '{name}'"):
        Records(tmp_path)


def test_a_file_is_no_folder_of_records(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; expected a folder of records"):
        Records(tmp_path / "file")


def test_what_is_being_written_is_no_record(tmp_path) -> None:
    (tmp_path / f".{'0' * 64}.json.abc").write_text("{")
    assert Records(tmp_path).others([cell("square", 1)]) == {}
