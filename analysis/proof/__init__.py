"""The proof: compare the pruned network with the masked dense one."""

__all__: list[str] = []
