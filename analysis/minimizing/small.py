"""A network as its graph and the constructor calls of its modules, which is shrunk."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from analysis.minimizing.remade import Kept, Maker, maker_of
from analysis.minimizing.tracing import Tracer, called
from analysis.network.inference import Inputs

__all__ = ["Small", "edited", "flat", "shape_of", "small_of", "sources"]


@dataclass(frozen=True, eq=False)
class Small:
    """A network that may be smaller than the one it came from.

    Attributes:
        graph: of its operators; each node's ``meta["value"]`` is what it computed when fitted.
        makers: constructor calls of its modules, by the names in the graph.
        tensors: its own parameters and buffers, by name.
        inputs: example inputs, by name.
        seed: of its weights and inputs.
    """

    graph: fx.Graph
    makers: Mapping[str, Maker]
    tensors: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]
    seed: int = 0

    @property
    def nodes(self) -> list[fx.Node]:
        """The nodes that compute, in order."""
        return [n for n in self.graph.nodes if n.op not in ("placeholder", "output", "get_attr")]

    def drawn(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network and its inputs, with the random values of the script."""
        torch.manual_seed(self.seed)
        code = self.graph.python_code("self")
        names = dict(code.globals)
        exec(code.src, names)
        root: nn.Module = type("Net", (nn.Module,), {"forward": names["forward"]})()
        for name, maker in self.makers.items():
            root.add_module(name, maker.build())
        for name, tensor in self.tensors.items():
            _set(root, name, tensor)
        return root.eval(), tuple(redrawn(value) for value in self.inputs.values())

    def fitted(self) -> "Small":
        """The same, with every module built for its input.

        Raises:
            Exception: an operator raises on sizes that do not fit.
        """
        root, makers, copied = nn.Module(), {}, edited(self).graph
        for name, tensor in self.tensors.items():
            _set(root, name, tensor)
        values: dict[fx.Node, Any] = {}
        with torch.no_grad():
            for node in copied.nodes:
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                if node.op == "placeholder":
                    values[node] = self.inputs[node.target]
                elif node.op != "output":
                    if node.op == "call_module" and node.target not in makers:
                        given = next(iter((*args, *kwargs.values())), None)
                        makers[node.target] = self.makers[node.target].fitted(given)
                        root.add_module(node.target, makers[node.target].build())
                    values[node] = called(root, node, args, kwargs)
                node.meta["value"] = values.get(node)
        used = {node.target for node in copied.nodes if node.op == "get_attr"}
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in used}
        asked = {
            node.target: self.inputs[node.target] for node in copied.find_nodes(op="placeholder")
        }
        return Small(copied, makers, tensors, asked)


def redrawn(value: Tensor) -> Tensor:
    """Random values for real inputs; others, such as indices, are kept."""
    return torch.randn(value.shape) if value.is_floating_point() else value


def _set(root: nn.Module, name: str, tensor: Tensor) -> None:
    value = redrawn(tensor)
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(name, nn.Parameter(value, tensor.requires_grad))
    else:
        root.register_buffer(name, value)


def small_of(model: nn.Module, inputs: Inputs) -> Small:
    """A network as its graph.

    Raises:
        Exception: torch.fx cannot follow it.
    """
    tracer = Tracer(model, inputs)
    graph = tracer.trace(model)
    makers: dict[str, Maker] = {}
    tensors: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            owner, _, name = node.target.rpartition(".")
            found = getattr(tracer.root.get_submodule(owner), name)
            node.target = flat(node.target)
            if node.op == "get_attr":
                tensors[node.target] = (
                    found.detach() if not isinstance(found, nn.Parameter) else found
                )
            else:
                makers[node.target] = maker_of(found) or Kept(found)
    return Small(graph, makers, tensors, tracer.inputs).fitted()


def flat(name: str) -> str:
    """A valid Python name without dots."""
    flat = name.replace(".", "_")
    return f"layer{flat}" if flat[0].isdigit() else flat


def edited(
    small: Small, edit: Callable[[fx.Graph, dict[str, fx.Node]], None] | None = None
) -> Small:
    """The network with a copy of its graph that was changed, and without what is not used then."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(small.graph, copies)
    graph.output(result)
    if edit is not None:
        edit(graph, {node.name: copies[node] for node in copies})
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op == "output")
    for node in graph.find_nodes(op="placeholder"):
        if not node.users:
            graph.erase_node(node)
    return replace(small, graph=graph)


def shape_of(node: fx.Node) -> torch.Size | None:
    """Of the tensor that a node of a fitted network puts out; None if it puts out none."""
    value = node.meta.get("value")
    return value.shape if isinstance(value, Tensor) else None


def sources(node: fx.Node) -> Iterator[fx.Node]:
    """The tensors that a node is computed from, nearest first."""
    for before in node.all_input_nodes:
        if isinstance(before.meta.get("value"), Tensor):
            if before.op != "get_attr":
                yield before
        else:
            yield from sources(before)
