"""Parts of the site that are generated from the code and from the committed results.

A page says ``<!-- generated: NAME -->`` where it wants one of `GENERATED`.
"""

import argparse
import configparser
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from analysis.reporting.tables import Table, escaped

ROOT = Path(__file__).parents[2]
_JOINT = re.compile(r"[_|:.,](?=\w)")
_LOADED = re.compile(r"<link[^>]* href=\"?https?://[^\s>]+|<[a-z]+[^>]* src=\"?https?://[^\s>]+")
_PLACE = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """The pictures of the committed report are pictures of the site."""
    for picture in sorted((ROOT / "reports").glob("*.svg")):
        files.append(File.generated(config, f"reports/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in place what a page asks for."""
    return _PLACE.sub(lambda found: _generated(found[1]), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Let names in tables break at their joints, so that a table is no wider than a phone."""

    def in_cell(cell: re.Match[str]) -> str:
        return re.sub(r"<code>.*?</code>", lambda code: _JOINT.sub(r"\g<0><wbr>", code[0]), cell[0])

    return re.sub(r"<td[^>]*>.*?</td>", in_cell, html, flags=re.DOTALL)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuse what a page would load from elsewhere, and name the theme's search for screen readers.

    Raises:
        PluginError: a script, style or picture of another place.
    """
    if loaded := _LOADED.search(output):
        raise PluginError(f"{page.url} loads {loaded[0]}; put it into docs/assets")
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def _generated(name: str) -> str:
    if name not in GENERATED:
        raise PluginError(f"nothing is generated as {name!r}; there is {', '.join(GENERATED)}")
    return GENERATED[name]()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """A bar between words would end the cell; in code it does not."""
    parts = re.split(r"(`[^`]*`)", text.replace("\n", " "))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _command_line() -> str:
    from analysis.command_line.options import parser

    (commands,) = [
        action.choices
        for action in parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return "\n\n".join(_command(name, command) for name, command in commands.items())


def _command(name: str, command: argparse.ArgumentParser) -> str:
    meaning = (command.description or "").rstrip(".")
    positional = [
        _value(action) + ("..." if action.nargs == "*" else "")
        for action in command._get_positional_actions()
    ]
    usage = " ".join([command.prog, "[options]", *positional])
    parts = [f"## {name}", f"{meaning[:1].upper()}{meaning[1:]}.", f"```text\n{usage}\n```"]
    for group in command._action_groups:
        rows = [
            _option(action)
            for action in group._group_actions
            if action.option_strings and action.dest != "help"
        ]
        if rows:
            title = (group.title or "").replace("options", "option")
            parts.append(_table([title, "meaning"], rows))
    return "\n\n".join(parts)


def _option(action: argparse.Action) -> tuple[str, str]:
    named = [*map(_code, action.option_strings), _code(_value(action))]
    return " ".join(filter(None, named)), action.help or f"default: {action.default}"


def _value(action: argparse.Action) -> str:
    """The placeholder of an option's value; empty for a switch."""
    if action.nargs == 0:
        return ""
    if action.choices and not action.metavar:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


def _pytest_options() -> str:
    from analysis.pytest_plugin import gate, suite

    return _table(
        ["option", "meaning"],
        [
            (f"{_code(name)} {_code(arguments.get('metavar', ''))}", str(arguments["help"]))
            for name, arguments in (*gate.OPTIONS, *suite.OPTIONS)
        ],
    )


def _checks() -> str:
    from analysis.checks import CATALOGUE

    return _table(
        ["check", "holds if", "needs", "`verify` runs it"],
        [
            (_code(name), check.meaning, check.needs, "yes" if check.of_pruning else "if named")
            for name, check in CATALOGUE.items()
        ],
    )


def _policies() -> str:
    from analysis.groups.policies import POLICIES

    return _table(
        ["policy", "what it does"],
        [
            (_code(name), " ".join((rule.__doc__ or "").split("\n\n")[0].split()))
            for name, rule in POLICIES.items()
        ],
    )


def _metrics() -> str:
    from analysis.gate.baseline import METRICS

    better = {"lower": "lower", "higher": "higher", "equal": "none: each change is a regression"}
    return _table(
        ["metric", "value", "better"],
        [
            (_code(name), "a verdict" if metric.kind == "verdict" else "a whole number",
             better[metric.better])
            for name, metric in METRICS.items()
        ],
    )  # fmt: skip


def _records() -> str:
    """Every record, by the module that holds it."""
    from analysis import records

    modules: dict[str, list[str]] = {}
    for name in records.__all__:
        if isinstance(record := getattr(records, name), type):
            modules.setdefault(record.__module__, []).append(name)
    parts = []
    for module, names in modules.items():
        about = (sys.modules[module].__doc__ or "").partition("\n")[0].rstrip(".")
        parts += [f"## {about}", *(f"::: {module}.{name}" for name in names)]
    return "\n\n".join(parts)


def _results_json() -> str:
    schema = json.loads((ROOT / "reports" / "results.schema.json").read_text("utf-8"))
    parts = [_fields("results.json", schema)]
    parts += [_definition(name, each) for name, each in schema["$defs"].items()]
    return "\n\n".join(parts)


def _definition(name: str, schema: dict[str, Any]) -> str:
    if "properties" in schema:
        return _fields(name, schema)
    return f"### {name}\n\n{_kind(schema)}. {schema['description']}"


def _fields(name: str, schema: dict[str, Any], level: int = 3) -> str:
    """A table of the fields of an object, and tables of the objects inside it."""
    needed = schema.get("required", [])
    rows, inside = [], []
    for field, each in schema["properties"].items():
        holder = each.get("items", each)
        if "properties" in holder:
            inside.append(_fields(f"{name}.{field}", holder, level + 1))
        text = each.get("description", "") + ("" if field in needed else " Left out where empty.")
        rows.append((_code(field), _kind(each), text.strip()))
    table = _table(["field", "value", "meaning"], rows)
    return "\n\n".join([f"{'#' * level} {name}", schema["description"], table, *inside])


def _kind(schema: dict[str, Any]) -> str:
    """What a field holds, in a word or two."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "enum" in schema:
        return ", ".join(_code(json.dumps(value)) for value in schema["enum"])
    if "const" in schema:
        return _code(json.dumps(schema["const"]))
    kinds = schema.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "array" in kinds and "items" in schema:
        return " or ".join(
            [f"array of {_kind(schema['items'])}", *(k for k in kinds if k != "array")]
        )
    return " or ".join(kinds)


def _case_study() -> str:
    results = json.loads((ROOT / "reports" / "results.json").read_text("utf-8"))
    rows = [
        (
            _code(subject["subject"]["name"]),
            f"{run['ratio']:.0%}",
            f"{run['channels']['removed']:,} of {run['channels']['prunable']:,}",
            *(_left(run[what]) for what in ("macs", "params")),
            run["verdict"],
        )
        for subject in results["subjects"]
        for run in subject["runs"]
        if run["ignore"] == subject["headline"]["ignore"]
        and run["scope"] == subject["headline"]["scope"]
    ]
    head = ["network", "ratio", "channels removed", "MACs left", "parameters left", "verdict"]
    return _table(head, rows)


def _left(sizes: dict[str, Any]) -> str:
    return f"{sizes['after'] / sizes['before']:.1%}"


def _scaling() -> str:
    """The three terms of the costs, by policy."""
    results = json.loads((ROOT / "reports" / "results.json").read_text("utf-8"))
    study = results["subjects"][0]
    return _table(
        ["policy", "a: with the square", "b: in proportion", "c: never"],
        [
            (
                _code(account["ignore"]),
                *(
                    f"{account['scaling']['macs'][term]:.1%}"
                    for term in ("square", "line", "constant")
                ),
            )
            for account in study["costs"]
            if account["scope"] == "global"
        ],
    )


def _counters() -> str:
    """How far other counters are from the products of activations and weights."""
    results = json.loads((ROOT / "reports" / "counters.json").read_text("utf-8"))

    def ends(counter: str) -> list[str]:
        found = [
            (answer["macs"] / model["products"] - 1, model["model"])
            for model in results["models"]
            for answer in model["answers"]
            if answer["counter"] == counter
        ]
        return [f"{far:+.1%} ({_code(name)})" for far, name in (min(found), max(found))]

    names = [counter["name"] for counter in results["counters"]]
    return _table(["counter", "from", "to"], [[name, *ends(name)] for name in names])


def _results(name: str) -> Callable[[], str]:
    """A page made from a file of ``reports/``: sentences and tables, the long ones folded."""

    def text() -> str:
        page = import_module(f"analysis.reporting.{name}").section(str(ROOT / "reports"))
        tests = ", ".join(map(_code, page.tests))
        return "\n\n".join(
            [
                *map(escaped, page.paragraphs),
                *([f"Tests: {tests}."] if tests else []),
                '<div class="results" markdown>',
                *map(_results_table, page.tables),
                "</div>",
            ]
        )

    return text


def _results_table(table: Table) -> str:
    rows = _table(table.headers, [[escaped(cell) for cell in row] for row in table.rows])
    if not table.wide:
        return f"**{table.caption.capitalize()}**\n\n{rows}"
    caption = f'??? abstract "{table.caption.capitalize()} ({len(table.rows)} rows)"'
    return f"{caption}\n\n{textwrap.indent(rows, '    ')}"


def _environments() -> str:
    """Every environment of tox, as `tox list` describes it."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", "utf-8")
    return _table(
        ["environment", "what it does"],
        [
            (_code(section.removeprefix("testenv:")), tox[section]["description"].split("\n")[0])
            for section in tox.sections()
            if section.startswith("testenv:")
        ],
    )


def _document(name: str) -> Callable[[], str]:
    """A file of the repository as a page, whose links lead to the pages of its neighbours."""

    def text() -> str:
        whole = re.sub(r"\]\((\.\./)?docs/", "](../", (ROOT / name).read_text("utf-8"))
        return re.sub(
            r"\((ARCHITECTURE|CONTRIBUTING|CHANGELOG)\.md\)",
            lambda found: f"({found[1].lower()}.md)",
            whole,
        )

    return text


GENERATED: dict[str, Callable[[], str]] = {
    "command line": _command_line,
    "options of pytest": _pytest_options,
    "checks": _checks,
    "policies": _policies,
    "metrics of the baseline": _metrics,
    "records": _records,
    "results.json": _results_json,
    "case study": _case_study,
    "how costs fall": _scaling,
    "counters": _counters,
    "environments": _environments,
    "results of accuracy": _results("sections.accuracy"),
    "results of latency": _document("reports/latency.md"),
    "results of latency on a GPU": _document("reports/latency-cuda.md"),
    "results of torchvision": _results("results.torchvision"),
    "results of networks": _results("results.networks"),
    "results of counters": _results("results.counters"),
    "results of printed figures": _results("results.published"),
    "architecture": _document("ARCHITECTURE.md"),
    "contributing": _document("CONTRIBUTING.md"),
    "changelog": _document("CHANGELOG.md"),
}
"""The generated parts, by the name that pages use."""
