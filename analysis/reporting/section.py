"""The parts of a report: sections with their text, pictures and tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.reporting.figures.drawing import Drawing
from analysis.reporting.files import read_json
from analysis.reporting.tables import Table

__all__ = ["Absent", "Answer", "Block", "Section", "gist_of", "left_by"]


@dataclass(frozen=True)
class Answer:
    """A common question, and the answer that was measured."""

    question: str
    text: str


@dataclass(frozen=True)
class Block:
    """The part of a section on one network."""

    subject: str
    paragraphs: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    answers: tuple[Answer, ...] = ()


def gist_of(found: Iterable[tuple[str, str]]) -> str:
    """One line: a sentence for each of the first few networks, with names if there are several."""
    texts = [(name, text) for name, text in found if text]
    if len(texts) == 1:
        return texts[0][1]
    more = [f"{len(texts) - _GISTS} more"] if texts[_GISTS:] else []
    return "; ".join([*(f"{name}: {text}" for name, text in texts[:_GISTS]), *more])


_GISTS = 2


@dataclass(frozen=True)
class Section:
    """One question with its answer.

    Attributes:
        anchor: its id in links.
        title: the heading.
        paragraphs: prose.
        drawings: pictures, each with its data in one of the tables.
        tables: evidence.
        blocks: one part for each network.
        tests: the files of this project whose tests assert the claim.
        checks: names of the catalogue, which hold every run of it to the claim.
        gist: its result in one line, shown while the section is folded.
        lead: the verdict in a word; empty for other sections.
        passed: whether nothing in it failed; a section that failed is shown unfolded.
    """

    anchor: str
    title: str
    paragraphs: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    blocks: tuple[Block, ...] = ()
    tests: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    gist: str = ""
    lead: str = ""
    passed: bool = True


@dataclass(frozen=True)
class Absent:
    """A section that has no data, and why."""

    title: str
    why: str


def left_by(environment: str, directory: str, title: str) -> dict[str, Any] | Absent:
    """The JSON file that an environment of tox wrote, or why there is no section.

    Args:
        environment: its name, which is the file's as well.
        directory: of the report.
        title: of the section.
    """
    path = Path(directory) / f"{environment}.json"
    if path.is_file():
        found: dict[str, Any] = read_json(path)
        return found
    return Absent(title, f"there is no `{path.name}` in the folder (`tox run -e {environment}`)")
