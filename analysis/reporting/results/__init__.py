"""Pages of the documentation site that are made from files in ``reports/``."""

__all__: list[str] = []
