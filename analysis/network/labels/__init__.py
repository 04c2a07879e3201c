"""Which channel each element of a tensor carries, followed through one forward pass."""

__all__: list[str] = []
