"""Work in other processes: ended when out of time, done once for all of them."""

__all__: list[str] = []
