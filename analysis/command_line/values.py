"""Read the values of options; each function raises argparse's error if it cannot be used."""

import argparse
import json
from decimal import Decimal, InvalidOperation

from analysis.errors import InputError
from analysis.records import Target, checked_widths, not_per_cent, targets_of

__all__ = [
    "paths_of",
    "positive",
    "ratios_of",
    "resources_of",
    "seconds_of",
    "seed_of",
    "share_of",
    "size_of",
    "targets_in",
    "tolerance",
    "whole",
    "widths_in",
]

_MOST_RATIOS = 1000


def paths_of(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def targets_in(text: str) -> tuple[Target, ...]:
    """The targets of an option's text."""
    try:
        return targets_of(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def widths_in(path: str) -> dict[str, int]:
    """The widths in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            return checked_widths(json.load(file))
    except (OSError, ValueError, InputError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error


def size_of(text: str) -> tuple[int, ...]:
    """The size that an option's text gives."""
    try:
        size = tuple(int(part) for part in text.split(","))
    except ValueError:
        size = ()
    if not size or min(size) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; expected e.g. 3,224,224")
    return size


def ratios_of(text: str) -> tuple[float, ...]:
    """The ratios that an option's text gives."""
    try:
        if ":" in text:
            start, stop, step = (Decimal(part) for part in text.split(":"))
            if step <= 0:
                raise argparse.ArgumentTypeError(f"{text!r} has a step that is not positive")
            count = min(int((stop - start) / step), _MOST_RATIOS) + 1
            ratios = tuple(float(start + index * step) for index in range(count))
        else:
            ratios = tuple(float(Decimal(part)) for part in text.split(","))
    except (InvalidOperation, ArithmeticError, ValueError):
        ratios = ()
    if not 0 < len(ratios) <= _MOST_RATIOS or not all(0 <= ratio < 1 for ratio in ratios):
        per_cent = 0 < len(ratios) <= _MOST_RATIOS and all(1 < ratio < 100 for ratio in ratios)
        meant = ",".join(f"{ratio / 100:g}" for ratio in ratios) if per_cent else ""
        raise argparse.ArgumentTypeError(
            f"{text!r}: ratios are numbers in [0, 1), at most {_MOST_RATIOS}; "
            + (f"did you mean {meant}?" if meant else "expected e.g. 0.3,0.5,0.8 or 0:0.9:0.1")
        )
    return ratios


def seed_of(text: str) -> int:
    """A seed."""
    if not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**63 - 1")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def resources_of(text: str) -> dict[str, float]:
    """Amounts by name."""
    pairs = [part.partition("=") for part in text.split(",")]
    found = {name.strip(): _number(value) for name, _, value in pairs}
    if not all(name and 0 < value < float("inf") for name, value in found.items()):
        raise argparse.ArgumentTypeError(f"{text!r} names no resources; expected e.g. GPU=1")
    return found


def share_of(text: str) -> float:
    """A number in (0, 1]."""
    value = _number(text)
    if not 0 < value <= 1:
        hint = not_per_cent(value)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in (0, 1]{hint}")
    return value


def seconds_of(text: str) -> float:
    """A positive number of seconds."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def tolerance(text: str) -> float:
    """A number of at least 0."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
