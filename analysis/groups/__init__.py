"""What must be cut together, whether DepGraph is right about it, and what policies exclude."""

__all__: list[str] = []
