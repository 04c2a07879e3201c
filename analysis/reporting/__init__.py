"""Records to files: pages, tables and data. Imports no torch."""

__all__: list[str] = []
