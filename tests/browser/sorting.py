"""Sorting a table by its headings, compared with a sort of the cells' texts."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

__all__ = ["findings", "kinds", "out_of_order", "tables"]

NUMBER = re.compile(r"[+-]?[\d,]*\.?\d+(e[+-]?\d+)?%?")

READ = """() => [...document.querySelectorAll("table.data")].map(
    table => [...table.tBodies[0].rows].map(
        row => [...row.cells].map(cell => cell.textContent.trim())))"""

# Every column of every table pressed twice; rows are identified by their first place.
PRESS = """() => [...document.querySelectorAll("table.data")].map(table => {
    const body = table.tBodies[0], heads = [...table.querySelectorAll("thead th")];
    const rows = [...body.rows];
    const seen = () => ({
        order: [...body.rows].map(row => rows.indexOf(row)),
        sorts: heads.map(head => head.getAttribute("aria-sort") ?? "none"),
    });
    return heads.map(head => {
        const button = head.querySelector("button.sort");
        return button && [0, 1].map(() => (button.click(), seen()));
    });
})"""


def tables(page: Page) -> list[list[list[str]]]:
    """The texts of the cells: of each table, of each row."""
    return page.evaluate(READ)


def kinds(column: list[str]) -> set[str]:
    """What a reader sees in a column."""
    there = [cell for cell in column if cell != "-"]
    is_number = bool(there) and all(map(NUMBER.fullmatch, there))
    seen = {
        "number": is_number,
        "text": not is_number,
        "percent": is_number and "%" in there[0],
        "thousands": is_number and "," in "".join(there),
        "dash": len(there) < len(column),
    }
    return {kind for kind, is_seen in seen.items() if is_seen}


def findings(page: Page) -> list[str]:
    """Every column of every table that a press, or a second one, does not sort."""
    found = []
    before = tables(page)
    for index, (rows, table) in enumerate(zip(before, page.evaluate(PRESS), strict=True)):
        for place, presses in enumerate(table):
            cells = [row[place] for row in rows]
            wrong = _wrong(cells, place, presses) if presses else ["no button"]
            found += [f"table {index}, column {place}: {what}" for what in wrong]
    return found if before else ["no table on the page"]


def out_of_order(cells: list[str], direction: str) -> str:
    """Where a column is not sorted as a reader expects: by value, a dash last either way."""
    there = [cell for cell in cells if cell != "-"]
    if "-" in cells[: len(there)]:
        return "a dash is not last"
    orders = [_value] if "number" in kinds(cells) else [_text, _natural]
    if not any(_is_sorted(there, order, direction) for order in orders):
        return f"{direction}: {there[:9]}"
    return ""


def _wrong(cells: list[str], place: int, presses: list[dict[str, Any]]) -> list[str]:
    found = []
    for press, direction in zip(presses, ("ascending", "descending"), strict=True):
        output = {at: sort for at, sort in enumerate(press["sorts"]) if sort != "none"}
        if output != {place: direction}:
            found.append(f"aria-sort is {output}, not {direction} there")
        if sorted(press["order"]) != list(range(len(cells))):
            found.append("rows are lost or doubled")
        elif wrong := out_of_order([cells[row] for row in press["order"]], direction):
            found.append(wrong)
    return found


def _is_sorted(cells: list[str], order: Callable[[str], Any], direction: str) -> bool:
    keys = [order(cell) for cell in cells]
    return keys == sorted(keys, reverse=direction == "descending")


def _text(cell: str) -> str:
    return cell


def _value(cell: str) -> float:
    return float(cell.replace(",", "").rstrip("%"))


def _natural(cell: str) -> list[tuple[bool, float, str]]:
    """Digits by their value, letters without their case."""
    parts = re.findall(r"\d+|\D", cell.casefold())
    return [(not part.isdigit(), float(part) if part.isdigit() else 0.0, part) for part in parts]
