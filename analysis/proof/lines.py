"""The operators that one line of a module's code calls, as they are compared."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from analysis.network.labels import operators
from analysis.network.labels.records import Step

__all__ = ["by_line", "kind_of", "site_of"]


def kind_of(step: Step) -> str:
    """The operator; those that reshape are one."""
    return "view" if step.place.operator in operators.RESHAPES else step.place.operator


def site_of(step: Step) -> tuple[str, str]:
    """The module in whose forward an operator is called, and the line."""
    return step.place.module, step.place.line


def by_line(calls: Iterable[Step]) -> Iterator[list[Step]]:
    """What one line of a module calls; copies, which are made where memory asks for them, aside."""
    for _, steps in groupby(calls, site_of):
        left = [step for step in steps if step.place.operator not in operators.COPIES]
        if left:
            yield left
