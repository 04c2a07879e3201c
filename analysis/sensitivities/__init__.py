"""What the user's own metric loses when one group alone is cut, and which ratios that suggests."""

__all__: list[str] = []
