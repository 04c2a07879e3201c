"""What the command sensitivity asks, and how what it suggests is said again."""

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.checks import OF_PRUNING
from analysis.command_line.prepared import Given, run_of
from analysis.errors import InputError
from analysis.records import EACH_ALONE, Request, Sensitivity, Suggestion
from analysis.reporting.files import check_writable
from analysis.sensitivities.measuring import costed

__all__ = ["check", "how", "suggested", "widths_text"]


def check(options: Namespace) -> None:
    """Refuse what is no question, before any work.

    Raises:
        InputError: there is no metric; a target is of bytes; or a file cannot be written.
    """
    if options.evaluate is None:
        raise InputError(
            "sensitivity measures your own metric; give its function, as "
            "--evaluate metrics.py:accuracy"
        )
    if options.save and not options.target:
        raise InputError("--save writes what is suggested; give a target, as --target macs=0.5")
    costed(options.target)
    for path in (options.picture, options.save):
        if path:
            check_writable(path)
    options.ratios = options.ratios or EACH_ALONE


def suggested(given: Given, request: Request, found: Sensitivity) -> Sensitivity:
    """The same with what meets the targets, pruned and proved once."""
    suggestion: Suggestion | str = given.of(request, "suggested", found.groups)
    if isinstance(suggestion, str):
        return replace(found, why_not=suggestion)
    request = replace(request, ratios=(0.0,), widths=suggestion.widths)
    run = run_of(replace(given, request=request), request.config(0.0), OF_PRUNING)
    return replace(found, suggestion=suggestion, run=run)


def how(request: Request) -> dict[str, Any]:
    """The arguments of `analysis.prune` that a request gives beside how far."""
    usual = Request(request.network, scope=request.scope, cut=request.cut)
    names = ("importance", "round_to", "max_pruning_ratio")
    asked = {name: getattr(request, name) for name in names}
    unusual = {name: value for name, value in asked.items() if value != getattr(usual, name)}
    return {"ignore": request.policy, **unusual}


def widths_text(widths: Mapping[str, int]) -> str:
    """The file that ``--widths`` reads."""
    return json.dumps(widths, indent=1) + "\n"
