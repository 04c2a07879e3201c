"""What a process does for a cell of a grid: it returns data."""

from collections.abc import Sequence
from typing import Any

from analysis.opened import info_of
from analysis.records import Request
from analysis.reporting import as_json
from analysis.runs import run_of

__all__ = ["prove"]


def prove(request: Request, names: Sequence[str]) -> dict[str, Any]:
    """What ``verify --json`` says of the one ratio of a request.

    Args:
        request: what is pruned, and how.
        names: of the checks.
    """
    (ratio,) = request.ratios
    run = run_of(request, request.config(ratio), names)
    return as_json.verify(info_of(request.network), [run])
