"""What a network is worth: a metric of the user's own, before and after pruning and training."""

from dataclasses import dataclass
from math import isnan

__all__ = ["Metric"]


@dataclass(frozen=True)
class Metric:
    """One number that the user's own function returns of a network.

    Attributes:
        name: as the function calls it; ``metric`` where it returns one number.
        dense: of the dense network.
        pruned: of the pruned one.
        finetuned: of that once it was fine-tuned; None where it was not.
        lower_is_better: whether a smaller number is a better one.
    """

    name: str
    dense: float
    pruned: float
    finetuned: float | None = None
    lower_is_better: bool = False

    @property
    def last(self) -> float:
        """Of what came of it all."""
        return self.pruned if self.finetuned is None else self.finetuned

    @property
    def lost(self) -> float:
        """By how much that is worse than the dense network; below 0 where it is better."""
        change = self.last - self.dense
        return change if self.lower_is_better else 0.0 - change

    def holds(self, tolerance: float) -> bool:
        """Whether no more than this was lost; what is not a number does not hold."""
        return not isnan(self.last) and self.lost <= tolerance + _ROUNDING


_ROUNDING = 1e-12
"""0.9 - 0.88 is a little more than 0.02 in floating point."""
