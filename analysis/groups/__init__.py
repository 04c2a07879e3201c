"""What must be cut together: DepGraph's groups, their audit, and the layers that policies exclude."""

__all__: list[str] = []
