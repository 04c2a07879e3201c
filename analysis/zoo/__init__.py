"""Every model of torchvision, pruned by half and proved: ``tox run -e zoo``."""

__all__: list[str] = []
