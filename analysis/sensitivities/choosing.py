"""Choose an option of each group so that the network meets its targets and loses least.

The loss of a choice is the sum of its options' losses. What it costs is no sum, as a layer between
two groups is cut by both: a function gives the costs of many choices at once, exact.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXHAUSTIVE", "GREEDY", "Problem", "chosen", "least"]

Choices = NDArray[np.int64]
Numbers = NDArray[np.float64]

EXHAUSTIVE = "every combination"
GREEDY = "greedy by loss per cost saved, then exchanges"
_MOST = 50_000
"""Combinations that are all looked at."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Which options there are.

    Attributes:
        losses: by group, the loss of each option; option 0 leaves it whole and loses 0.
        over: for choices, shape (choices, groups), by how much each is over its targets, as a share
            of them and summed; 0 for one that meets all of them.
    """

    losses: Sequence[Sequence[float]]
    over: Callable[[Choices], Numbers]

    def loss(self, choices: Choices) -> Numbers:
        """The loss of each choice."""
        columns = [np.array(own)[choices[:, place]] for place, own in enumerate(self.losses)]
        return np.sum(columns, axis=0) if columns else np.zeros(len(choices))


def chosen(problem: Problem, most: int = _MOST) -> tuple[tuple[int, ...] | None, str]:
    """The option of each group, None if none is found that meets the targets, and the method.

    Args:
        problem: the options.
        most: combinations up to which all are looked at, and the answer is the least possible.
    """
    if prod(map(len, problem.losses)) <= most:
        return _exhaustive(problem), EXHAUSTIVE
    return _exchanged(problem, _greedy(problem)), GREEDY


def least(problem: Problem) -> Choices:
    """The choice that cuts each group most, shape (1, groups)."""
    return np.array([[len(own) - 1 for own in problem.losses]], np.int64)


def _exhaustive(problem: Problem) -> tuple[int, ...] | None:
    choices = np.array([*product(*(range(len(own)) for own in problem.losses))], np.int64)
    return _best(problem, choices)


def _best(problem: Problem, choices: Choices) -> tuple[int, ...] | None:
    """The one that loses least of those that meet the targets; the first of equal ones."""
    meets = choices[problem.over(choices) <= 0]
    if not len(meets):
        return None
    found: list[int] = meets[problem.loss(meets).argmin()].tolist()
    return tuple(found)


def _greedy(problem: Problem) -> tuple[int, ...] | None:
    """From the whole network, the step that loses least for what it brings nearer to the targets.

    The other options of a group are all looked at, so that one that loses little at a high ratio is
    found behind one that loses much at a low one.
    """
    now = np.zeros((1, len(problem.losses)), np.int64)
    while (far := problem.over(now)[0]) > 0:
        steps = np.array([*_neighbours(problem, now[0])], np.int64).reshape(-1, now.shape[1])
        nearer = far - problem.over(steps)
        steps, nearer = steps[nearer > 0], nearer[nearer > 0]
        if not len(steps):
            return None
        lost = problem.loss(steps) - problem.loss(now)
        # What loses nothing comes first, by how much it brings.
        worth = np.where(lost > 0, -lost / nearer, nearer)
        rank = np.lexsort((-worth, lost > 0))
        now = steps[rank[:1]]
    found: list[int] = now[0].tolist()
    return tuple(found)


def _exchanged(problem: Problem, start: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Exchange the options of one or two groups as long as that loses less."""
    if start is None:
        return None
    now = start
    while True:
        place = np.array(now)
        near = [place, *_neighbours(problem, place), *_pairs(problem, place)]
        best = _best(problem, np.array(near, np.int64))
        if best is None or best == now:
            return now
        now = best


def _neighbours(problem: Problem, now: Choices) -> Iterator[Choices]:
    """Choices of which one group has another option."""
    for place, own in enumerate(problem.losses):
        for option in range(len(own)):
            if option != now[place]:
                other = now.copy()
                other[place] = option
                yield other


def _pairs(problem: Problem, now: Choices) -> Iterator[Choices]:
    """Choices of which two groups have other options, one that loses less and one that may more."""
    for one, two in combinations(range(len(problem.losses)), 2):
        for options in product(range(len(problem.losses[one])), range(len(problem.losses[two]))):
            if options[0] != now[one] and options[1] != now[two]:
                other = now.copy()
                other[[one, two]] = options
                yield other
