"""Dependency groups, whether DepGraph is right about them, and policies."""

__all__: list[str] = []
