"""The report's section on other pruners, from a file that is made up."""

import json
from pathlib import Path

from analysis.reporting.section import Absent, Section
from analysis.reporting.sections.pruners import section

NETWORK = {
    "network": "net", "verdict": "exact", "passed": True, "reason": "", "layers": 3, "untied": [],
}  # fmt: skip
PRUNERS = [
    {
        "pruner": "one", "what": "half", "packages": ["one==1.0", "torch"], "failure": "",
        "networks": [
            NETWORK,
            {**NETWORK, "network": "other", "verdict": "wrong", "passed": False, "reason": "heads",
             "untied": [{"names": ["a", "b"], "added": 1600}]},
        ],
    },
    {
        "pruner": "two", "what": "all", "packages": [], "failure": "ImportError: no such module",
        "networks": [],
    },
]  # fmt: skip


def test_each_network_has_its_verdict_and_each_failure_its_line(tmp_path: Path) -> None:
    (tmp_path / "pruners.json").write_text(json.dumps({"schema": 1, "pruners": PRUNERS}))
    found = section(str(tmp_path))
    assert isinstance(found, Section)
    assert found.gist == "1 of 2 networks of 2 pruners are pruned rightly"
    assert "two did not run to its end: `ImportError: no such module`" in found.paragraphs
    verdicts, needed = found.tables
    told = "heads; `a` and `b` are no longer tied, which adds 1,600 parameters"
    assert verdicts.rows == (
        ("one", "half", "net", "exact", "3", "-"),
        ("one", "half", "other", "wrong", "3", told),
    )
    assert ("one", "one==1.0, torch") in needed.rows


def test_without_the_file_it_says_how_it_is_made(tmp_path: Path) -> None:
    found = section(str(tmp_path))
    assert isinstance(found, Absent)
    assert "tox run -e pruners" in found.why
