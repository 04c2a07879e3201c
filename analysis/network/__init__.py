"""What a network is and does: loading it, running it, its kinds of layers, where its channels arrive."""

__all__: list[str] = []
