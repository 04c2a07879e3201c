"""What a session of pytest looked at: a table for the terminal, the files of its report."""

from collections.abc import Iterable, Sequence
from typing import Any

from analysis.records import Run, Sizes, SubjectInfo
from analysis.reporting import as_json, text
from analysis.reporting.tables import as_markdown, left

__all__ = ["files", "table"]


def table(found: Iterable[dict[str, Any]]) -> str:
    """One line a pruning."""
    return as_markdown(
        ("network", "policy", "ratio", "verdict", "MACs left", "params left"),
        [
            (
                told["subject"],
                told["policy"],
                f"{told['ratio']:g}",
                told["verdict"],
                left(Sizes(*told["macs"])),
                left(Sizes(*told["params"])),
            )
            for told in found
        ],
    )


def files(found: Sequence[tuple[SubjectInfo, Run]]) -> dict[str, str]:
    """``report.md`` and ``results.json``: the text of each, by name."""
    runs: dict[SubjectInfo, list[Run]] = {}
    for info, run in found:
        runs.setdefault(info, []).append(run)
    return {
        "report.md": _markdown(runs),
        "results.json": as_json.dump(as_json.session(runs.items())),
    }


def _markdown(runs: dict[SubjectInfo, list[Run]]) -> str:
    parts = ["# Prunings", *(["No test looked at a pruning."] if not runs else [])]
    for info, own in runs.items():
        size = "" if info.input_size is None else f", {'x'.join(map(str, info.input_size))}"
        notes = "\n".join(f"- {line}" for line in text.run_notes(own))
        parts += [f"## {info.name}{size}", text.asked_alike(own), text.run_table(own)]
        parts += [*text.scopes(own), *([notes] if notes else [])]
    return "\n\n".join(parts) + "\n"
