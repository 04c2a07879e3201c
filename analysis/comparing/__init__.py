"""Compare two networks: which channels were kept, and whether the pruning is right."""

__all__: list[str] = []
