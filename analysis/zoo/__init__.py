"""Every model of torchvision, pruned by half and proved: ``tox run -e zoo``."""

__all__ = [
    "proving",
    "recipes",
    "subjects",
]
