"""Minimize a failing pruning to a short script that reproduces it without this package."""

__all__: list[str] = []
