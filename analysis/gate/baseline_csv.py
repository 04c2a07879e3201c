"""The text of a baseline file: a row a line, and what is wrong with one, by line."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf, nan
from typing import TypeVar, get_args

from analysis.errors import InputError
from analysis.gate.baseline import (
    METRICS,
    Better,
    Key,
    Row,
    number_text,
    one_line_name,
    quoted,
)
from analysis.records import SCOPES, STRENGTH

__all__ = ["FIELDS", "dump", "read"]

FIELDS = ("model", "policy", "scope", "ratio", "metric", "expected", "tolerance", "better")
"""The columns of the file, in their order."""

Choice = TypeVar("Choice", bound=str)


def dump(rows: Iterable[Row]) -> str:
    """The text of the file, ordered by key."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in sorted(rows, key=lambda row: row.key):
        writer.writerow([*row.key, row.value, number_text(row.tolerance), row.better])
    return text.getvalue()


def read(text: str, name: str) -> tuple[Row, ...]:
    """The rows of a file's text.

    Args:
        text: of the whole file.
        name: of the file, for messages.

    Raises:
        InputError: names the file and the line, what was given and what is expected.
    """
    lines = _lines(text, name)
    line, header = next(lines, (1, []))
    with _at(name, line):
        _check_header(header)
    rows: dict[Key, Row] = {}
    places: dict[Key, int] = {}
    for line, fields in lines:
        with _at(name, line):
            row = _row(fields)
            if row.key in rows:
                raise InputError(f"{row.name}: is in line {places[row.key]} too; keep one")
        rows[row.key], places[row.key] = row, line
    return tuple(rows.values())


@contextmanager
def _at(name: str, line: int) -> Iterator[None]:
    """Say of an error in which line of which file it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}:{line}: {error}") from error


def _lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line that is not blank, with the number of the line."""
    if "\0" in text:
        with _at(name, text[: text.index("\0")].count("\n") + 1):
            raise InputError("a NUL character; expected CSV text")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1  # where the record begins; an open quote swallows the rest
        try:
            fields = next(reader, None)
        except csv.Error as error:
            with _at(name, line):
                raise InputError(f"{error}; expected CSV, a row a line") from error
        if fields is None:
            return
        if fields:
            yield line, fields


def _check_header(header: list[str]) -> None:
    if not header:
        raise InputError(f"the file is empty; expected the columns {','.join(FIELDS)}")
    if header == list(FIELDS):
        return
    unknown = [column for column in header if column not in FIELDS]
    missing = [column for column in FIELDS if column not in header]
    wrong = [f"unknown {quoted(','.join(unknown))}"] if unknown else []
    wrong += [f"missing {','.join(missing)}"] if missing else []
    said = ", ".join(wrong) or "twice or in another order"
    raise InputError(f"columns: {said}; expected {','.join(FIELDS)}")


def _row(fields: list[str]) -> Row:
    """The row that a line spells.

    Raises:
        InputError: says which field, what was given and what is expected.
    """
    if len(fields) != len(FIELDS):
        raise InputError(f"{len(fields)} fields; expected {len(FIELDS)}: {','.join(FIELDS)}")
    model, policy, scope, ratio, metric, value, tolerance, better = fields
    kind = METRICS[_one_of("metric", metric, tuple(METRICS))].kind
    return Row(
        model=one_line_name("model", model),
        policy=one_line_name("policy", policy),
        scope=_one_of("scope", scope, SCOPES),
        ratio=_ratio(ratio),
        metric=metric,
        value=_count(value) if kind == "count" else _one_of("verdict", value, STRENGTH).value,
        tolerance=_tolerance(tolerance, kind),
        better=_one_of("better", better, get_args(Better)),
    )


def _one_of(what: str, given: str, allowed: tuple[Choice, ...]) -> Choice:
    for choice in allowed:
        if choice == given:
            return choice
    raise InputError(f"{what} {quoted(given)}; expected one of {', '.join(allowed)}")


def _ratio(given: str) -> float:
    ratio = _float(given)
    if not 0 <= ratio < 1:
        raise InputError(f"ratio {quoted(given)}; expected a number in [0, 1)")
    return ratio


def _count(given: str) -> int:
    if not re.fullmatch("[0-9]{1,99}", given):
        raise InputError(f"value {quoted(given)}; expected a whole number of at least 0")
    return int(given)


def _tolerance(given: str, kind: str) -> float:
    tolerance = _float(given)
    if not 0 <= tolerance < inf:
        raise InputError(f"tolerance {quoted(given)}; expected a finite number of at least 0")
    if kind == "verdict" and tolerance:
        raise InputError(f"tolerance {quoted(given)} of a verdict; expected 0")
    return tolerance


def _float(given: str) -> float:
    """The number; not a number for what is none."""
    try:
        return float(given)
    except ValueError:
        return nan
