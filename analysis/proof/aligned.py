"""Lines of two passes that belong together: one by one, or all turns of a loop of several lines."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, takewhile

from analysis.network.labels.records import Step
from analysis.proof.lines import by_line, other_lines, site_of

__all__ = ["OtherLinesError", "aligned"]

Line = list[Step]
Site = tuple[str, str]


class OtherLinesError(Exception):
    """Two passes go on in other lines."""


def aligned(
    here: Sequence[Step], there: Sequence[Step], may_be_left_out: Callable[[Line], bool]
) -> Iterator[tuple[Line, Line]]:
    """Lines of both passes, in order.

    Args:
        here: what the dense network calls.
        there: what the pruned one calls.
        may_be_left_out: whether the pruned network may call nothing of a line.

    Yields:
        what belongs together; an empty line for what is left out.

    Raises:
        OtherLinesError: the pruned network goes on in another line.
    """
    lines, others = [*by_line(here)], [*by_line(there)]
    sites, other_sites = ([site_of(line[0]) for line in each] for each in (lines, others))
    is_same = sites == other_sites
    start = other = 0
    while start < len(lines) or other < len(others):
        turns = None if is_same else _turns(sites[start:], other_sites[other:])
        count, other_count = turns or (1, 1)
        is_one = sites[start : start + 1] == other_sites[other : other + 1]
        if not turns and not is_one:
            if start == len(lines) or not may_be_left_out(lines[start]):
                pair = (dict(enumerate(each)) for each in (lines, others))
                raise OtherLinesError(other_lines(*map(dict.get, pair, (start, other))))
            other_count = 0
        ends = start + count, other + other_count
        yield [*chain(*lines[start : ends[0]])], [*chain(*others[other : ends[1]])]
        start, other = ends


def _turns(sites: Sequence[Site], others: Sequence[Site]) -> tuple[int, int] | None:
    """How many lines of both are a loop of several that does not go round as often in both."""
    for length in range(2, min(_LONGEST, len(sites) // 2) + 1):
        if sites[:length] == sites[length : 2 * length]:
            body = frozenset(sites[:length])
            count, other = (len([*takewhile(body.__contains__, each)]) for each in (sites, others))
            return None if count == other else (count, other)
    return None


_LONGEST = 32
"""Lines of the longest body of a loop that is looked for."""
