"""The median of paired ratios, with an interval that assumes no distribution.

W. J. Conover, Practical Nonparametric Statistics (3rd ed., Wiley 1999), section 3.2: of n ordered
independent values, the j-th from below and the j-th from above hold the true median with the
probability that a fair coin shows neither fewer than j heads nor fewer than j tails in n throws.
"""

from collections.abc import Iterable
from itertools import accumulate
from math import comb
from statistics import median

from analysis.records import Spread

__all__ = ["paired", "rank_of"]

_CONFIDENCE = 0.95


def paired(pairs: Iterable[tuple[float, float]]) -> Spread:
    """How the second of each pair compares with the first.

    Args:
        pairs: seconds of the dense and of the pruned network, at least `FEWEST_PAIRS`.
    """
    ratios = sorted(pruned / dense for dense, pruned in pairs)
    rank, coverage = rank_of(len(ratios))
    return Spread(median(ratios), ratios[rank - 1], ratios[-rank], coverage)


def rank_of(count: int) -> tuple[int, float]:
    """The greatest rank from either end that holds the median with 95 %, and with how much."""
    fewer = accumulate(comb(count, heads) / 2**count for heads in range(count))
    held = [1 - 2 * share for share in fewer]
    rank = max((place for place, share in enumerate(held, 1) if share >= _CONFIDENCE), default=1)
    return rank, held[rank - 1]
