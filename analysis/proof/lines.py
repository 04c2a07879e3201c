"""The operators that one line of a module's code calls, as they are compared."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, zip_longest

from analysis.network.labels import operators
from analysis.network.labels.records import Step

__all__ = ["by_line", "kind_of", "other_lines", "other_operators", "paired", "site_of"]


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


def paired(
    calls: Iterable[Step], others: Iterable[Step]
) -> Iterator[tuple[Sequence[Step] | None, Sequence[Step] | None]]:
    """What two passes call, line by line, and of a loop that one runs more often, all of it.

    None where the other pass goes on alone.
    """
    lines, rest = [*by_line(calls)], [*by_line(others)]
    sites, elsewhere = ([site_of(line[0]) for line in each] for each in (lines, rest))
    again = _again(sites)
    here = there = 0
    while here < len(lines) and there < len(rest):
        size = again[here] - here
        unit = sites[here : here + size]
        count, turns = _turns(sites, here, unit), _turns(elsewhere, there, unit)
        if turns and count > 1 and turns != count:
            yield _joined(lines, here, size * count), _joined(rest, there, size * turns)
        else:
            turns = count = min(count, turns) or 1
            size = size if turns > 1 else 1
            yield from zip(lines[here:], rest[there : there + size * count], strict=False)
        here, there = here + size * count, there + size * turns
    yield from ((line, None) for line in lines[here:])
    yield from ((None, line) for line in rest[there:])


Site = tuple[str, str]


def _again(sites: Sequence[Site]) -> list[int]:
    """For each line where it is called again; the next line, if that is nowhere."""
    found, later = [0] * len(sites), dict[Site, int]()
    for place in reversed(range(len(sites))):
        found[place] = later.get(sites[place], place + 1)
        later[sites[place]] = place
    return found


def _turns(sites: Sequence[Site], start: int, unit: Sequence[Site]) -> int:
    """How often these lines are called in turn, from one line on."""
    count, size = 0, len(unit)
    while sites[start + count * size : start + (count + 1) * size] == unit:
        count += 1
    return count


def _joined(lines: Sequence[Sequence[Step]], start: int, count: int) -> list[Step]:
    return [*chain(*lines[start : start + count])]


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
