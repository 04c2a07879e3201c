"""Networks of other packages: their records, how a run resumes, and what was committed."""

import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from analysis import environment
from analysis.grid.cells import Cell
from analysis.grid.records import End, How
from analysis.zoo import collected, examining
from analysis.zoo.__main__ import main
from analysis.zoo.networks import NETWORKS
from analysis.zoo.running import Gathered, Part, compare, run
from analysis.zoo.subjects import SUBJECTS

REPORTS = Path(__file__).parents[3] / "reports"
# m5 by hand: four convolutions (width in, width out, kernel) with norms, and a linear layer.
STEPS = ((1, 32, 80), (32, 32, 3), (32, 64, 3), (64, 64, 3))
HALVED = ((1, 16, 80), (16, 16, 3), (16, 32, 3), (32, 32, 3))


def parameters(steps) -> int:
    convolutions = sum(made * (read * kernel + 1) + 2 * made for read, made, kernel in steps)
    return convolutions + 35 * (steps[-1][1] + 1)


def test_the_record_of_a_network_is_what_a_hand_counts() -> None:
    groups = asdict(examining.groups("m5"))
    assert groups.pop("seconds") >= 0
    assert groups == {"groups": 5, "prunable": 4, "channels": 192 + 35, "sets": 192}
    audit = examining.audit("m5", 60.0)
    assert (audit.counts, audit.differing) == ({"same": 5}, ())
    costs, pruned = examining.costs("m5"), examining.pruned("m5")
    assert (costs.params, costs.params_left) == (parameters(STEPS), parameters(HALVED))
    assert (pruned.params_before, pruned.params_after) == (costs.params, costs.params_left)
    assert (pruned.verdict, pruned.reason, pruned.removed) == ("exact", "", 96)
    assert costs.macs_left is not None
    assert costs.macs_left < costs.macs / 2
    assert costs.reason == ""


def ends_of_m5(**given: End) -> dict[str, End]:
    """How the parts of a network end: as given, and all others with their answer."""
    cells = collected.OTHERS.cells("m5", 8.0)
    return {key: given.get(key) or End(answer(cell)) for key, cell in cells.items()}


@cache
def answer(cell: Cell) -> dict[str, Any]:
    found = getattr(examining, cell.function)(*cell.arguments)
    return json.loads(json.dumps(asdict(found)))


def record_of_m5(**given: End) -> dict[str, Any]:
    return collected.OTHERS.record("m5", NETWORKS["m5"], ends_of_m5(**given))


LATE = End(how=How.TIME, why="no answer within 8 s while auditing the groups", limit=8.0)
DEAD = End(how=How.DIED, why="the working process died")


def test_what_is_asked_of_a_network_is_asked_part_by_part() -> None:
    cells = collected.OTHERS.cells("m5", 8.0)
    assert list(cells) == ["groups", "audit", "costs", "pruned", "global", "local"]
    assert cells["audit"].arguments == ("m5", 2.0)
    assert {cell.budget for cell in cells.values()} == {8.0}
    assert {cell.subject for cell in cells.values()} == {"m5"}
    told = collected.TORCHVISION.cells("vit_b_32", 600.0)
    assert [cell.budget for cell in told.values()] == [600.0, 60.0, 600.0, 600.0]
    assert list(collected.TORCHVISION.cells("resnet18", 600.0)) == ["told", "global", "local"]


def test_a_part_that_hangs_or_dies_leaves_the_others_their_answers() -> None:
    record = record_of_m5(audit=LATE, costs=DEAD)
    assert record["audit"] == {"unanswered": "no answer within 8 s while auditing the groups"}
    assert record["costs"] == {"unanswered": "the working process died"}
    assert record["groups"]["groups"] == 5
    assert record["pruned"]["verdict"] == "exact"
    halved = {scope: each["params_after"] for scope, each in record["by_groups"].items()}
    assert halved["local"] == parameters(HALVED)
    assert collected.OTHERS.failures(record) == {"audit": "unanswered", "costs": "unanswered"}
    line = collected.OTHERS.line(record)
    assert line == (
        "m5: 4 of 5 groups prunable; no answer within 8 s while auditing the groups; the working "
        "process died; exact; by its groups: global exact, local exact"
    )
    json.dumps(record)


def test_a_pruning_without_an_answer_has_no_verdict_but_that_it_took_too_long() -> None:
    for end, verdict, words in (
        (DEAD, "unanswered", "no verdict the working process died"),
        (LATE, "timeout", "timeout no answer within 8 s while auditing the groups"),
    ):
        record = record_of_m5(pruned=end)
        assert collected.OTHERS.failures(record) == {"verdict": verdict}
        assert f"; {words}; by its groups: " in collected.OTHERS.line(record)


def test_a_pruning_by_groups_that_is_not_proved_is_listed_by_scope() -> None:
    record = record_of_m5(**{"global": LATE, "local": LATE})
    expected = {"by groups, global": "timeout", "by groups, local": "timeout"}
    assert collected.OTHERS.failures(record) == expected
    assert collected.OTHERS.line(record).endswith("by its groups: global timeout, local timeout")


def test_a_model_of_torchvision_that_dies_is_broken_and_one_that_hangs_timed_out() -> None:
    subject = SUBJECTS["vit_b_32"]
    cut = End({"verdict": "exact"})
    ends = {"told": DEAD, "untold": LATE, "global": cut, "local": DEAD}
    record = collected.TORCHVISION.record("vit_b_32", subject, ends)
    assert (record["verdict"], record["reason"]) == ("broken", "the working process died")
    assert (record["untold"]["verdict"], record["seconds"]) == ("timeout", None)
    assert collected.TORCHVISION.failures(record) == {
        "verdict": "broken",
        "untold": "timeout",
        "by groups, local": "unanswered",
    }


@pytest.fixture
def gathered(tmp_path: Path) -> Gathered:
    """Two networks, the second of which fails; each look at one is written to a file."""

    (tmp_path / "known.json").write_text('{"b": {"verdict": "wrong", "reason": "it must"}}')
    return Gathered(
        name="test",
        subjects={"a": 0, "b": 1},
        module="grid_jobs",
        parts=lambda subject, budget: {"look": Part("looked_at", (subject, str(tmp_path)), budget)},
        record=lambda name, subject, ends: ends["look"].answer,
        sorted_by="kind",
        failures=lambda record: record["fails"],
        line=lambda record: record["name"],
        known=tmp_path / "known.json",
        store=tmp_path / "store",
    )


def looked(folder: Path) -> list[str]:
    file = folder / "looked"
    lines = sorted(file.read_text().splitlines()) if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_a_run_looks_at_what_has_no_record(gathered, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "out.json"
    assert run(gathered, ["b"], str(out), 50) == 0
    assert (looked(tmp_path), out.exists()) == (["b 1"], False)
    assert run(gathered, [], str(out), 50) == 0
    assert looked(tmp_path) == ["a 0"]
    assert run(gathered, [], str(out), 50) == 0
    assert looked(tmp_path) == []
    assert run(gathered, [], str(out), 70, fresh=True) == 0
    assert looked(tmp_path) == ["a 0", "b 1"]
    monkeypatch.setattr(environment, "_version", lambda package: "of tomorrow")
    assert run(gathered, [], str(out), 50) == 0
    assert looked(tmp_path) == ["a 0", "b 1"]
    content = json.loads(out.read_text())
    assert [record["name"] for record in content["models"]] == ["a", "b"]
    assert content["versions"]["torch"] == "of tomorrow"
    printed = capsys.readouterr()
    assert "small: 1 of 2 proved\n  b\n" in printed.out
    assert printed.err == ""  # no progress where nobody watches


def test_a_verdict_that_is_not_known_ends_with_1(gathered, tmp_path, capsys) -> None:
    gathered.known.write_text('{"a": {"verdict": "wrong", "reason": "of old"}}')
    assert run(gathered, [], str(tmp_path / "out.json"), 50) == 1
    output = capsys.readouterr().out
    assert "a (verdict): passes, and known as wrong\n" in output
    assert "b (verdict): wrong, and known as passing\n" in output


def test_a_collection_that_cannot_start_says_why_in_a_line(gathered, tmp_path, capsys) -> None:
    assert run(gathered, ["c"], "", 5) == 2
    assert capsys.readouterr().err == "no network 'c' in the test; expected one of a, b\n"
    lacking = replace(gathered, packages=("not-to-be-had",), extra="networks")
    assert run(lacking, [], "", 5) == 2
    assert capsys.readouterr().err == (
        "not-to-be-had is not installed: pip install '.[networks]'\n"
    )
    assert looked(tmp_path) == []


def test_an_unknown_model_of_the_zoo_is_refused(capsys) -> None:
    assert main(["resnet19"]) == 2
    assert capsys.readouterr().err.startswith("no network 'resnet19' in the zoo; expected one of")


def test_every_network_has_a_record_and_ends_as_known() -> None:
    committed = json.loads((REPORTS / "networks.json").read_text())["models"]
    assert {record["name"] for record in committed} == set(NETWORKS)
    assert len(committed) == 48
    known = json.loads(collected.OTHERS.known.read_text())
    assert compare(committed, known, collected.OTHERS.failures) == []
    assert all(entry["reason"] for entry in known.values())
