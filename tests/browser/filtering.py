"""Typing into the filter of a table, compared with a search of the cells' texts."""

import re
from typing import Any

from browser import sorting
from playwright.sync_api import Page

__all__ = ["findings"]

# A table of more rows than this has a filter.
FEW = 8

COUNTS = """() => ["input.filter[type=search]", "output.rows"]
    .map(name => document.querySelectorAll(name).length)"""

# Each text typed into the filter of its table: the visible rows, and the announced count.
TYPE = """([few, texts]) => {
    const all = name => [...document.querySelectorAll(name)];
    const fields = all("input.filter"), tellers = all("output.rows");
    return all("table.data").filter(table => table.tBodies[0].rows.length > few).map(
        (table, index) => ({
            isNamed: !!fields[index].ariaLabel || fields[index].labels.length > 0,
            atFirst: tellers[index].textContent.trim(),
            answers: texts[index].map(text => {
                fields[index].value = text;
                fields[index].dispatchEvent(new Event("input", {bubbles: true}));
                const shown = [...table.tBodies[0].rows]
                    .map(row => !row.hidden && row.getClientRects().length > 0);
                return [shown, tellers[index].textContent.trim()];
            }),
        }));
}"""


def findings(page: Page) -> list[str]:
    """Every long table whose filter is missing, nameless, or hides what it should not."""
    tables = [rows for rows in sorting.tables(page) if len(rows) > FEW]
    fields, tellers = page.evaluate(COUNTS)
    if not tables:
        return ["no table is long enough for a filter"]
    if not fields == tellers == len(tables):
        return [f"{len(tables)} long tables, {fields} filters, {tellers} tellers"]
    texts = [_texts(rows) for rows in tables]
    found = []
    for index, seen in enumerate(page.evaluate(TYPE, [FEW, texts])):
        wrong = _wrong(tables[index], texts[index], seen)
        found += [f"long table {index}: {what}" for what in wrong]
    return found


def _wrong(rows: list[list[str]], texts: list[str], seen: dict[str, Any]) -> list[str]:
    found = [] if seen["isNamed"] else ["its filter has no name"]
    for text, (shown, output) in zip(texts, seen["answers"], strict=True):
        expected = [any(text.casefold() in cell.casefold() for cell in row) for row in rows]
        if shown != expected:
            found.append(f"`{text}` is in {sum(expected)} rows, left are {sum(shown)}")
        if text and not output.startswith(f"{sum(expected)} of {len(rows)} rows"):
            found.append(f"`{text}` is in {sum(expected)} of {len(rows)} rows, announced: {output}")
        if not text and output != seen["atFirst"]:
            found.append(f"announced once the filter is emptied: {output}")
    return found


def _texts(rows: list[list[str]]) -> list[str]:
    """A word of a row, in capitals too, two cells in one, a sign of patterns, nonsense, nothing."""
    row = rows[len(rows) // 2]
    word = next(iter(re.findall(r"[\w.]+", " ".join(row))), "-")
    return [word, word.upper(), row[0][-2:] + row[1][:2], "(", "no such row", ""]
