"""The command latency."""

from argparse import Namespace
from pathlib import Path

from analysis.command_line.answers import Answer, answered
from analysis.command_line.prepared import prepared, runs_of
from analysis.reporting import as_json, files, latency_text, text

__all__ = ["latency"]


def latency(options: Namespace) -> Answer:
    """Time what each ratio leaves beside the dense network; 1 if it is not proved or runs nowhere.

    A time is no reason to fail; a target is.
    """
    page = Path(options.out) / "latency.md" if options.out else None
    if page:
        files.check_writable(page)
    with prepared(options, options.model) as given:
        runs = runs_of(given, given.request.configs, ())
    said = "\n".join([text.asked_alike(runs), *text.run_notes(runs), latency_text.latency(runs)])
    if page:
        lead = f"{text.asked_alike(runs)}. Times are of one machine, and are not made again alike."
        title = f"Latency of {options.model}"
        files.write_text(page, latency_text.page(title, lead, [(options.model, runs)]))
        said = f"wrote {page}\n{said}"
    passed = all(run.passed and run.time_left for run in runs)
    return answered(options, as_json.verify(given.info, runs), said, passed=passed)
