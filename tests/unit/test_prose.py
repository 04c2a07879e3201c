"""Docstrings, comments, messages and names of tests keep to the terms of `docs/style.md`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).name
# Words that only this project used, and that a reader would have to guess.
RIDDLES = re.compile(
    r"(?<!-)\b(told|doors?|stands? in|the story|becomes of|nothing found|the groups as they are)\b",
    re.IGNORECASE,
)
FILES = sorted(
    path
    for folder in ("analysis", "tests", "examples", "docs/hooks")
    for path in (ROOT / folder).rglob("*.py")
    # These two hold the words that they look for.
    if path.name not in (HERE, "test_pages.py")
)


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Each literal text and comment with its line, and each name of a test as words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.lineno, node.name.replace("_", " ")
    for number, line in enumerate(source.splitlines(), 1):
        if found := re.search(r"(?:^|\s)# (.*)", line):
            yield number, found[1]


def riddles(source: str) -> list[str]:
    """Each riddle with its line; keys of JSON files are one word, and may stay."""
    return [
        f"{line}: {found[0]}"
        for line, text in texts(source)
        if " " in text.strip()
        for found in RIDDLES.finditer(text)
    ]


def test_nothing_that_a_person_reads_is_a_riddle() -> None:
    assert len(FILES) > 400
    found = {str(path.relative_to(ROOT)): riddles(path.read_text("utf-8")) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        '"""What is told of it."""\n',
        "value = 1  # the same at every door\n",
        "def test_what_is_told(): pass\n",
        'raise ValueError(f"{1} stands in for it")\n',
    ],
)
def test_a_planted_riddle_is_found(source: str) -> None:
    assert len(riddles(source)) == 1


def test_a_key_of_a_file_is_no_riddle() -> None:
    assert riddles('key = {"told": "cannot-be-told"}\n') == []
