"""What is asked: which network, how it is pruned, and where the checks draw the line."""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.errors import InputError

__all__ = [
    "IMPORTANCES",
    "OWN_PRUNER",
    "POLICIES",
    "RATIOS",
    "SCOPES",
    "Config",
    "Request",
    "Thresholds",
    "checked_ratios",
]


RATIOS = (0.3, 0.5, 0.8)
"""The case study's pruning ratios."""


SCOPES = ("global", "local")


IMPORTANCES = ("l1", "l2")


POLICIES = ("residual-blocks", "skip-channels", "classifier", "none")


OWN_PRUNER = "its own pruner"
"""In place of a policy, where a pruner of the user's own chose what it ignores."""


@dataclass(frozen=True)
class Config:
    """What one run of the pruner is asked to do.

    Attributes:
        ratio: share of the prunable channels asked to go, in [0, 1).
        scope: ``global`` ranks across groups, ``local`` inside each group.
        importance: ``l1`` or ``l2``, the norm that ranks channels.
        policy: name of the rule that chose the ignored layers.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: the cap handed to the pruner, in (0, 1].
    """

    ratio: float
    scope: str = "global"
    importance: str = "l1"
    policy: str = "classifier"
    round_to: int | None = None
    max_pruning_ratio: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no pruner can be asked.

        Raises:
            InputError: names the value and what is expected.
        """
        is_number = isinstance(self.ratio, int | float) and not isinstance(self.ratio, bool)
        if not is_number or not 0 <= self.ratio < 1:
            raise InputError(f"pruning ratio {self.ratio!r}; expected a number in [0, 1)")
        if self.scope not in SCOPES:
            raise InputError(f"scope {self.scope!r}; expected one of {', '.join(SCOPES)}")
        if self.importance not in IMPORTANCES:
            raise InputError(
                f"importance {self.importance!r}; expected one of {', '.join(IMPORTANCES)}"
            )
        if self.round_to is not None and not (isinstance(self.round_to, int) and self.round_to > 0):
            raise InputError(f"round_to {self.round_to!r}; expected a whole number of at least 1")
        if not 0 < self.max_pruning_ratio <= 1:
            raise InputError(
                f"max_pruning_ratio {self.max_pruning_ratio!r}; expected a number in (0, 1]"
            )


@dataclass(frozen=True)
class Request:
    """Which network to look at, and how: enough for another process to build the same one.

    Attributes:
        name: a torchvision name, ``package.module:factory`` or ``path/to/file.py:factory``.
        input_size: of one input; None is the subject's own.
        weights: ``random``, ``default`` or the path of a state dict.
        seed: of random weights and inputs.
        inputs: reference of a function that returns what forward takes, or None.
        policy: name or reference of the rule that chooses the ignored layers.
        pruner: reference of the user's own pruner function, or None.
        device: where the network runs.
    """

    name: str
    input_size: tuple[int, ...] | None
    weights: str = "random"
    seed: int = 0
    inputs: str | None = None
    policy: str = "classifier"
    pruner: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Thresholds:
    """Where the checks on the account draw the line.

    Attributes:
        ratio_tolerance: channels that a group may lose more or fewer than asked; None is one, and
            as many more as rounding to ``round_to`` may add.
        max_dropped: groups that may be asked for channels and lose none.
        min_channels: fewest channels that a pruned group may have left.
        max_lost: greatest share of its channels that a group may lose.
    """

    ratio_tolerance: int | None = None
    max_dropped: int = 0
    min_channels: int = 2
    max_lost: float = 0.99


def checked_ratios(ratios: Iterable[float]) -> tuple[float, ...]:
    """The ratios, if there are any and each is one.

    Raises:
        InputError: says which is not.
    """
    if isinstance(ratios, str) or not isinstance(ratios, Iterable):
        raise InputError(f"ratios {ratios!r}; expected a list of numbers in [0, 1)")
    checked = tuple(Config(ratio).ratio for ratio in ratios)
    if not checked:
        raise InputError("no ratio was given; expected a list of numbers in [0, 1)")
    return checked
