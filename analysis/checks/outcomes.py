"""How a check ends other than by passing."""

__all__ = ["CheckFailedError", "CheckSkippedError"]


class CheckFailedError(AssertionError):
    """A property does not hold; the message says where and by how much."""


class CheckSkippedError(Exception):
    """A property cannot be looked at here; the message says why."""
