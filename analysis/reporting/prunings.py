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
                entry["subject"],
                entry["policy"],
                f"{entry['ratio']:g}",
                entry["verdict"],
                left(Sizes(*entry["macs"])),
                left(Sizes(*entry["params"])),
            )
            for entry in found
        ],
    )
