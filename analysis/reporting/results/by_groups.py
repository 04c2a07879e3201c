"""How networks fare that `prune` cuts by their groups."""

from typing import Any

from analysis.records import Verdict

__all__ = ["by_groups"]


def by_groups(found: list[dict[str, Any]]) -> str:
    """How many are proved in each scope, and which are not."""
    parts = []
    for scope in ("local", "global"):
        verdicts = {each["name"]: each["by_groups"][scope].get("verdict") for each in found}
        failing = [name for name, own in verdicts.items() if not own or not Verdict(own).passes]
        rest = f", all but {', '.join(f'`{name}`' for name in failing)}" if failing else ""
        parts.append(f"{len(found) - len(failing)} of {len(found)} with the {scope} scope{rest}")
    return "; ".join(parts)
