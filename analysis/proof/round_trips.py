"""Round trips of a pruned network: state dict, pickle, torch.export, ONNX, GPU.

Where the same modules come back, both run in float64 and must agree to rounding, layer by layer.
What an exporter makes is run as it ships, in the network's own precision: it may be no further
from the float64 values than a few times what torch itself is.
"""

import ast
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis.environment import ONNX_TORCH, too_old
from analysis.errors import InputError
from analysis.network.failures import locate_failure
from analysis.network.float64 import in_float64, widened
from analysis.network.inference import (
    Inputs,
    as_arguments,
    copy_of,
    counted_places,
    forward,
    left_as_found,
    map_tensors,
    output_tensors,
    outputs_of,
    relative_error,
    walk,
)
from analysis.network.outputs import count_outputs, counted_outputs
from analysis.proof import comparing
from analysis.records import Verdict, Verification

__all__ = [
    "Shipped",
    "departure",
    "departure_on_gpu",
    "exported",
    "fed_to",
    "in_single",
    "onnx",
    "onnx_session",
    "pickled",
    "reloaded",
    "shipped_departure",
    "write_exported",
    "write_onnx",
]

_ROOM = 32
"""How many times torch's own rounding error another runtime may be off. It adds in another order,
which costs a small factor; a channel in the wrong place costs a hundred thousand."""


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pruning-analysis-") as folder:
        yield Path(folder)


@contextmanager
def _silently() -> Iterator[None]:
    """Keep what an exporter logs and prints, its every step and whole graphs, from the user."""
    disabled = logging.root.manager.disable
    trace = logging.getLogger("torch.__trace")  # decides by its own level alone
    level = trace.level
    logging.disable()
    trace.setLevel(logging.CRITICAL + 1)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        trace.setLevel(level)
        logging.disable(disabled)


def in_single(network: nn.Module, inputs: Inputs) -> tuple[nn.Module, Inputs]:
    """A network of 16 bits and its inputs in float32, where a fault is clearly above rounding.

    The network itself is changed.
    """

    def lengthened(tensor: Tensor) -> Tensor:
        return tensor.float() if tensor.dtype in _SHORT else tensor

    if any(tensor.dtype in _SHORT for tensor in network.parameters()):
        network.float()
    return network, map_tensors(inputs, lengthened)


_SHORT = (torch.float16, torch.bfloat16)


def reloaded(pruned: nn.Module, rebuilt: nn.Module) -> nn.Module:
    """The rebuilt network with the pruned one's weights, by way of a file.

    The file is a safetensors one, unless tensors share memory in a way that format refuses.

    Args:
        pruned: the network that is saved.
        rebuilt: a network of the same structure, which takes its weights.

    Raises:
        RuntimeError: the weights do not fit the structure.
    """
    from safetensors.torch import load_model, save_model

    with _folder() as folder:
        file = folder / "weights"
        try:
            save_model(pruned, str(file))
        except RuntimeError:
            torch.save(pruned.state_dict(), file)
            rebuilt.load_state_dict(torch.load(file, weights_only=True))
        else:
            load_model(rebuilt, file)
    return rebuilt


def pickled(pruned: nn.Module) -> nn.Module:
    """The network as a file of the whole module gives it back.

    Raises:
        Exception: whatever pickle says of what it cannot save.
    """
    with _folder() as folder:
        torch.save(pruned, folder / "network.pt")
        # The one case in which a pickle is trusted: it was written in the line above.
        loaded: nn.Module = torch.load(folder / "network.pt", weights_only=False)
    return loaded


@dataclass(frozen=True)
class Shipped:
    """A network in another form.

    Attributes:
        outputs: inputs -> the tensors that it puts out.
        layers: inputs -> for each layer whose output is known, that of its last call.
    """

    outputs: Callable[[Inputs], list[Tensor]]
    layers: Callable[[Inputs], dict[str, Tensor]]


def exported(pruned: nn.Module, inputs: Inputs) -> Shipped:
    """The network as ``torch.export`` writes it to a file and reads it back.

    Raises:
        Exception: whatever torch.export says of what it cannot export.
    """
    with _silently(), _folder() as folder:
        write_exported(pruned, inputs, folder / "network.pt2")
        program = torch.export.load(folder / "network.pt2").module()
    count_outputs(program, counted_outputs(pruned))

    def layers(inputs: Inputs) -> dict[str, Tensor]:
        args, kwargs = as_arguments(inputs)
        recorder = _Recorder(program)
        recorder.run(*args, *kwargs.values())
        return recorder.layers

    return Shipped(lambda inputs: output_tensors(forward(program, inputs)), layers)


def write_exported(pruned: nn.Module, inputs: Inputs, file: Path) -> None:
    """Write a network as ``torch.export`` does.

    Raises:
        Exception: whatever torch.export says of what it cannot export.
    """
    args, kwargs = as_arguments(inputs)
    with _silently():
        torch.export.save(torch.export.export(pruned, args, kwargs), file)


class _Recorder(torch.fx.Interpreter):
    """Runs a graph node by node, keeping what the last node of each module makes."""

    def __init__(self, program: Any) -> None:
        super().__init__(program)
        self.layers: dict[str, Tensor] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if stack and isinstance(result, Tensor):
            # What works in place would overwrite what is kept.
            self.layers[stack[-1][0]] = result.clone()
        return result


def onnx(pruned: nn.Module, inputs: Inputs) -> Shipped:
    """The network as an ONNX file that onnxruntime runs on the CPU.

    Raises:
        Exception: whatever the exporter or onnxruntime says of what it cannot run.
    """
    proto = _onnx_program(pruned, inputs).model_proto
    everything = [value.name for value in proto.graph.output]
    outputs = [everything[place] for place in counted_places(pruned, inputs)]
    session = _session(proto)

    def layers(inputs: Inputs) -> dict[str, Tensor]:
        """A second session, whose graph puts out everything, for then nothing is fused."""
        scopes = {node.output[0]: _module_of(node) for node in proto.graph.node if node.output}
        for name in scopes.keys() - everything:
            proto.graph.output.add().name = name
        found = _run(_session(proto), inputs, list(scopes))
        return {scopes[name]: tensor for name, tensor in found.items() if scopes[name]}

    return Shipped(lambda inputs: list(_run(session, inputs, outputs).values()), layers)


def _onnx_program(pruned: nn.Module, inputs: Inputs) -> Any:
    # Older exporters take no named arguments, or raise.
    old = too_old("torch", ONNX_TORCH)
    if old:
        raise InputError(f"it {old}")
    args, kwargs = as_arguments(inputs)
    with _silently():
        program = torch.onnx.export(pruned, args, kwargs=kwargs, dynamo=True, verbose=False)
    assert program is not None
    return program


def write_onnx(pruned: nn.Module, inputs: Inputs, file: Path) -> None:
    """Write a network as an ONNX file.

    Raises:
        Exception: whatever the exporter says of what it cannot export.
    """
    program = _onnx_program(pruned, inputs)
    with _silently():
        program.save(str(file))


def onnx_session(network: nn.Module, inputs: Inputs, *, threads: int) -> Any:
    """The network in onnxruntime, on this many threads of the CPU.

    Raises:
        Exception: whatever the exporter or onnxruntime says of what it cannot run.
    """
    return _session(_onnx_program(network, inputs).model_proto, threads)


def fed_to(session: Any, inputs: Inputs) -> dict[str, Any]:
    """The example inputs as a session takes them."""
    return {
        place.name: tensor.detach().cpu().numpy()
        for place, tensor in zip(session.get_inputs(), walk(inputs), strict=True)
    }


def _run(session: Any, inputs: Inputs, names: list[str]) -> dict[str, Tensor]:
    found = session.run(names, fed_to(session, inputs))
    return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}


def _session(proto: Any, threads: int = 0) -> Any:
    """The network that onnxruntime runs; 0 threads are its own choice."""
    import onnxruntime
    from onnx import save_model

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    with _folder() as folder:
        # Weights beside it, for a message of the format has at most two gigabytes.
        save_model(proto, folder / "network.onnx", save_as_external_data=True)
        return onnxruntime.InferenceSession(
            folder / "network.onnx", options, providers=["CPUExecutionProvider"]
        )


def _module_of(node: Any) -> str:
    """The module whose forward a node of an ONNX graph comes from; empty if it is not known."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes: list[str] = ast.literal_eval(entry.value)
            return scopes[-2] if len(scopes) > 1 else ""
    return ""


@torch.no_grad()
def departure(network: nn.Module, other: nn.Module, inputs: Inputs) -> str:
    """Where a loaded network differs from the original; empty if it does not.

    Args:
        network: the one that stayed.
        other: the same modules with weights that made a round trip.
        inputs: gives the shapes of the random inputs.
    """
    return _said(_compared(network, other, inputs, None, comparing.TOLERANCE))


@torch.no_grad()
def departure_on_gpu(pruned: nn.Module, dense: nn.Module, inputs: Inputs) -> str:
    """Where a pruned network on a GPU differs from itself on the CPU; empty if it does not.

    Some kernels keep constants in single precision, whatever they compute in (CUDA's hardswish its
    sixth), so that a network may be as far from itself as a few times what the dense one is.

    Args:
        pruned: the network.
        dense: the network before it was pruned, which shows how the two devices round.
        inputs: gives the shapes of the random inputs.
    """
    found = _between_devices(pruned, inputs, comparing.TOLERANCE)
    if isinstance(found, Verification) and found.verdict is Verdict.WRONG:
        rounding = _between_devices(dense, inputs, comparing.TOLERANCE)
        if isinstance(rounding, Verification) and rounding.max_rel_error is not None:
            allowed = max(comparing.TOLERANCE, _ROOM * rounding.max_rel_error)
            found = _between_devices(pruned, inputs, allowed)
    return _said(found)


def _between_devices(network: nn.Module, inputs: Inputs, tolerance: float) -> Verification | str:
    on_cpu, on_gpu = (copy_of(network).to(device) for device in ("cpu", "cuda"))
    return _compared(on_cpu, on_gpu, map_tensors(inputs, Tensor.cpu), "cuda", tolerance)


def _said(found: Verification | str) -> str:
    if isinstance(found, str):
        return found
    return "" if found.verdict is Verdict.EXACT else found.reason


def _compared(
    network: nn.Module, other: nn.Module, inputs: Inputs, device: str | None, tolerance: float
) -> Verification | str:
    """Both networks compared layer by layer in float64; why the second does not run, in words."""
    drawn = comparing.random_inputs(inputs)
    with left_as_found(network), in_float64(network):
        expected = comparing.observe(network.eval(), drawn)
    moved = map_tensors(drawn, lambda tensor: tensor.to(device)) if device else drawn
    with left_as_found(other), in_float64(other):
        failure = locate_failure(other.eval(), moved)
        if failure is not None:
            return f"does not run: {failure}"
        found = comparing.observe(other, moved)
    if device:
        expected, found = (_on_cpu(observed) for observed in (expected, found))
    return comparing.compare(expected, found, network, (), tolerance=tolerance)


def _on_cpu(observed: comparing.Observation) -> comparing.Observation:
    return comparing.Observation(
        [tensor.cpu() for tensor in observed.outputs],
        tuple((name, trace.cpu()) for name, trace in observed.layers),
    )


@torch.no_grad()
def shipped_departure(network: nn.Module, shipped: Shipped, inputs: Inputs) -> str:
    """Where another form of a network differs from it; empty if it does not.

    Args:
        network: the one that stayed, in single precision or better.
        shipped: what was made of it.
        inputs: gives the shapes and types of the random inputs.
    """
    types = iter([tensor.dtype for tensor in walk(inputs)])
    drawn = map_tensors(comparing.random_inputs(inputs), lambda tensor: tensor.to(next(types)))
    with left_as_found(network):
        network.eval()
        with in_float64(network):
            truth = outputs_of(network, map_tensors(drawn, widened))
        own = outputs_of(network, drawn)
        found = [tensor.to(own[0].device) for tensor in shipped.outputs(drawn)]
        if [tensor.shape for tensor in found] != [tensor.shape for tensor in own]:
            shapes = [[tuple(tensor.shape) for tensor in each] for each in (own, found)]
            return f"has outputs of shapes {shapes[1]}, not {shapes[0]}"
        for number, (right, here, there) in enumerate(zip(truth, own, found, strict=True)):
            error, rounding = _error(right, here, there)
            if error <= _ROOM * rounding:
                continue
            first = _first_departure(network, shipped, drawn, _ROOM * rounding)
            where = f"`{first}` is the first layer to differ; " if first else ""
            return (
                f"computes another function: {where}its output {number} is off by a relative error "
                f"of {error:.2g}, where torch's own rounding is {rounding:.2g}"
            )
    return ""


def _error(truth: Tensor, own: Tensor, found: Tensor) -> tuple[float, float]:
    """How far another runtime's output is off, and torch's own, relatively.

    Of whole numbers, such as the places of maxima, the share that differs; one in 32,000 may, where
    two values are equal but for rounding.
    """
    if not own.is_floating_point():
        differing = float((own != found).double().mean()) if own.numel() else 0.0
        return differing, 1e-3 / _ROOM
    known = truth.isfinite() & own.isfinite()
    if not bool(found[known].isfinite().all()):
        return inf, 0.0
    truth, own, found = (torch.where(known, tensor, 0.0) for tensor in (truth, own, found))
    rounding = max(relative_error(truth, own), torch.finfo(own.dtype).eps)
    return relative_error(truth, found), rounding


def _first_departure(network: nn.Module, shipped: Shipped, inputs: Inputs, allowed: float) -> str:
    made: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        tensor = next(walk(output), None)
        if tensor is not None:
            made.pop(name, None)  # in the order of the last calls
            made[name] = tensor.clone()

    handles = [
        module.register_forward_hook(lambda _layer, _args, output, name=name: keep(name, output))
        for name, module in network.named_modules()
    ]
    try:
        forward(network, inputs)
    finally:
        for handle in handles:
            handle.remove()
    others = shipped.layers(inputs)
    for name, tensor in made.items():
        other = others.get(name)
        if other is None or other.shape != tensor.shape:
            continue
        if relative_error(tensor, other.to(tensor.device)) > allowed:
            return name
    return ""
