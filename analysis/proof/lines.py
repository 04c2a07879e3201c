"""The operators that one line of a module's code calls, as they are compared."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, zip_longest

from analysis.network.labels import operators
from analysis.network.labels.records import Step

__all__ = ["by_line", "kind_of", "other_lines", "other_operators", "site_of"]


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


def other_lines(here: Sequence[Step] | None, there: Sequence[Step] | None) -> str:
    """Where two passes go on in other lines, in words."""
    if here is None or there is None:
        more, name = (there, "pruned") if here is None else (here, "dense")
        return f"only the {name} network goes on to call {more[0].place}" if more else ""
    return f"the pruned network calls {there[0].place}, and the dense one {here[0].place}"


def other_operators(here: Sequence[Step], there: Sequence[Step]) -> str:
    """The first operator of a line that is another one, in words."""
    step, other = next(
        (one, two)
        for one, two in zip_longest(here, there)
        if one is None or two is None or kind_of(one) != kind_of(two)
    )
    if step is None or other is None:
        more, name = (other, "pruned") if step is None else (step, "dense")
        return f"only the {name} network calls {more.place}"
    return f"the pruned network calls {other.place}, and the dense one {step.place}"
