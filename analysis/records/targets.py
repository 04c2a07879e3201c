"""What is to be left of a network: of MACs, parameters, bytes or latency."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from analysis.errors import InputError, did_you_mean

__all__ = [
    "QUANTITIES",
    "Quantity",
    "Target",
    "not_per_cent",
    "predictable",
    "ratio_text",
    "share_beside",
    "targets_of",
]

Quantity = Literal["macs", "params", "bytes", "latency"]

QUANTITIES: Mapping[str, str] = {
    "macs": "MACs",
    "params": "parameters",
    "bytes": "bytes",
    "latency": "latency",
}
"""What a target may be of, and what reports call it."""


def ratio_text(ratio: float) -> str:
    """A ratio with six digits; the smallest that asks for a channel has none of these."""
    return f"{ratio:g}" if ratio > 1e-6 or not ratio else "just above 0"


def not_per_cent(value: Any) -> str:
    """The end of a message about a share that was given in per cent; empty if it was not."""
    in_per_cent = isinstance(value, int | float) and 1 < value < 100
    return f"; did you mean {value / 100:g}?" if in_per_cent else ""


@dataclass(frozen=True)
class Target:
    """At most so much of one quantity is to be left.

    Attributes:
        quantity: one of `QUANTITIES`.
        limit: in (0, 1] a share of the dense network's; a number of them above. Of latency, which
            is measured beside the dense network's, a share alone.
    """

    quantity: Quantity
    limit: float

    def __post_init__(self) -> None:
        """Refuse what is no target.

        Raises:
            InputError: names it and what is expected.
        """
        if self.quantity not in QUANTITIES:
            hint = did_you_mean(str(self.quantity), QUANTITIES, "expected")
            raise InputError(f"target of {self.quantity!r}; {hint} {', '.join(QUANTITIES)}")
        limit = self.limit
        is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
        # A network of fewer than a hundred MACs or parameters is none; a share in per cent is near.
        if not (is_number and isfinite(limit) and (0 < limit <= 1 or limit >= _FEWEST)):
            raise InputError(
                f"target {self.quantity}={limit!r}; expected the share that may stay, in (0, 1], "
                f"or a number of at least {_FEWEST}{not_per_cent(limit)}"
            )

        if self.is_measured and limit > 1:
            raise InputError(
                f"target {self.quantity}={limit!r}; expected the share that may stay, in (0, 1]: "
                f"times differ from machine to machine, and are never checked alone"
            )

    @property
    def is_measured(self) -> bool:
        """Whether it takes a pruned network to tell what is left."""
        return self.quantity == "latency"

    def __str__(self) -> str:
        """As an option spells it."""
        limit = self.limit
        return f"{self.quantity}={int(limit) if limit > 1 and limit == int(limit) else limit}"

    @property
    def words(self) -> str:
        """What is to be left at most, in words."""
        name = QUANTITIES[self.quantity]
        return (
            f"{_percent(self.limit)} of the {name}"
            if self.limit <= 1
            else f"{self.limit:,.0f} {name}"
        )

    def most(self, dense: int) -> float:
        """The greatest number that meets it.

        Args:
            dense: the number of the dense network.
        """
        return self.limit * dense if self.limit <= 1 else float(self.limit)


_FEWEST = 100


def predictable(targets: Iterable[Target]) -> tuple[Target, ...]:
    """The targets, if what a ratio leaves of them is known without pruning.

    Raises:
        InputError: one is of latency.
    """
    targets = tuple(targets)
    for target in targets:
        if target.is_measured:
            raise InputError(
                f"target {target}: latency is measured of a pruned network, and not predicted; "
                "give it to verify, prune or advise, or as targets of analysis.prune"
            )
    return targets


def targets_of(given: Any) -> tuple[Target, ...]:
    """Targets in the form that every function and command takes.

    Args:
        given: a dict of limits by quantity, ``macs=0.45,params=1.2e6``, or targets; each quantity
            once.

    Raises:
        InputError: says what is no target.
    """
    if isinstance(given, str):
        found = tuple(map(_spelled, filter(None, map(str.strip, given.split(",")))))
        if not found:
            raise InputError(f"targets {given!r}; expected e.g. macs=0.45,params=1.2e6")
    elif isinstance(given, Mapping):
        found = tuple(Target(*pair) for pair in given.items())
    elif isinstance(given, Iterable):
        found = tuple(each if isinstance(each, Target) else _refused(each) for each in given)
    else:
        _refused(given)
    for place, target in enumerate(found):
        for other in found[:place]:
            if other.quantity == target.quantity:
                raise InputError(f"targets {other} and {target} are of one quantity; keep one")
    return found


def _spelled(text: str) -> Target:
    """The target that ``macs=0.45`` stands for; of a share alone, of the MACs."""
    quantity, equals, limit = text.rpartition("=")
    try:
        named: Any = quantity.strip() if equals else "macs"
        return Target(named, float(limit))
    except ValueError:
        raise InputError(
            f"target {text!r}; expected the share that may stay or a number, as macs=0.45 or "
            "params=1.2e6"
        ) from None


def _refused(given: Any) -> Any:
    raise InputError(
        f"targets are given as {given!r}; expected a dict of limits by quantity "
        f"({', '.join(QUANTITIES)}), as {{'macs': 0.45}}"
    )


def share_beside(share: float, limit: float, digits: int = 1) -> str:
    """A share in per cent, with as many digits as tell it from a limit.

    Args:
        share: what is left.
        limit: what it is compared with.
        digits: the fewest behind the point.
    """
    told = round(100 * limit, _DIGITS)
    for count in range(digits, _DIGITS):
        text = f"{share:.{count}%}"
        if (float(text[:-1]) - told) * (share - limit) > 0:
            return text
    return f"{share:.{digits}%}"  # they are equal


_DIGITS = 12
"""Digits of a percentage that are no rounding of binary numbers."""


def _percent(share: float) -> str:
    """A share that somebody gave, unrounded: 0.0005 is not 0.1 %."""
    short = f"{share:.1%}"
    exact = f"{100 * share:.6g}"
    return short if float(short[:-1]) == float(exact) else f"{exact}%"
