"""Two networks run in turn, so that whatever slows the machine down slows both."""

from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_turn"]

Told = TypeVar("Told")

WARM_UP = 3
"""Runs of each that are not counted: memory is allocated, and kernels are chosen."""


def in_turn(
    dense: Callable[[], Told], pruned: Callable[[], Told], pairs: int
) -> list[tuple[Told, Told]]:
    """What both tell of each run, side by side; each goes first in every other pair."""
    for _ in range(WARM_UP):
        dense()
        pruned()
    found = []
    for pair in range(pairs):
        if pair % 2:
            last = pruned()
            found.append((dense(), last))
        else:
            found.append((dense(), pruned()))
    return found
