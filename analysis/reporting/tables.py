"""A table, and how numbers are written in it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from analysis.records import (
    DependencyGroup,
    Lock,
    Metric,
    Reach,
    Run,
    Sizes,
    SubjectInfo,
    SubjectStudy,
    Verification,
    ratio_text,
)
from analysis.reporting.words import at_least

__all__ = [
    "LOCK_HEADERS",
    "METRIC_HEADERS",
    "RUN_HEADERS",
    "Table",
    "anchor_of",
    "as_markdown",
    "at_most",
    "bound",
    "cell",
    "checks_passed",
    "count",
    "escaped",
    "input_of",
    "layer_name",
    "left",
    "lock_cells",
    "metric_cells",
    "ratio_for",
    "run_cells",
    "share",
    "slug",
    "why_excluded",
]


@dataclass(frozen=True)
class Table:
    """Rows of cells under headers.

    Attributes:
        caption: unique on a page.
        headers: of the columns.
        rows: of cells.
        wide: folded away on a page, and left out of the Markdown.
        keys: for each row, the dependency group that it is about, or an empty text.
    """

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wide: bool = False
    keys: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Name in links."""
        return anchor_of(self.caption)


def anchor_of(caption: str) -> str:
    """The anchor of the table with this caption."""
    return f"table-{slug(caption)}"


def slug(text: str) -> str:
    """The text as part of an anchor or of the name of a file, which no system finds too long."""
    short = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    if len(short) <= _LONGEST:
        return short
    return f"{short[:_LONGEST]}-{sha256(text.encode()).hexdigest()[:8]}"


_LONGEST = 60


def as_markdown(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A pipe table, aligned so that it can be read as plain text; numbers to the right."""
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:]) for column in columns]

    def line(cells: Iterable[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = " | ".join(
        "-" * (width - 1) + (":" if right else "-")
        for width, right in zip(widths, numeric, strict=True)
    )
    return "\n".join([line(lines[0]), f"| {rule} |", *(line(row) for row in lines[1:])])


def _is_number(cell: str) -> bool:
    return not cell.strip("0123456789.,%- ") and cell != ""


_CODE = re.compile(r"(`[^`]*`)")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def escaped(text: str) -> str:
    """What comes from a user is no markup: outside code no tag begins."""
    parts = _CODE.split(text)
    return "".join(part if _CODE.fullmatch(part) else _TAG.sub(r"\\<", part) for part in parts)


def cell(text: str) -> str:
    """Of a table, on one line and in one cell."""
    return " ".join(escaped(text).split()).replace("|", "\\|")


def count(number: int | None) -> str:
    """A whole number with thousands separated; a dash for an unknown one."""
    return "-" if number is None else f"{number:,}"


def ratio_for(reach: Reach | None) -> str:
    """The ratio that meets a target; a dash where that is not known."""
    if reach is None:
        return "-"
    return "none" if reach.ratio is None else f"{at_least(reach.ratio):g}"


def input_of(info: SubjectInfo) -> str:
    """The size of one input; ``given`` if inputs were given."""
    return "x".join(map(str, info.input_size)) if info.input_size else "given"


def layer_name(layer: str) -> str:
    """A module's name; what the model's own forward does has none."""
    return layer or "(the model's own forward)"


def share(part: float | None) -> str:
    """A share in per cent with one decimal."""
    return "-" if part is None else f"{part:.1%}"


def left(sizes: Sizes) -> str:
    """What is left of a quantity, in per cent."""
    return share(sizes.share)


def bound(verification: Verification) -> str:
    """The relative error as a bound: its last digits differ between processors."""
    error = verification.max_rel_error
    if error is None:
        return "-"
    limit = at_most(error)
    return f"{error:.1g}" if limit is None else f"<= {limit:g}"


def at_most(error: float) -> float | None:
    """The bound of an error at rounding level; None for a greater one."""
    return next((limit for limit in (1e-12, 1e-9) if error <= limit), None)


def checks_passed(run: Run) -> str:
    """How many checks pass of those that were looked at, and how many were not."""
    looked = [check for check in run.checks if not check.skipped]
    skipped = len(run.checks) - len(looked)
    counted = f"{sum(check.passed for check in looked)} of {len(looked)}"
    return counted + (f", {skipped} skipped" if skipped else "")


def why_excluded(group: DependencyGroup) -> str:
    """Why a group is not cut; empty if it may be."""
    reasons = (
        ("ignored", group.ignored),
        ("frozen", group.frozen),
        ("untraced", bool(group.untraced)),
    )
    return next((reason for reason, applies in reasons if applies), "")


RUN_HEADERS = ("network", "policy", "scope", "ratio")
"""Of a table with one row a pruning."""


def run_cells(subject: SubjectStudy, run: Run) -> tuple[str, ...]:
    """Which pruning a row is about."""
    config = run.config
    return subject.info.name, config.policy, config.scope, ratio_text(config.ratio)


LOCK_HEADERS = ("group", "width", "ignored layers", "locked with them", "MACs", "params", "needed")
"""Of a table of what ignored layers lock."""


def lock_cells(lock: Lock) -> tuple[str, ...]:
    """One group that is excluded: by which layers, with which others, and what it locks."""
    return (
        lock.root,
        count(lock.width),
        ", ".join(lock.layers),
        ", ".join(lock.partners) or "-",
        count(lock.macs),
        count(lock.params),
        lock.needed or "need not be",
    )


METRIC_HEADERS = ("metric", "dense", "pruned", "fine-tuned", "lost")


def metric_cells(metric: Metric) -> tuple[str, ...]:
    """What a network is worth, before and after; a minus is a gain."""
    tuned = "-" if metric.finetuned is None else f"{metric.finetuned:.4g}"
    return metric.name, f"{metric.dense:.4g}", f"{metric.pruned:.4g}", tuned, f"{metric.lost:.3g}"
