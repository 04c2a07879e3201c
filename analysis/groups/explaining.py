"""Why a layer is in the group that it is in, or in none, in words."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from analysis.errors import InputError, did_you_mean, several
from analysis.groups.inspecting import Labelled
from analysis.network.owners import layer_of, owner_of
from analysis.records import Coupling, Group, Outside

__all__ = ["outside", "why"]

_WORDS = {
    "sequence": "a layer reads what another makes",
    "addition": "two tensors are added",
    "multiplication": "two tensors are multiplied",
    "depthwise": "a depthwise convolution filters each channel by itself",
    "concatenation": "a layer reads several groups beside each other",
    "product": "two activations are multiplied as matrices, as queries and keys are",
    "normalisation": "a norm has a scale and a shift for each channel",
    "shared": "a tensor is used more than once",
    "flattening": "a layer reads each channel at several positions",
    "elementwise": "a parameter has a value for each channel, or an operator meets two tensors",
}


def why(followed: Labelled, layer: str) -> str:
    """Why a layer is coupled with others, or what keeps it from being cut.

    Args:
        followed: the network with its channels followed.
        layer: name of a module or a parameter.

    Raises:
        InputError: the network has none of that name.
    """
    names = {*followed.modules, *followed.parameters}
    if layer not in names:
        close = did_you_mean(layer, sorted(names), "")
        raise InputError(
            f"the network has no layer {layer!r}; {close or 'see model.named_modules()'}"
        )
    lines = [line for group in followed.groups for line in _of_group(group, layer)]
    return "\n".join(lines or _of_none(followed, layer))


def _of_group(group: Group, layer: str) -> Iterator[str]:
    own = [m for m in group.members if layer in (m.layer, m.tensor)]
    for axis in dict.fromkeys(member.axis for member in own):
        makes = {"out": "has", "in": "reads"}[axis]
        count = max(sum(map(bool, each.positions)) for each in own if each.axis == axis)
        of = "" if count == group.width else f"{count} of "
        yield f"`{layer}` {makes} {of}the {several(group.width, 'channel')} of group `{group.name}`"
    if own:
        others = [name for name in group.layers if name != layer]
        if others:
            yield f"  with {_listed(others)}"
        yield from (f"  {_said(each)}" for each in group.couplings)
        if group.held:
            yield f"  no channel can be removed: {group.held}"
        else:
            yield f"  removed together: {group.together_in_words}"


def _said(coupling: Coupling) -> str:
    where = f" in `{coupling.module}`" if coupling.module else ""
    line = f" ({coupling.line})" if coupling.line else ""
    return f"{coupling.why}: {_WORDS.get(coupling.why, coupling.why)}{where}{line}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


_NAMED = 6


def outside(followed: Labelled, grouped: Collection[str] | None = None) -> tuple[Outside, ...]:
    """Layers with parameters that are in no group, and why, in the order of the model.

    Args:
        followed: the network with its channels followed.
        grouped: the layers of somebody else's groups, as DepGraph's; None is the network's own.
    """
    own = {member.layer for group in followed.groups for member in group.members}
    inside = own if grouped is None else {*grouped}
    # DepGraph names a parameter of a layer that it does not know.
    inside |= {owner_of(name) for name in inside if name in followed.parameters}
    layers = dict.fromkeys(map(layer_of, followed.parameters))
    return tuple(
        Outside(
            layer,
            _kind(followed, layer),
            "torch-pruning reads no group with it" if layer in own else _why_none(followed, layer),
        )
        for layer in layers
        if layer not in inside
    )


def _kind(followed: Labelled, layer: str) -> str:
    module = followed.modules.get(layer)
    return type(module).__name__ if module is not None else "parameter"


def _of_none(followed: Labelled, layer: str) -> Iterator[str]:
    """A layer that is in no group: what passes it, or what holds its own axes."""
    passing = sorted(
        {
            int(group)
            for step in followed.trace.steps
            if _is_inside(step.place.module, layer)
            for labels in step.arriving
            for group in np.unique(followed.group_of[labels])
            if group >= 0
        }
    )
    named = [followed.groups[place].name for place in passing]
    own = f"{f'`{layer}`' if layer else 'the model itself'} ({_kind(followed, layer)})"
    if named:
        yield f"{own} has no channels of its own: those of {_listed(named)} pass it"
    else:
        yield f"{own} is in no group: {_why_none(followed, layer)}"


def _why_none(followed: Labelled, layer: str) -> str:
    """Why a layer that no channels pass is in no group."""
    trace = followed.trace
    axes = [axis for axis in trace.starts if layer_of(axis[0]) == layer]
    holds = [followed.classes.why(int(trace.labels(*axis)[0])) for axis in axes]
    reasons = sorted({followed.reason(hold) for hold in holds if hold is not None})
    if reasons:
        return "; ".join(reasons)
    if not any(_is_inside(step.place.module, layer) for step in trace.calls) and not any(
        layer_of(name) == layer for name in trace.used
    ):
        return "it is never called, or calls no operator, on the example inputs"
    if axes:
        return "its values are never combined with an activation"
    return "no channel arrives at it in the forward pass"


def _is_inside(module: str, layer: str) -> bool:
    return module == layer or module.startswith(f"{layer}.") or not layer
