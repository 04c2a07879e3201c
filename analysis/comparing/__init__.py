"""Two networks compared: which channels of the one are left in the other, and whether rightly."""

__all__: list[str] = []
