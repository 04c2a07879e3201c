"""Pages of the documentation site that are made from files in ``reports/``."""

import json
import re
from pathlib import Path

import pytest

from analysis.errors import InputError
from analysis.reporting.results import counters, published, torchvision
from analysis.reporting.results import networks as networks_page

ROOT = Path(__file__).parents[3]
PROVED = {"local": {"verdict": "exact"}, "global": {"verdict": "renormalized"}}


def model(name: str, verdict: str, untold: str | None = None) -> dict:
    return {
        "name": name, "task": "classification", "sizes": [[3, 64, 64]], "told": "", "reason": "r",
        "verdict": verdict, "max_rel_error": 1e-15, "removed": 4, "params_before": 10,
        "params_after": 4, "seconds": 1.0, "by_groups": PROVED,
        **({"untold": {"verdict": untold, "reason": "u"}} if untold else {}),
    }  # fmt: skip


def test_models_of_torchvision_are_compared_with_the_table_of_torch_pruning(tmp_path) -> None:
    """The table says that alexnet and vit_b_16 run and swin_t does not; it has no row for new."""
    models = [
        model("alexnet", "exact"),
        model("vit_b_16", "renormalized", untold="wrong"),
        model("swin_t", "exact", untold="timeout"),
        model("new", "mixed"),
    ]
    zoo = {"ratio": 0.5, "scope": "local", "models": models}
    (tmp_path / "zoo.json").write_text(json.dumps(zoo))
    section = torchvision.section(str(tmp_path))
    table = section.tables[0]
    assert table.rows == (
        ("runs", "2", "1", "1", "1", "0"),
        ("fails", "1", "0", "1", "1", "0"),
        ("not listed", "1", "0", "0", "0", "1"),
    )
    assert "77 of 85" in section.paragraphs[1]
    assert (
        "`prune`, which needs no recipe, proves 4 of 4 with the local scope"
        in (section.paragraphs[-1])
    )


def test_networks_of_other_packages_have_a_row_each(tmp_path) -> None:
    """torch-pruning prunes the first one wrongly; nothing is known of the second one."""
    networks = [
        {
            "name": "bert", "package": "transformers",
            "groups": {"groups": 1234, "prunable": 6},
            "audit": {"counts": {"same": 5, "misread": 2}},
            "costs": {"macs": 40, "macs_left": 13},
            "pruned": {"verdict": "wrong"},
            "by_groups": PROVED,
        },
        {
            "name": "yolo", "package": "ultralytics",
            **{part: {"unanswered": "u"} for part in ("groups", "audit", "costs", "pruned")},
            "by_groups": {"local": {"unanswered": "u"}, "global": {"verdict": "exact"}},
        },
    ]  # fmt: skip
    (tmp_path / "networks.json").write_text(json.dumps({"models": networks}))
    section = networks_page.section(str(tmp_path))
    (table,) = section.tables
    assert table.headers[4:9] == ("same", "misread", "missing", "cannot-be-cut", "cannot-be-told")
    assert table.rows == (
        ("bert", "transformers", "1,234", "6", "5", "2", "0", "0", "0", "32.5%", "wrong"),
        ("yolo", "ultralytics", "-", "-", "-", "-", "-", "-", "-", "-", "-"),
    )
    text = " ".join(section.paragraphs)
    assert "The groups of 1 of them are found" in text
    assert "2 `misread`, 5 `same`" in text
    assert "leaves 0 equal to their masked dense network. 1 run and compute another" in text
    assert "predicted for 1." in text
    assert "`prune` proves 1 of 2 with the local scope, all but `yolo`" in text


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (torchvision, "zoo.json"),
        (networks_page, "networks.json"),
        (counters, "counters.json"),
        (published, "published.json"),
    ],
)
def test_a_damaged_file_is_refused_and_the_committed_one_has_tables(page, name, tmp_path) -> None:
    (tmp_path / name).write_text("{")
    with pytest.raises(InputError, match=rf"{re.escape(name)}.*expected JSON"):
        page.section(str(tmp_path))
    section = page.section(str(ROOT / "reports"))
    assert all(table.rows for table in section.tables)
    assert [test for test in section.tests if not (ROOT / test).is_file()] == []
