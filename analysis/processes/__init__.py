"""Work in other processes: with a time limit, and shared between processes."""

__all__: list[str] = []
