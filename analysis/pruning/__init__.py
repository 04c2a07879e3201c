"""Importances, plans, the rules that drop a cut, and the surgery."""

__all__: list[str] = []
