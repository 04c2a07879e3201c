"""What ``results.json`` holds is what its schema says, and every field is explained."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from analysis.records import COLUMNS, SCOPES, Network, Reason, Request, Verdict
from analysis.reporting import as_json
from analysis.reporting.sections import cured as section_of_cured
from analysis.study import study

SCHEMA = json.loads(Path(as_json.__file__).with_name("results.schema.json").read_text("utf-8"))
COMMITTED = Path(__file__).parents[3] / "reports" / "results.json"


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Of a small network, as they are read from the file."""
    found = study([Request(Network("tests/nets.py:Residual", (3, 6, 6)))], workers=1)
    return json.loads(as_json.dump(as_json.study(found)))


def errors(results: Any) -> list[str]:
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(SCHEMA).iter_errors(results)
    ]


def objects(schema: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that names fields, with its place."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield place, schema
        for name, part in schema.items():
            yield from objects(part, f"{place}/{name}")


def part(results: Any, place: str) -> Any:
    """The part of the results at ``subjects/0/runs/0``."""
    for step in filter(None, place.split("/")):
        results = results[int(step) if step.isdigit() else step]
    return results


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_committed_results_are_as_the_schema_says() -> None:
    assert not errors(json.loads(COMMITTED.read_text("utf-8")))


def test_results_of_a_small_network_are_as_the_schema_says(results) -> None:
    assert not errors(results)


def test_every_field_is_described() -> None:
    fields = {
        f"{place}/{name}": field.get("description", "")
        for place, schema in objects(SCHEMA)
        for name, field in schema["properties"].items()
    }
    assert len(fields) > 100
    assert [place for place, text in fields.items() if not text.endswith(".")] == []


def test_fixed_values_are_those_of_the_records() -> None:
    defs = SCHEMA["$defs"]
    assert defs["verdict"]["enum"] == [*Verdict]
    assert defs["group_account"]["properties"]["reason"]["enum"] == [*Reason]
    assert defs["scope"]["enum"] == [*SCOPES]
    assert list(defs["columns"]["properties"]) == [*COLUMNS]


@pytest.mark.parametrize(
    ("place", "name", "value", "said"),
    [
        (
            "subjects/0/runs/0",
            "verdict",
            "fine",
            "$.subjects[0].runs[0].verdict: 'fine' is not one",
        ),
        ("subjects/0/runs/0/macs", "before", -1, "$.subjects[0].runs[0].macs.before: -1 is less"),
        ("", "new", 0, "$: Additional properties are not allowed ('new'"),
        ("subjects/0/runs/0", "new", 0, "$.subjects[0].runs[0]: Additional properties are not"),
        ("subjects/0/dense", "new", 0, "$.subjects[0].dense: Unevaluated properties are not"),
        ("subjects/0/layers_after/0", "new", 0, "$.subjects[0].layers_after[0]: Unevaluated"),
    ],
)
def test_a_value_or_a_field_that_the_schema_does_not_know_is_found(
    results, place, name, value, said
) -> None:
    drifted = deepcopy(results)
    part(drifted, place)[name] = value
    (error,) = errors(drifted)
    assert error.startswith(said)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("", "command"),
        ("subjects/0", "headline"),
        ("subjects/0/dense", "uncounted"),
        ("subjects/0/layers_after/0", "ratio"),
        ("subjects/0/runs/0", "max_rel_error"),
    ],
)
def test_a_field_that_is_missing_is_found(results, place, name) -> None:
    drifted = deepcopy(results)
    del part(drifted, place)[name]
    assert any(f"'{name}' is a required property" in error for error in errors(drifted))


def test_a_right_pruning_is_shown_beside_a_wrong_one(tmp_path) -> None:
    (tmp_path / "flipping.py").write_text(FLIPPED)
    found = study([Request(Network(f"{tmp_path}/flipping.py:Flipped", (3, 8, 8)))], [0.5])
    data = json.loads(as_json.dump(as_json.study(found)))
    assert errors(data) == []
    (subject,) = data["subjects"]
    (cured,) = subject["cured"]
    assert [run["verdict"] for run in subject["runs"] if run["ignore"] == cured["ignore"]] == [
        "wrong",
        "wrong",
    ]
    assert cured["verdict"] == "exact"
    (section,) = section_of_cured.sections(found)
    assert section.tables[0].rows[0][4:6] == ("wrong", "exact")


def test_a_right_pruning_has_no_alternative_beside_it(results) -> None:
    assert "cured" not in results["subjects"][0]


FLIPPED = """
from torch import nn


class Flipped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu().flip(1)).mean((2, 3)))
"""
