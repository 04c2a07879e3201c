"""How sentences name what a run was asked, and list things."""

from collections.abc import Sequence
from math import ceil

from analysis.records import CONVENTIONS, OWN_PRUNER, CostTable, Run

__all__ = ["asked_of", "at_least", "counted_by", "first", "listed", "percent", "plain", "scoped"]

_SCOPES = {"global": "ranked globally", "local": "ranked locally"}


def scoped(scope: str) -> str:
    """How the channels were ranked."""
    return _SCOPES[scope]


def asked_of(run: Run) -> str:
    """The policy and the scope of a run."""
    if run.config.policy == OWN_PRUNER:
        return "your own pruner"
    return f"`{run.config.policy}`, {scoped(run.config.scope)}"


def counted_by(costs: CostTable) -> str:
    """What the numbers of a count are numbers of."""
    if costs.convention == "fvcore":
        return "One MAC is one multiply-accumulate, what fvcore calls a flop."
    return f"{costs.unit} by `{costs.convention}`: {CONVENTIONS[costs.convention].says}."


def plain(text: str) -> str:
    """A text where no code can be set: in captions, and names of pictures."""
    return text.replace("`", "")


def percent(ratio: float) -> str:
    """A ratio as people say it: 0.8 is 80 %."""
    return f"{100 * ratio:g} %"


def at_least(ratio: float) -> float:
    """A ratio in whole per cent, rounded up, so that it still asks for as many channels.

    No finer, because two channels of nearly equal rank change places on another processor.
    """
    whole = ceil(round(100 * ratio, 6)) / 100
    return whole if whole < 1 else ratio


def first(names: Sequence[str], most: int, what: str = "") -> str:
    """The first names, and how many more there are: ``a, b and 3 more groups``."""
    rest = f" and {len(names) - most} more{what and f' {what}'}" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
