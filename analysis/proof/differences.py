"""What ends the lining up of two networks."""

__all__ = ["DiffersError", "UnknownError"]


class DiffersError(Exception):
    """The pruned network is another one."""


class UnknownError(Exception):
    """Something of the networks cannot be lined up."""
