"""A grid in TOML: its cells in order, and bad input with its line."""

from itertools import product
from pathlib import Path

import pytest

from analysis.command_line.arguments import check_references
from analysis.errors import InputError
from analysis.grid.described import cells_of
from analysis.records import Timing

HEAD = """\
ratios = [0.3, 0.5]
policies = ["classifier", ["first", "second"]]
scopes = ["global", "local"]

"""
SUBJECT = """\
[[subject]]
model = "net.py:net"
input_size = [3, 8, 8]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text("def net(): ...\ndef own(): ...\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(text: str) -> list:
    Path("grid.toml").write_text(text)
    return cells_of("grid.toml", check_references)


def test_a_grid_is_every_subject_in_every_way_in_the_order_of_the_file() -> None:
    found = cells(HEAD + SUBJECT + SUBJECT.replace("3, 8, 8", "3, 9, 9"))
    asked = [cell.arguments[0] for cell in found]
    ways = product((8, 9), ("classifier", ("first", "second")), ("global", "local"), (0.3, 0.5))
    assert [
        (request.network.input_size[1], request.ignore, request.scope, *request.ratios)
        for request in asked
    ] == list(ways)
    assert found[0].name == "net.py:net 0.3 classifier global"
    assert len({cell.digest for cell in found}) == len(found) == 16
    assert len({cell.subject for cell in found}) == 2


def test_a_pruner_of_the_users_own_has_its_own_policy_and_scope() -> None:
    found = cells(HEAD + SUBJECT + 'pruner = "net.py:own"\n')
    assert [cell.name for cell in found] == [
        "net.py:net 0.3 its own pruner",
        "net.py:net 0.5 its own pruner",
    ]


def test_measures_are_checks_of_the_catalogue() -> None:
    (few,) = {cell.arguments[1] for cell in cells(SUBJECT)}
    (trips,) = {cell.arguments[1] for cell in cells('measures = ["proof", "trips"]\n' + SUBJECT)}
    assert "equivalent_to_masked" in few
    assert {name for name in trips if name not in few} == {
        "survives_state_dict", "survives_pickling", "survives_export", "survives_onnx",
        "survives_gpu",
    }  # fmt: skip


def test_latency_is_a_measure_that_runs_no_check_and_is_part_of_what_is_asked() -> None:
    timed, plain = (cells(f'measures = ["{name}"]\n{SUBJECT}')[0] for name in ("latency", "costs"))
    assert timed.arguments[1] == plain.arguments[1] == ()
    assert timed.arguments[0].latency == Timing(layers=False)
    assert plain.arguments[0].latency is None
    assert timed.digest != plain.digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ratio = [0.3]\n" + SUBJECT, "grid.toml:1: unknown key 'ratio'; did you mean 'ratios'?"),
        (SUBJECT + "imput_size = [3]\n", "grid.toml:4: unknown key 'imput_size'; did you mean"),
        (HEAD + "\n[[subjects]]\n", "grid.toml:6: unknown key 'subjects'; did you mean 'subject'?"),
        ("scopes = ['globl']\n" + SUBJECT, "grid.toml:1: 'globl' is not known; did you mean 'gl"),
        ("policies = ['residual-block']\n" + SUBJECT, "grid.toml:1: unknown policy 'residual-bl"),
        ("\nratios = [30]\n" + SUBJECT, "grid.toml:2: pruning ratio 30; expected a number in [0"),
        ("ratios = 0.3\n" + SUBJECT, "grid.toml:1: ratios = 0.3; expected a list of values"),
        ("ratios = []\n" + SUBJECT, "grid.toml:1: ratios = []; expected a list of values"),
        ("measures = ['speed']\n" + SUBJECT, "grid.toml:1: 'speed' is not known; expected one of"),
        ("ratios = [{a = 1}]\n" + SUBJECT, "grid.toml:1: ratios = [{'a': 1}]; expected no table"),
        (SUBJECT + SUBJECT + "seed = -1\n", "grid.toml:7: seed -1; expected a whole number"),
        (SUBJECT.replace("net.py:net", "net.py:nett"), "has no 'nett'; did you mean 'net'?"),
        (SUBJECT.replace("net.py:net", "resnet19"), "grid.toml:1: unknown model 'resnet19'"),
        (SUBJECT + 'weights = "gone.pt"\n', "grid.toml:1: weights"),
        ("[[subject]]\nseed = 1\n", "grid.toml:1: a subject without a model; expected model ="),
        ("[[subject]]\nmodel = 1\n", "grid.toml:2: 1 is of type int; expected a string"),
        ("subject = [1]\n", "grid.toml: 1; expected a table"),
        (HEAD, "grid.toml: no subject; expected [[subject]] tables, each with a model"),
        ("[subject]\nmodel = 'a'\n", "grid.toml: no subject; expected [[subject]] tables"),
        ("ratios = [0.3\n", "grid.toml: "),
    ],
)  # fmt: skip
def test_bad_input_is_reported_with_its_line_and_what_is_expected(text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        cells(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_reported() -> None:
    with pytest.raises(InputError, match=r"cannot read 'gone.toml': No such file"):
        cells_of("gone.toml", check_references)
