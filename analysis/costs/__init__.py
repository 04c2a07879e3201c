"""What a network costs: MACs and parameters counted, predicted and attributed."""

__all__: list[str] = []
