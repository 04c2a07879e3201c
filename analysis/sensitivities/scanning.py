"""The cuts of a network as cells of a grid: in processes of their own, kept and resumed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from analysis.errors import InputError
from analysis.grid import sources
from analysis.grid.cells import Cell
from analysis.grid.engine import Executor, run
from analysis.grid.records import End, Records
from analysis.records import GroupSensitivity, Request
from analysis.sensitivities.measuring import Found, asked, with_metrics

__all__ = ["cells_of", "scanned"]

_WORK = "analysis.sensitivities.work"


def cells_of(
    request: Request, groups: Sequence[GroupSensitivity], budget: float | None = None
) -> list[Cell]:
    """The dense network, and each cut that leaves another number of channels.

    Args:
        request: the network and its metric, given by names.
        groups: not measured yet.
        budget: seconds for each cell.
    """
    # Ratios and targets choose cells; they decide none of the answers.
    request = replace(request, ratios=(0.0,), targets=(), widths=())
    versions, files = sources.depends_on(sources.references(request), request.network.weights)

    def cell(title: str, function: str, *arguments: Any) -> Cell:
        return Cell(
            f"{request.network.name} {title}",
            f"{_WORK}:{function}",
            (request, *arguments),
            subject=repr(request.network),
            versions=versions,
            files=files,
            budget=budget,
        )

    return [
        cell("dense", "dense"),
        *(
            cell(f"{name} {cut.ratio:g}", "alone", name, cut.ratio, cut.kept)
            for name, cut in asked(groups)
        ),
    ]


def scanned(
    request: Request,
    groups: Sequence[GroupSensitivity],
    executor: Executor,
    records: Records | None = None,
    *,
    budget: float | None = None,
    fresh: bool = False,
) -> tuple[dict[str, float], tuple[GroupSensitivity, ...]]:
    """The metrics of the dense network, and the groups with what each cut of them costs.

    Args:
        request: see `cells_of`.
        groups: not measured yet.
        executor: where the cells are done.
        records: where they are kept; None keeps none.
        budget: seconds for each cell.
        fresh: do again what has a record.

    Raises:
        InputError: the dense network has no metric, or a process was ended from outside.
    """
    cells = cells_of(request, groups, budget)
    (_, first), *rest = run(
        cells, executor, records, fresh=fresh, title="sensitivity", on_end=_refuse_dense
    )
    dense = _answer(cells[0], first)
    if isinstance(dense, str):
        raise InputError(dense)
    found = {_key(cell): _answer(cell, end) for cell, end in rest}
    return dict(dense), with_metrics(groups, found, dense, request.lower_is_better)


def _refuse_dense(cell: Cell, end: End | None) -> None:
    """Without a metric of the dense network, nothing that follows can be compared."""
    if cell.function == "dense" and end is not None and end.how is not None:
        raise InputError(end.why)


def _key(cell: Cell) -> tuple[str, int]:
    _, name, _, kept = cell.arguments
    return name, kept


def _answer(cell: Cell, end: End | None) -> Found:
    if end is None:
        raise InputError(f"{cell.name}: its process was ended from outside; run again")
    answer: Found = end.why if end.how is not None else end.answer
    return answer
