"""What the command sensitivity asks, and how what it suggests is said again."""

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace

from analysis.errors import InputError
from analysis.records import EACH_ALONE, Request, Suggestion
from analysis.reporting.files import check_writable
from analysis.sensitivities.measuring import costed

__all__ = ["check", "proved_as", "widths_text"]


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


def proved_as(request: Request, suggestion: Suggestion) -> Request:
    """The request that prunes what is suggested."""
    return replace(request, ratios=(0.0,), widths=suggestion.widths)


def widths_text(widths: Mapping[str, int]) -> str:
    """The file that ``--widths`` reads."""
    return json.dumps(widths, indent=1) + "\n"
