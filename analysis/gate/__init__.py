"""The gate: accepted numbers, expected failures, and comparisons."""

__all__: list[str] = []
