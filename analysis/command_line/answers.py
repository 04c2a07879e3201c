"""What a command answers, and where it goes."""

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from analysis.reporting import as_json, files

__all__ = ["Answer", "answered"]


@dataclass(frozen=True)
class Answer:
    """The exit status of a command, and what it prints."""

    status: int
    text: str


def answered(
    options: Namespace, data: dict[str, Any], lines: str, *, passed: bool = True
) -> Answer:
    """The answer as text or, with ``--json -``, as data; a file of data is written."""
    status = 0 if passed else 1
    if options.json == "-":
        return Answer(status, as_json.dump(data).rstrip())
    if options.json:
        files.write_text(options.json, as_json.dump(data))
    return Answer(status, lines)
