"""What the command advise tries."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from analysis.records import ADVISED, IMPORTANCES, SCOPES, Request

__all__ = ["ways"]


def ways(request: Request, given: Any, ask: Callable[[Request, str], Any]) -> list[Request]:
    """Policies that exclude different layers, in every scope, by each importance.

    Args:
        request: the network, and the targets.
        given: the one policy that is tried; None tries those that keep the model's outputs.
        ask: has a job done for a request.
    """
    seen: dict[tuple[str, ...], Any] = {}
    for policy in [given] if given is not None else ADVISED:
        groups = ask(replace(request, ignore=policy), "groups")
        seen.setdefault(tuple(group.name for group in groups if group.ignored), policy)
    return [
        replace(request, ignore=policy, scope=scope, importance=importance)
        for policy in seen.values()
        for scope in SCOPES
        for importance in IMPORTANCES
    ]
