"""Pictures of a study: matplotlib to SVG with real text, the same bytes for the same numbers."""

__all__: list[str] = []
