"""The tensors of an ONNX file under the names that they have in the network it was made of."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import InputError
from analysis.network.inference import named_tensors, one_line

__all__ = ["tensors_in_onnx"]

_LAYER, _NORM = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var")

_PARTS = {
    "Conv": _LAYER, "ConvTranspose": _LAYER, "Gemm": _LAYER,
    "BatchNormalization": _NORM, "LayerNormalization": _LAYER,
}  # fmt: skip
"""Tensors of a layer that is one node, in the order in which the node takes them."""


@dataclass(frozen=True)
class _Node:
    """An operator of the file.

    Attributes:
        kind: its name in ONNX.
        scope: path of the module that called it; empty where the file does not say.
        taken: names of what it takes.
        is_turned: whether it takes the weight of a Linear with its inputs first.
    """

    kind: str
    scope: str
    taken: tuple[str, ...]
    is_turned: bool


def tensors_in_onnx(path: str, model: nn.Module) -> dict[str, Tensor]:
    """What a file holds of the tensors of a network, or of one with its norms merged.

    Exporters keep the names of what they leave as it is. What they turn round or merge is named
    after the node that reads it.

    Args:
        path: of the file.
        model: the network, before or after it was pruned.

    Raises:
        InputError: there is no such file, it cannot be read, or onnx is not installed.
    """
    held, nodes = _read(path)
    own = named_tensors(model)
    found = {name: tensor for name, tensor in held.items() if name in own}
    for name, tensor in _renamed(held, nodes, own, found):
        found.setdefault(name, tensor)
    return found | _unread(model, found)


def _unread(model: nn.Module, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What no operator reads, of layers that are there: batch norms count their batches."""
    layers = {name.rpartition(".")[0] for name in found}
    return {
        name: each
        for name, each in model.state_dict().items()
        if not each.is_floating_point() and name.rpartition(".")[0] in layers and name not in found
    }


def _renamed(
    held: Mapping[str, Tensor],
    nodes: list[_Node],
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
) -> Iterator[tuple[str, Tensor]]:
    """Tensors that layers read under names of the exporter's, or of an equal tensor."""
    for node in nodes:
        if node.kind in _PARTS:
            yield from _of_layer(node, held, own)
        elif node.kind == "MatMul":
            for name in node.taken:
                if name in held and name not in own:
                    yield from _matrix_of(node.scope, held[name], own, found)


def _of_layer(
    node: _Node, held: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    weight = held.get(node.taken[1])
    called = own.get(f"{node.scope}.weight")
    if weight is None:
        return
    # A norm that was merged is the scope of the node that is left; its layer has the weight.
    is_own = called is not None and called.dim() == weight.dim()
    layer = node.scope if is_own else node.taken[1].rpartition(".")[0]
    if f"{layer}.weight" not in own:
        return
    for part, name in zip(_PARTS[node.kind], node.taken[1:], strict=False):
        if name in held:
            yield f"{layer}.{part}", _turned(held[name], node, part)
    if len(node.taken) == 2 and f"{layer}.bias" in own and node.kind in ("Conv", "Gemm"):
        yield f"{layer}.bias", weight.new_zeros(_turned(weight, node, "weight").shape[0])


def _turned(tensor: Tensor, node: _Node, part: str) -> Tensor:
    return tensor.T.contiguous() if node.is_turned and part == "weight" else tensor


def _matrix_of(
    layer: str, tensor: Tensor, own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The only matrix of a layer that the file has under no name of its own."""
    lacking = [
        name
        for name, each in own.items()
        if name.rpartition(".")[0] == layer and each.dim() == 2 and name not in found
    ]
    if len(lacking) == 1 and tensor.dim() == 2:
        yield lacking[0], tensor.T.contiguous()


def _read(path: str) -> tuple[dict[str, Tensor], list[_Node]]:
    if not Path(path).is_file():
        raise InputError(f"there is no file {path!r}")
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise InputError(
            f"{path!r} is an ONNX file, and onnx is not installed: pip install "
            "'pruning-analysis[onnx]'"
        ) from error
    try:
        graph = onnx.load(path).graph
        held = {
            each.name: torch.from_numpy(numpy_helper.to_array(each).copy())
            for each in graph.initializer
        }
    except Exception as error:  # of protobuf, onnx and NumPy
        raise InputError(
            f"{path!r} cannot be read as an ONNX file ({type(error).__name__}: "
            f"{one_line(error)[:200]})"
        ) from error
    if not held:
        raise InputError(f"{path!r} is no ONNX file of a network: it holds no tensors")
    return held, [_node(each) for each in graph.node]


def _node(node: Any) -> _Node:
    given = {each.name: each.i for each in node.attribute}
    return _Node(
        node.op_type,
        _scope(node),
        tuple(node.input),
        node.op_type == "Gemm" and not given.get("transB", 0),
    )


def _scope(node: Any) -> str:
    """The module that called a node, as torch.onnx writes it."""
    scopes = {each.key: each.value for each in node.metadata_props}.get(_SCOPES)
    if scopes is None:  # of the exporter by TorchScript: /block/conv/Conv
        return ".".join(node.name.strip("/").split("/")[:-1])
    try:
        names = ast.literal_eval(scopes)
    except (SyntaxError, ValueError):
        return ""
    return names[-2] if isinstance(names, list) and len(names) > 1 else ""


_SCOPES = "pkg.torch.onnx.name_scopes"
