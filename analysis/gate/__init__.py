"""What was accepted: the baseline of numbers, and the failures that are expected."""

__all__: list[str] = []
