"""Load, run and watch networks; how layers hold their channels."""

__all__: list[str] = []
