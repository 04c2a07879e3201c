"""Where a fault may be planted: every module of a pruned network."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from analysis.network.inference import Inputs, map_tensors, run_hooked
from analysis.records import Cut, DependencyGroup

__all__ = ["Calls", "Fault", "Site", "calls_of", "sites"]


Calls = Mapping[str, tuple[Any, Any]]
"""For each module that forward calls, what it is given and what it returns, without the values."""


@dataclass(frozen=True, eq=False)
class Site:
    """A module that a fault may be planted in.

    Attributes:
        name: of the module; empty for the model itself.
        dense: the module before the cut.
        pruned: the module after it.
        network: the pruned network that it is a part of.
        out: the cut of its output channels, or None.
        into: the cut of its input channels, or None.
        branch: places, among its kept input channels, of those that one of several concatenated
            layers makes; empty if it reads no concatenation.
        given: its first argument, without the values; None if forward calls it with no tensor.
        made: what it returns, without the values; None if forward does not call it.
    """

    name: str
    dense: nn.Module
    pruned: nn.Module
    network: nn.Module
    out: Cut | None
    into: Cut | None
    branch: tuple[int, ...]
    given: Tensor | None
    made: Any


Fault = Callable[[Site], bool]
"""Plants itself, and says whether it could."""


def calls_of(model: nn.Module, inputs: Inputs) -> Calls:
    """What each module is given and returns on example inputs, where it is called last."""
    calls: dict[str, tuple[Any, Any]] = {}

    def note(name: str, given: Any, returned: Any) -> None:
        calls[name] = _described(given), _described(returned)

    run_hooked(model, inputs, note)
    return calls


def _described(value: Any) -> Any:
    return map_tensors(value, lambda tensor: tensor.to("meta"))


def sites(
    dense: nn.Module,
    pruned: nn.Module,
    cuts: Iterable[Cut],
    groups: Iterable[DependencyGroup],
    calls: Calls,
) -> Iterator[Site]:
    """Every module, with what was cut of it."""
    by_axis = {(cut.layer, cut.axis): cut for cut in cuts}
    originals = dict(dense.named_modules())
    first_branch = _first_branches(groups)
    for name, module in list(pruned.named_modules()):
        out, into = by_axis.get((name, "out")), by_axis.get((name, "in"))
        kept = into.kept if into else ()
        branch = tuple(place for place, c in enumerate(kept) if c in first_branch.get(name, ()))
        is_part = 1 < len(branch) < len(kept)
        args, made = calls.get(name, ((), None))
        given = args[0] if args and isinstance(args[0], Tensor) else None
        part = branch if is_part else ()
        yield Site(name, originals[name], module, pruned, out, into, part, given, made)


def _first_branches(groups: Iterable[DependencyGroup]) -> dict[str, set[int]]:
    """For each layer that reads several groups, the input channels of the first."""
    read: dict[str, list[set[int]]] = {}
    for group in groups:
        for member in group.members:
            if member.axis == "in":
                places = {place for place, root in enumerate(member.roots) if root >= 0}
                read.setdefault(member.layer, []).append(places)
    return {layer: parts[0] for layer, parts in read.items() if len(parts) > 1}
