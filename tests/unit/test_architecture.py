"""The layers of the package, read from its imports."""

import ast
import re
from pathlib import Path

import pytest

import analysis

ROOT = Path(analysis.__file__).parent

# Each row may import only the rows above it; modules of one row do not import one another.
LAYERS = (
    {"errors"},
    {"records", "loading", "environment", "budgets"},
    {"inference", "options", "layers", "workers", "handles", "segments", "known", "baseline"},
    {"operators", "sizes", "baseline_csv", "sharing"},
    {
        "subjects", "policies", "grouping", "planning", "ranking", "surgery", "masking",
        "cost_model",
        "symmetry", "float64", "verifying", "provenance",
        "residuals", "faults", "costing", "reporting",
    },
    {"demands", "proving", "auditing", "accounting", "linting", "round_trips"},
    {"stepping", "predicting"},
    {"pipeline"},
    {"checks"},
    {"study"},
    {"jobs", "cases"},
    {"commands", "zoo", "counters", "parametrizing"},
    {"cli", "pytest_plugin"},
    {"suite"},
    {"__main__", "__init__"},
)  # fmt: skip
LEVEL = {module: level for level, row in enumerate(LAYERS) for module in row}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def unit_of(path: Path) -> str:
    """The module or package of the picture that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of everything a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def units_imported(path: Path) -> set[str]:
    names = (name.split(".") for name in imported(path))
    return {parts[1] for parts in names if parts[0] == "analysis" and len(parts) > 1}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_the_layers_above_it(path: Path) -> None:
    here = unit_of(path)
    assert here in LEVEL, f"{here} has no place in the picture"
    wrong = {
        other
        for other in units_imported(path)
        if other != here and other in LEVEL and LEVEL[other] >= LEVEL[here]
    }
    assert not wrong


def test_the_layer_check_sees_a_wrong_import(tmp_path: Path) -> None:
    planted = tmp_path / "masking.py"
    planted.write_text("from analysis.pruning.surgery import step\nimport analysis.pipeline\n")
    assert units_imported(planted) == {"surgery", "pipeline"}


def importers_of(package: str) -> set[str]:
    return {
        unit_of(path)
        for path in modules()
        if any(name == package or name.startswith(f"{package}.") for name in imported(path))
    }


def test_only_costing_imports_fvcore() -> None:
    assert importers_of("fvcore") == {"costing"}


def test_the_oracle_never_imports_torch_pruning() -> None:
    assert importers_of("torch_pruning") == {"grouping", "surgery", "zoo", "counters"}


def test_reports_records_and_the_doctor_import_no_torch() -> None:
    allowed = {unit_of(path) for path in modules()} - {
        "records", "errors", "environment", "reporting", "loading", "options", "cli", "__init__",
        "__main__", "budgets", "workers", "commands", "known", "baseline", "baseline_csv",
        "pytest_plugin",
    }  # fmt: skip
    assert importers_of("torch") | importers_of("torchvision") <= allowed


def test_every_module_says_what_it_offers() -> None:
    silent = [
        path.name
        for path in modules()
        if path.name != "__main__.py"
        and not re.search(r"\n__all__(: list\[str\])? = \[", path.read_text())
    ]
    assert not silent


def test_every_door_opens() -> None:
    for name in analysis.__all__:
        assert callable(getattr(analysis, name))
