"""What a report is made of: sections, each with its answer, its pictures and its tables."""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.reporting.figures.drawing import Drawing
from analysis.reporting.tables import Table

__all__ = ["Absent", "Answer", "Block", "Section", "gist_of"]


@dataclass(frozen=True)
class Answer:
    """A question that everybody asks, and what was measured."""

    question: str
    text: str


@dataclass(frozen=True)
class Block:
    """What a section says of one network."""

    subject: str
    paragraphs: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    answers: tuple[Answer, ...] = ()


def gist_of(found: Iterable[tuple[str, str]]) -> str:
    """One line of a sentence for each network, named where there are several; of the first few."""
    told = [(name, text) for name, text in found if text]
    if len(told) == 1:
        return told[0][1]
    more = [f"{len(told) - _GISTS} more"] if told[_GISTS:] else []
    return "; ".join([*(f"{name}: {text}" for name, text in told[:_GISTS]), *more])


_GISTS = 2


@dataclass(frozen=True)
class Section:
    """One question with its answer.

    Attributes:
        anchor: name in links.
        title: the claim.
        paragraphs: prose.
        drawings: pictures, each with its data in one of the tables.
        tables: evidence.
        blocks: what is said of each network.
        tests: the files of this project whose tests assert the claim.
        checks: names of the catalogue, which hold every run of it to the claim.
        gist: what it found, in one line that is read while the section is folded.
        lead: of a verdict, in a word; empty where the section is none.
        passed: whether a verdict is good; what is not is shown unfolded.
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
