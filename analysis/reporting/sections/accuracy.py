"""What the case study's prunings cost in accuracy, from what the environment ``accuracy`` wrote."""

from collections.abc import Iterator
from math import sqrt
from typing import Any

from analysis.reporting.section import Absent, Section, left_by
from analysis.reporting.tables import Table, share

__all__ = ["section", "standard_error"]

_TITLE = "What it costs in accuracy"

Measured = dict[str, Any]


def section(directory: str) -> Section | Absent:
    """The accuracy on images held out, before and after a short fine-tuning.

    Args:
        directory: of the report; its ``accuracy.json`` is read.
    """
    measured = left_by("accuracy", directory, _TITLE)
    if isinstance(measured, Absent):
        return measured
    most = max(each["ratio"] for each in measured["prunings"])
    at_most = [each for each in measured["prunings"] if each["ratio"] == most]
    return Section(
        "accuracy",
        _TITLE,
        (*_said(measured),),
        tables=(_table(measured),),
        tests=("tests/case_study/test_accuracy.py",),
        gist=(
            f"at {most:.0%}, {_range(at_most, 'pruned')} of the digits are recognized, and "
            f"{_range(at_most, 'finetuned')} after {measured['epochs']} epochs of fine-tuning; "
            f"{share(measured['dense'])} by the dense network"
        ),
    )


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy that was measured on so many images, each recognized or not."""
    return sqrt(accuracy * (1 - accuracy) / images)


def _range(prunings: list[Measured], which: str) -> str:
    values = [each[which] for each in prunings]
    return f"{share(min(values))} to {share(max(values))}"


def _said(measured: Measured) -> Iterator[str]:
    size, images = "x".join(map(str, measured["input_size"])), measured["held_out"]
    yield (
        f"Weights of the case study are random. Here, `{measured['network']}` at "
        f"{measured['width']:g} of its width was trained on {measured['trained_on']:,} of "
        f"scikit-learn's digits ({size}). The dense network recognizes "
        f"{share(measured['dense'])} of {images} others. It was pruned by torch-pruning with L1 "
        f"magnitude, proved, measured, fine-tuned for {measured['epochs']} epochs and measured "
        "again. `tox run -e accuracy` does it again."
    )
    yield (
        f"Of {images} images, an accuracy of 50 % has a standard error of "
        f"{share(standard_error(0.5, images))}, one of 95 % of "
        f"{share(standard_error(0.95, images))}. Smaller differences mean nothing, and training "
        "ends a little differently on other processors."
    )


def _table(measured: Measured) -> Table:
    return Table(
        "accuracy of the trained network, by policy, scope and ratio",
        ("policy", "scope", "ratio", "verdict", "MACs left", "params left", "pruned", "fine-tuned"),
        tuple(
            (
                each["ignore"],
                each["scope"],
                f"{each['ratio']:g}",
                each["verdict"],
                *(share(each[name]) for name in ("macs", "params", "pruned", "finetuned")),
            )
            for each in measured["prunings"]
        ),
    )
