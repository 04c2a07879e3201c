"""The layers that DepGraph reaches: those on the path of a gradient."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from analysis.network.gradients import NO_GRADIENT
from analysis.network.inference import (
    Inputs,
    aliased,
    forward,
    left_as_found,
    one_line,
    tensors_of,
)
from analysis.network.layers import kind_of, makes_channels
from analysis.network.sizes import SizesOnly, running, sized

__all__ = ["Reached", "reached_layers"]


@dataclass(frozen=True)
class Reached:
    """The layers that DepGraph reaches.

    Attributes:
        layers: those that a gradient of an output passes through.
        beside_one: layers that are combined with the single channel of another layer, as in a
            broadcast gate, and that layer; DepGraph couples them all.
        loose: by layer, the parameters outside known layers that its channels are combined with;
            DepGraph couples them along their last dimension.
        unread: why DepGraph cannot read the network at all; empty if it can, as far as is known.
    """

    layers: frozenset[str]
    beside_one: Mapping[str, str]
    loose: Mapping[str, Collection[str]]
    unread: str = ""


def reached_layers(model: nn.Module, inputs: Inputs) -> Reached:
    """Follow the gradients of a network's outputs back through its layers; none is computed.

    Args:
        model: not changed. Where a parameter wants no gradient a layer may not be reached.
        inputs: example inputs.
    """
    return sized(lambda sizes: _reached(model, inputs, sizes))


def _reached(model: nn.Module, inputs: Inputs, sizes: SizesOnly | None) -> Reached:
    traced = aliased(model, requires_grad=True)
    for copied, own in zip(traced.parameters(), model.parameters(), strict=True):
        copied.requires_grad_(own.requires_grad)
    with left_as_found(model), torch.enable_grad(), _made_by(traced) as made:
        try:
            # The walk needs no values, so nothing is kept for a backward pass.
            unsaved = torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda kept: kept)
            with unsaved, running(sizes):
                nodes = list(_nodes_of(forward(traced, inputs)))
        except Exception as error:  # as of a parameter that is written to in place
            why = f"with gradients, by which DepGraph traces it, it raises: {one_line(error)}"
            return Reached(frozenset(), {}, {}, why)
        ways = _Ways(made, _loose(traced))
        reached = ways.back_from(nodes)
    layers = {name: layer for name, layer in traced.named_modules() if name in reached}
    single = {name for name, layer in layers.items() if _is_single(layer)}
    return Reached(
        layers=frozenset(layers),
        beside_one={met: one for one in single for met in ways.beside(one) - single},
        loose=ways.loose(),
        unread=_foreign(layers) if nodes else _unseen(model),
    )


def _unseen(model: nn.Module) -> str:
    """Why no output has a gradient, where it is not that no parameter wants one."""
    return NO_GRADIENT if all(each.requires_grad for each in model.parameters()) else ""


def _foreign(layers: Mapping[str, nn.Module]) -> str:
    foreign = next((name for name, layer in layers.items() if isinstance(layer, _FOREIGN)), None)
    return f"DepGraph has no rule for the recurrent layer `{foreign}`" if foreign else ""


_FOREIGN = (nn.GRU, nn.RNN, nn.RNNCellBase)
"""Layers whose operators DepGraph does not follow."""


def _loose(model: nn.Module) -> dict[int, str]:
    """Parameters of no layer that has a kind, by identity."""
    return {
        id(parameter): f"{name}.{own}".removeprefix(".")
        for name, module in model.named_modules()
        if kind_of(module) is None
        for own, parameter in module._parameters.items()
        if parameter is not None and parameter.numel() > 1
    }


def _is_single(layer: nn.Module) -> bool:
    width = getattr(layer, "out_channels", getattr(layer, "out_features", 0))
    return width == 1 and makes_channels(layer)


def _nodes_of(output: Any) -> Iterator[Any]:
    return (tensor.grad_fn for tensor in tensors_of(output) if tensor.grad_fn is not None)


Made = Mapping[Any, Sequence[tuple[str, nn.Module]]]
"""By node of the gradient the layers of which it is the result, the innermost first."""


@contextmanager
def _made_by(model: nn.Module) -> Iterator[Made]:
    """The results of a network's layers while it runs."""
    made: dict[Any, list[tuple[str, nn.Module]]] = defaultdict(list)

    def noting(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(layer: nn.Module, _: Any, output: Any) -> None:
            for node in _nodes_of(output):
                made[node].append((name, layer))

        return note

    layers = [each for each in model.named_modules() if each[1]._parameters]
    handles = [layer.register_forward_hook(noting(name)) for name, layer in layers]
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()


class _Ways:
    """Paths of gradients between layers; DepGraph couples the layers of one path."""

    def __init__(self, made: Made, loose: Mapping[int, str]) -> None:
        self._made = made
        self._loose = loose
        self._taken: dict[str, list[Any]] = defaultdict(list)
        self._maker = {
            node: name
            for node, layers in made.items()
            for name, layer in reversed(layers)
            if makes_channels(layer)
        }
        self._met: dict[Any, Any] = {}

    def back_from(self, nodes: Collection[Any]) -> set[str]:
        """Names of the layers that are reached from these nodes."""
        pending, seen = list(nodes), set()
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            for earlier in (each for each, _ in node.next_functions if each is not None):
                if hasattr(earlier, "variable"):
                    name = self._loose.get(id(earlier.variable))
                    if name is not None:
                        self._taken[name].append(self._side(node, "read"))
                    continue
                # A part of a concatenation has its channels for itself.
                if not node.name().startswith(("Cat", "Stack")):
                    self._join(self._side(node, "read"), self._side(earlier, "made"))
                pending.append(earlier)
        return {name for node in seen & self._made.keys() for name, _ in self._made[node]}

    def beside(self, name: str) -> set[str]:
        """The layers whose channels meet those of a layer, and itself."""
        part = self._part(("made", name))
        return {one for one in self._maker.values() if self._part(("made", one)) == part}

    def loose(self) -> dict[str, set[str]]:
        """By layer the parameters that its channels meet."""
        met = {name: set(map(self._part, sides)) for name, sides in self._taken.items()}
        return {
            one: {name for name, parts in met.items() if self._part(("made", one)) in parts}
            for one in self._maker.values()
        }

    def _side(self, node: Any, side: str) -> Any:
        return (side, self._maker[node]) if node in self._maker else node

    def _part(self, node: Any) -> Any:
        while node in self._met:
            node = self._met[node]
        return node

    def _join(self, one: Any, other: Any) -> None:
        one, other = self._part(one), self._part(other)
        if one != other:
            self._met[one] = other
