"""Whether a pruning is right: the masked dense network, and the pruned one compared with it."""

__all__: list[str] = []
