"""What a network is and does: loaded, run, watched; how its layers hold their channels."""

__all__: list[str] = []
