"""What goes: importances, what a ratio asks, the rules that drop a cut, the surgery."""

__all__: list[str] = []
