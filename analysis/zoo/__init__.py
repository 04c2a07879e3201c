"""Two collections of networks, pruned by half and proved: ``tox run -e zoo``, ``-e networks``.

Every model of torchvision, with recipes for those that torch-pruning needs help with; and networks
of other packages, with their groups, how torch-pruning cuts these, and their costs.
"""

__all__ = [
    "RATIO",
    "SCOPE",
    "collected",
    "examining",
    "networks",
    "of_transformers",
    "proving",
    "recipes",
    "running",
    "subjects",
]

RATIO = 0.5
"""Share of the channels of each group that every network is asked for."""

SCOPE = "local"
"""Channels are ranked inside each group."""
