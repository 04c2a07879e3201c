"""Two reports compared: the exit status, what is said first, and how much is said."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.command_line.main import main

CHECKS = ("forward_runs", "equivalent_to_masked", "survives_onnx")


def run(ratio: float, verdict: str = "exact", **changed: Any) -> dict[str, Any]:
    """One pruning, by hand, as the schema of results.json has it."""
    return {
        "ratio": ratio,
        "scope": "global",
        "importance": "l1",
        "ignore": "classifier",
        "round_to": None,
        "max_pruning_ratio": 1.0,
        "verdict": verdict,
        "reason": "",
        "max_rel_error": None,
        "channels": {"prunable": 40, "requested": 20, "removed": 20},
        "groups": [],
        "params": {"before": 100, "after": 40, "requested": 40},
        "macs": {"before": 1000, "after": 500, "requested": 500},
        "bytes": {"before": 400, "after": 160},
        "checks": [{"name": name, "passed": True, "message": "", "skipped": ""} for name in CHECKS],
    } | changed


def report(*runs: dict[str, Any], name: str = "net.py:Net") -> dict[str, Any]:
    return {"schema": 1, "subjects": [{"subject": {"name": name}, "runs": [*runs]}]}


def compared(tmp_path: Path, before: Any, after: Any, *options: str) -> int:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, data in zip(paths, (before, after), strict=True):
        path.write_text(data if isinstance(data, str) else json.dumps(data))
    return main(["diff", *map(str, paths), *options])


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[part.strip() for part in line.strip("|").split(" | ")] for line in lines]


def test_a_report_against_itself_is_unchanged(tmp_path, capsys) -> None:
    same = report(run(0.3), run(0.5))
    assert compared(tmp_path, same, copy.deepcopy(same)) == 0
    said = capsys.readouterr().out
    assert said == "### Prunings compared: nothing changed\n\n2 prunings unchanged.\n"


def test_a_verdict_that_no_longer_passes_is_a_regression_and_comes_first(tmp_path, capsys) -> None:
    before = report(run(0.1), run(0.3), run(0.5, "wrong"))
    cheaper = run(0.1, macs={"before": 1000, "after": 400, "requested": 400})
    after = report(cheaper, run(0.3, "wrong", reason="a | b"), run(0.5))
    assert compared(tmp_path, before, after) == 1
    said = capsys.readouterr().out
    assert said.startswith("### Prunings compared: 1 worse, 2 better\n")
    assert rows(said) == [
        ["**worse**", "`net.py:Net`", "classifier, global, 0.3",
         r"verdict exact → wrong (a \| b)"],
        ["better", "`net.py:Net`", "classifier, global, 0.1", "MACs 500 → 400 (-20.0%)"],
        ["better", "`net.py:Net`", "classifier, global, 0.5", "verdict wrong → exact"],
    ]  # fmt: skip
    assert said.endswith("\n0 prunings unchanged.\n")


@pytest.mark.parametrize(
    ("changed", "output", "status"),
    [
        ({"macs": {"before": 1000, "after": 510, "requested": 500}}, "MACs 500 → 510 (+2.0%)", 1),
        ({"params": {"before": 100, "after": 30, "requested": 40}},
         "parameters 40 → 30 (-25.0%)", 0),
        ({"bytes": {"before": 400, "after": 200}}, "bytes 160 → 200 (+25.0%)", 1),
        ({"channels": {"prunable": 40, "requested": 20, "removed": 19}},
         "channels removed 20 → 19 (-5.0%)", 1),
        ({"channels": {"prunable": 40, "requested": 20, "removed": 24}},
         "channels removed 20 → 24 (+20.0%)", 0),
        ({"macs": {"before": 1000, "after": None, "requested": None}}, "MACs 500 → unknown", 0),
    ],
)  # fmt: skip
def test_each_cost_says_by_how_much_and_which_way(
    tmp_path, capsys, changed, output, status
) -> None:
    assert compared(tmp_path, report(run(0.5)), report(run(0.5, **changed))) == status
    assert [row[-1] for row in rows(capsys.readouterr().out)] == [output]


def test_one_check_that_fails_is_not_made_good_by_another_that_passes(tmp_path, capsys) -> None:
    def checks(*passed: bool) -> list[dict[str, Any]]:
        return [
            {"name": name, "passed": each, "message": "", "skipped": ""}
            for name, each in zip(CHECKS, passed, strict=True)
        ]

    before = report(run(0.5, checks=checks(True, False, True)))
    assert compared(tmp_path, before, report(run(0.5, checks=checks(False, True, True)))) == 1
    assert [row[-1] for row in rows(capsys.readouterr().out)] == [
        "checks that fail now: forward_runs",
        "checks that pass now: equivalent_to_masked",
    ]


def test_a_check_that_was_skipped_neither_passes_nor_fails(tmp_path, capsys) -> None:
    after = run(0.5)
    after["checks"][2]["skipped"] = "onnx is not installed"
    assert compared(tmp_path, report(run(0.5)), report(after)) == 0
    assert rows(capsys.readouterr().out)[0][-1] == "checks that no longer run: survives_onnx"


def test_what_only_one_report_has_is_new_or_gone_and_no_regression(tmp_path, capsys) -> None:
    before, after = report(run(0.3), run(0.5)), report(run(0.5), run(0.8, "broken", reason="why"))
    assert compared(tmp_path, before, after) == 0
    said = rows(capsys.readouterr().out)
    assert [(row[0], row[2], row[3]) for row in said] == [
        ("new", "classifier, global, 0.8", "verdict broken (why)"),
        ("gone", "classifier, global, 0.3", "verdict exact"),
    ]


def test_the_markdown_has_at_most_60_lines_and_says_what_it_leaves_out(tmp_path, capsys) -> None:
    ratios = [place / 200 for place in range(150)]
    before = report(*(run(ratio) for ratio in ratios))
    after = report(*(run(ratio, "wrong" if ratio == 0.7 else "mixed") for ratio in ratios))
    assert compared(tmp_path, before, after) == 1
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 60
    assert rows(said)[0][2] == "classifier, global, 0.7"
    assert "100 more rows are in the JSON" in said


def test_the_json_has_every_value_that_changed(tmp_path, capsys) -> None:
    after = run(0.5, "wrong")
    after["checks"][0]["passed"] = False
    assert compared(tmp_path, report(run(0.5)), report(after, run(0.8)), "--json", "-") == 1
    data = json.loads(capsys.readouterr().out)
    place = {"subject": "net.py:Net", "ignore": "classifier", "scope": "global"}
    worse, new = place | {"ratio": 0.5, "change": "worse"}, place | {"ratio": 0.8, "change": "new"}
    assert data == {
        "schema": 1,
        "regressed": True,
        "changes": [
            worse | {"of": "forward_runs", "before": "passed", "after": "failed"},
            worse | {"of": "verdict", "before": "exact", "after": "wrong"},
            new | {"of": "run", "before": None, "after": "exact"},
        ],
    }


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("{", "expected JSON"),
        ("[]", "expected the results.json of a report"),
        ('{"schema": 1}', "no 'subjects'; expected the results.json of a report"),
        ('{"schema": 2, "subjects": []}', "schema 2 and not 1; expected"),
        (json.dumps(report(run(0.5, "splendid"))), "splendid"),
        (json.dumps(report(run(1.5))), "pruning ratio 1.5"),
        (json.dumps(report({"ratio": 0.5})), "expected the results.json of a report"),
        ("\0\udc80".encode("utf-8", "replace").decode(), "expected JSON"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path, capsys, text, output) -> None:
    assert compared(tmp_path, report(), text) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert output in said.err
    assert "b.json" in said.err


def test_a_file_that_is_not_there_is_named(tmp_path, capsys) -> None:
    assert main(["diff", str(tmp_path / "no.json"), str(tmp_path / "no.json")]) == 2
    assert "no.json: no such file; expected the results.json of a report" in capsys.readouterr().err


def test_what_a_report_wrote_is_compared_with_a_fault_planted_in_it(tmp_path, capsys) -> None:
    before = json.loads((Path(__file__).parents[3] / "reports" / "results.json").read_text())
    after = copy.deepcopy(before)
    assert compared(tmp_path, before, after) == 0
    broken = after["subjects"][0]["runs"][0]
    broken["groups"][0]["removed"] = 0
    broken["channels"]["removed"] -= broken["groups"][0]["requested"]
    assert compared(tmp_path, before, after) == 1
    assert "groups dropped 0 → 1" in capsys.readouterr().out


def test_neither_torch_nor_matplotlib_is_imported(tmp_path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(report(run(0.5))))
    code = (
        "import sys; from analysis.command_line.main import main; "
        f"status = main(['diff', {str(path)!r}, {str(path)!r}]); "
        "print(status, sorted({'torch', 'matplotlib'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "0 []"
