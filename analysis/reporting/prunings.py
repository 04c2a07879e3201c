"""What a session of pytest looked at, as a table for the terminal."""

from collections.abc import Iterable
from typing import Any

from analysis.records import Sizes
from analysis.reporting.tables import as_markdown, left

__all__ = ["table"]


def table(found: Iterable[dict[str, Any]]) -> str:
    """One line a pruning."""
    return as_markdown(
        ("network", "policy", "ratio", "verdict", "MACs left", "params left"),
        [
            (
                told["subject"],
                told["policy"],
                f"{told['ratio']:g}",
                told["verdict"],
                left(Sizes(*told["macs"])),
                left(Sizes(*told["params"])),
            )
            for told in found
        ],
    )
