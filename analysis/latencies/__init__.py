"""How long networks take: dense and pruned measured in turn, and explained."""

__all__: list[str] = []
