"""The wings of the package and their order, read from its imports."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import analysis

ROOT = Path(analysis.__file__).parent

# Each wing may import only those above it; wings of one row do not import one another.
WINGS = (
    ("errors",),
    ("environment",),
    ("records",),
    ("processes",),
    ("network",),
    ("groups",),
    ("pruning",),
    ("opened", "proof", "costs"),
    ("dense",),
    ("pipeline",),
    ("pipeline", "comparing"),
    ("accuracy", "latencies"),
    ("pruned",),
    ("minimizing",),
    ("checks",),
    ("gate",),
    ("reporting",),
    ("saved",),
    ("shipped",),
    ("runs",),
    ("grid", "study_parts"),
    ("study", "zoo", "counters", "sensitivities"),
    ("command_line",),
    ("pytest_plugin",),
    ("suite",),
    ("layers", "__init__", "__main__"),
)

# The same inside each wing, and each room, that has more than one.
ROOMS = {
    "records": (
        ("targets", "accuracy"),
        ("latency",),
        ("requests", "groups", "conventions"),
        ("pruning",),
        ("costs",),
        ("proof",),
        ("runs", "comparing"),
        ("advice", "sensitivity"),
        ("study",),
    ),
    "processes": (("budgets", "preloaded"), ("workers",), ("shared_cache",)),
    "network": (
        ("computed_weights", "copying", "lines", "modules", "outputs", "own_sizes", "owners"),
        ("attributes", "operands", "sparse"),
        ("inference", "restoring", "layers", "loading", "model_names"),
        ("failures", "operators", "sizes", "usable", "float64", "gradients"),
        ("labels", "measuring"),
        ("passed",),
        ("archives", "merging", "onnx_files"),
        ("programs", "states"),
        ("subjects", "cutting", "reached"),
    ),
    "network.labels": (
        ("planes", "operators", "reasons", "written_out"),
        ("records", "arguments"),
        ("meeting", "origins"),
        ("aliases",),
        ("calls",),
        ("contractions", "windows", "moving", "separate", "numbered"),
        ("writing",),
        ("rules", "scaled"),
        ("tracing",),
    ),
    "groups": (
        ("policies", "coupling", "retracing", "positions", "repeating", "heads", "by_class"),
        ("departing", "draws", "reconciling"),
        ("trying",),
        ("inspecting",),
        ("reading",),
        ("depgraph", "explaining", "auditing", "linting", "naive_cuts"),
    ),
    "pruning": (
        ("channel_classes",),
        ("importances",),
        ("ranked", "emptying", "asked_of_layers"),
        ("rules",),
        ("planning", "expected"),
        ("widths",),
        ("by_groups",),
        ("own_importances", "heads_of_sets"),
        ("group_pruner",),
        ("surgery",),
        ("pruners",),
        ("requested",),
        ("asked",),
    ),
    "proof": (
        ("recurrent_tags",),
        (
            "comparing",
            "masking",
            "differences",
            "distinct_values",
            "draws",
            "faults",
            "kept_channels",
            "staying",
            "constants",
            "flow",
            "lines",
            "norms",
        ),
        ("leaves",),
        ("exercised",),
        (
            "attributes",
            "by_sizes",
            "conflicts",
            "holds",
            "labels_left",
            "lookups",
            "loops",
            "meetings",
            "own_arguments",
        ),
        ("chosen", "numbers_used", "picked"),
        ("repeated",),
        ("structure",),
        ("other_sizes",),
        ("masked_dense", "round_trips"),
        ("proving",),
        ("stepping", "tried_cuts"),
        ("mismatch",),
    ),
    "comparing": (
        ("evidence",),
        ("recovering",),
        ("meeting", "telling"),
        ("compared",),
        ("files", "watching"),
    ),
    "costs": (
        ("op_handles", "saved_size"),
        ("symbolic_sizes",),
        ("size_rules",),
        ("cost_model", "counting", "columns", "reaching"),
        ("products", "followed", "folding"),
        ("accounting",),
        ("predicting", "run_costs"),
        ("target_pruner",),
    ),
    "latencies": (
        ("clocks", "medians", "timing", "explaining"),
        ("backends", "layers"),
        ("machine",),
        ("measuring",),
        ("reaching",),
    ),
    "minimizing": (
        ("code", "remade"),
        ("tracing",),
        ("small",),
        ("failing", "shrinking"),
        ("writing",),
        ("minimized",),
    ),
    "checks": (
        ("outcomes",),
        ("structure", "channels", "targets"),
        ("weights", "round_trips"),
        ("catalogue",),
    ),
    "gate": (("baseline", "expected_failures", "advising"), ("baseline_csv", "comparison")),
    "grid": (
        ("cells", "sources"),
        ("records",),
        ("local", "described", "telling", "work"),
        ("cluster",),
        ("engine",),
    ),
    "sensitivities": (
        ("choosing", "measuring"),
        ("cuts", "scanning"),
        ("suggesting", "work"),
        ("sensitivity",),
    ),
    "command_line": (
        ("answers", "completion", "examples", "values"),
        ("shared_options",),
        ("options",),
        ("arguments", "jobs", "scaffold", "advising"),
        ("prepared",),
        ("sensing", "timing"),
        ("commands",),
        ("main",),
    ),
    "pytest_plugin": (("prunings",), ("parametrizing", "items"), ("gate", "progress"), ("suite",)),
}

BY_ROOM = {wing: place for place, row in enumerate(WINGS) for wing in row}
BY_ROOM |= {
    f"{wing}.{room}": place
    for wing, rows in ROOMS.items()
    for place, row in enumerate(rows)
    for room in row
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def place_of(path: Path) -> list[str]:
    """The wing and the rooms of a file, as the pictures name them."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    depth = 3 if ".".join(parts[:2]) in ROOMS else 2
    return [part for part in parts[:depth] if part != "__init__"] or ["__init__"]


@cache
def imported(path: Path) -> set[str]:
    """Full names of everything a file imports, wherever in it, but not for type checkers alone."""
    names: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "import_module"
        ):
            argument = node.args[0]
            names.update([argument.value] if isinstance(argument, ast.Constant) else [])
    return names


def ours(path: Path) -> set[tuple[str, ...]]:
    """Wing and rooms of everything of this package that a file imports."""
    names = (name.split(".") for name in imported(path))
    return {tuple(parts[1:4]) for parts in names if parts[0] == "analysis" and len(parts) > 1}


def wrong_imports(path: Path, found: set[tuple[str, ...]]) -> list[str]:
    """What a file imports though it stands beside or below it."""
    place = place_of(path)
    wrong = []
    for depth, own in enumerate(place):
        around = place[:depth]
        if around and ".".join(around) not in ROOMS:
            break
        here = BY_ROOM[".".join([*around, own])]
        beside = {name[depth] for name in found if [*name[:depth]] == around and len(name) > depth}
        wrong += [
            other for other in beside - {own} if BY_ROOM.get(".".join([*around, other]), -1) >= here
        ]
    return wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_stands_above_it(path: Path) -> None:
    place = place_of(path)
    for depth in range(len(place)):
        if not depth or ".".join(place[:depth]) in ROOMS:
            name = ".".join(place[: depth + 1])
            assert name in BY_ROOM, f"{name} has no place in the picture"
    assert not wrong_imports(path, ours(path))


@pytest.mark.parametrize(
    ("place", "text", "wrong"),
    [
        ("proof/masking.py", "from analysis.costs import counting", ["costs"]),
        ("proof/masking.py", "import analysis.pipeline", ["pipeline"]),
        ("proof/masking.py", "def f():\n    from analysis.proof.proving import prove", ["proving"]),
        ("groups/policies.py", "import_module('analysis.pruning.surgery')", ["pruning"]),
        ("pipeline.py", "from analysis.proof.proving import prove", []),
        ("opened.py", "from analysis.runs import run_of", ["runs"]),
        (
            "network/labels/planes.py",
            "from analysis.network.labels.records import Trace",
            ["records"],
        ),
        ("network/labels/rules.py", "from analysis.network.labels import tracing", ["tracing"]),
        ("network/labels/rules.py", "from analysis.network.cutting import cut", ["cutting"]),
        ("network/labels/rules.py", "from analysis.network.labels.calls import call", []),
    ],
)
def test_the_order_sees_a_wrong_import(tmp_path: Path, place, text, wrong) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(text)
    assert wrong_imports(ROOT / place, ours(planted)) == wrong


def importers_of(package: str) -> set[str]:
    return {
        ".".join(place_of(path))
        for path in modules()
        if any(name == package or name.startswith(f"{package}.") for name in imported(path))
    }


def test_one_module_counts_with_fvcore() -> None:
    assert importers_of("fvcore") == {"costs.counting"}


def test_few_modules_know_torch_pruning() -> None:
    assert importers_of("torch_pruning") == {
        "groups.depgraph", "groups.reading", "pruning.own_importances", "pruning.surgery",
        "zoo.proving", "zoo.recipes", "counters.others",
    }  # fmt: skip


def test_the_zoo_and_the_case_study_alone_know_torchvision() -> None:
    assert importers_of("torchvision") == {
        "network.subjects", "zoo.subjects", "zoo.recipes", "counters.routes",
    }  # fmt: skip


def test_pictures_alone_need_matplotlib() -> None:
    assert {place.partition(".")[0] for place in importers_of("matplotlib")} == {"reporting"}


TORCHLESS = {
    "errors", "environment", "records", "processes", "gate", "reporting", "__init__", "__main__",
}  # fmt: skip


def test_records_reports_checks_and_the_command_line_need_no_torch() -> None:
    need = importers_of("torch") | importers_of("torchvision")
    assert not {place for place in need if place.partition(".")[0] in TORCHLESS}
    assert {place for place in need if place.startswith("command_line.")} == set()
    assert {place for place in need if place.startswith("checks.")} == {"checks.round_trips"}


def test_every_module_says_what_it_offers() -> None:
    silent = [
        path.name
        for path in modules()
        if path.name != "__main__.py"
        and not re.search(r"\n__all__(: list\[str\])? = \[", path.read_text())
    ]
    assert not silent


DOORS_OF_MANY_OPTIONS = {"parametrize_with_checks", "prune"}


def test_no_module_is_longer_than_500_lines_and_no_function_than_60() -> None:
    long = {}
    for path in modules():
        text = path.read_text()
        functions = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef) and node.name not in DOORS_OF_MANY_OPTIONS
        ]
        long |= {str(path.relative_to(ROOT)): n for n in [len(text.splitlines())] if n > 500}
        long |= {
            f"{path.relative_to(ROOT)}:{node.name}": lines
            for node in functions
            if (lines := (node.end_lineno or 0) - node.lineno + 1) > 60
        }
    assert not long


def test_every_public_name_can_be_imported() -> None:
    for name in analysis.__all__:
        public = getattr(analysis, name)
        assert callable(public) or name == "__version__"
