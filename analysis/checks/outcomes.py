"""How a check ends if it does not pass."""

__all__ = ["CheckFailedError", "CheckSkippedError"]


class CheckFailedError(AssertionError):
    """A property does not hold; the message says where and by how much."""


class CheckSkippedError(Exception):
    """A property cannot be checked here; the message says why."""
