"""Many prunings, on one machine or many: cells in, records out, each kept by its digest."""

__all__: list[str] = []
