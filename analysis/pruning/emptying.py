"""Groups that torch-pruning drops because their cut would empty a layer, by its own test.

The extent of a cut is not always known before it is made: if channels are in one layer several
times (halves of a gate, q, k and v of one layer), torch-pruning counts each of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from analysis.records import PlannedGroup, Reason

__all__ = ["with_emptying"]


def with_emptying(
    pruner: Any, planned: Iterable[PlannedGroup], widths: Mapping[str, int] | None = None
) -> Iterator[PlannedGroup]:
    """The plan, with ``would-empty`` for groups that torch-pruning drops.

    Args:
        pruner: before the step that is planned.
        planned: in the numbers of its network as it is.
        widths: by root of groups whose channels go once each in layers of that width, of which
            torch-pruning need not be asked.
    """
    modules, known = dict(pruner.model.named_modules()), widths or {}
    for entry in planned:
        going = entry.requested if entry.reason is Reason.UNTRACED else entry.expected
        is_open = going and len(going) >= known.get(entry.root, 0)
        if is_open and _would_empty(pruner.DG, modules.get(entry.root), going):
            yield replace(entry, expected=(), reason=Reason.WOULD_EMPTY)
        else:
            yield entry


def _would_empty(graph: Any, module: Any, channels: Iterable[int]) -> bool:
    if module is None or module not in graph.module2node:
        return False
    try:
        cut = graph.get_pruner_of_module(module).prune_out_channels
        return not graph.check_pruning_group(graph.get_pruning_group(module, cut, list(channels)))
    except Exception:  # its test fails, or raises as the step will
        return False
