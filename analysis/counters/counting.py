"""One model counted by several routes, and by every counter where they are compared."""

from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from analysis.counters.others import COUNTERS, Counter, count
from analysis.counters.reasons import reasons
from analysis.counters.routes import (
    Entry,
    agree,
    build,
    by_flop_counter,
    by_handles,
    by_pass,
    example,
)
from analysis.counters.work import Work, observe
from analysis.network.inference import one_line
from analysis.records import COLUMNS, CostTable

__all__ = ["counted"]


def counted(entry: Entry, by_others: bool) -> dict[str, Any]:
    """The routes of a model, and under ``compared`` what other counters say of it.

    Args:
        entry: the model at one size.
        by_others: whether they are asked.
    """
    model = build(entry.model, entry.size)
    table = by_handles(model, entry.size)
    compared = _compare(entry, model, table) if by_others else None
    passed = by_pass(model, entry.size)
    return {
        "route": _route(entry, passed, table, by_flop_counter(model, entry.size)),
        "compared": compared,
    }


def _route(entry: Entry, passed: CostTable, table: CostTable, flop_counter: int) -> dict[str, Any]:
    counts = passed.products, table.products, flop_counter
    # Norms and pooling, which torch's counter leaves out, are compared as well.
    is_one = [row.columns for row in passed.layers] == [row.columns for row in table.layers]
    return {
        **asdict(entry),
        "by_pass": passed.products,
        "by_handles": table.products,
        "by_flop_counter": flop_counter,
        "columns": dict(zip(COLUMNS, table.columns, strict=True)),
        "agree": is_one and agree(counts, entry.published),
    }


def _compare(entry: Entry, model: nn.Module, table: CostTable) -> dict[str, Any]:
    """What every counter says of the model, and why."""
    image = example(entry.size)
    work = observe(model, image, table)
    return {
        "model": entry.model,
        "size": entry.size,
        "products": table.products,
        "answers": [_ask(counter, model, image, work) for counter in COUNTERS],
    }


def _ask(counter: Counter, model: nn.Module, image: Tensor, work: Work) -> dict[str, Any]:
    try:
        macs = count(counter, model, image)
    except Exception as error:
        # Another's counter may raise anything; that it does is its answer.
        return {"counter": counter.name, "error": one_line(error)}
    parts = reasons(counter.name, work)
    return {
        "counter": counter.name,
        "macs": macs,
        "parts": parts,
        "unexplained": macs - work.table.products - sum(parts.values()),
    }
