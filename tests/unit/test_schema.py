"""The schema of results.json is a schema, says what everything means, and catches drift."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from analysis.records import Reason, Verdict

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "analysis/reporting/results.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    return json.loads((ROOT / "reports/results.json").read_text())


def parts(schema: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property and definition, with its name."""
    for kind in ("properties", "$defs"):
        for key, part in schema.get(kind, {}).items():
            yield f"{name}/{key}", part
            yield from parts(part, f"{name}/{key}")
    for kind in ("items", "additionalProperties"):
        if isinstance(schema.get(kind), dict):
            yield from parts(schema[kind], f"{name}/{kind}")


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_everything_says_what_it_means() -> None:
    found = dict(parts(SCHEMA))
    assert len(found) > 100
    assert not [name for name, part in found.items() if not part.get("description")]


def test_the_committed_results_are_what_the_schema_says(committed) -> None:
    VALIDATOR.validate(committed)


def test_every_verdict_and_reason_is_known_to_the_schema() -> None:
    run, account = (SCHEMA["$defs"][name]["properties"] for name in ("run", "account"))
    assert set(run["verdict"]["enum"]) == {verdict.value for verdict in Verdict}
    assert set(account["reason"]["enum"]) == {reason.value for reason in Reason}


def without_a_key(data: dict[str, Any]) -> None:
    del data["subjects"][0]["runs"][0]["macs"]["after"]


def with_another_key(data: dict[str, Any]) -> None:
    data["subjects"][0]["runs"][0]["speed"] = 3


def with_a_verdict_that_is_none(data: dict[str, Any]) -> None:
    data["subjects"][0]["runs"][0]["verdict"] = "fine"


def with_text_for_a_number(data: dict[str, Any]) -> None:
    data["subjects"][0]["runs"][0]["max_rel_error"] = "<= 1e-12"


@pytest.mark.parametrize(
    "drift",
    [without_a_key, with_another_key, with_a_verdict_that_is_none, with_text_for_a_number],
)
def test_drift_is_caught(committed, drift) -> None:
    changed = copy.copy(committed) | {"subjects": copy.deepcopy(committed["subjects"][:1])}
    VALIDATOR.validate(changed)
    drift(changed)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(changed)
