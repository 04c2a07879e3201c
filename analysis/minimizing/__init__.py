"""A failing pruning cut down to a short script that shows it without this package."""

__all__: list[str] = []
