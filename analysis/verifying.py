"""Two networks, one answer: do they compute the same function?"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import InputError
from analysis.inference import (
    Inputs,
    forward,
    locate_failure,
    map_tensors,
    output_tensors,
)
from analysis.records import Cut, Verdict, Verification

__all__ = [
    "TOLERANCE",
    "Observation",
    "changed_tensors",
    "compare",
    "observe",
    "random_inputs",
]

TOLERANCE = 1e-9
"""Greatest relative error, in float64, that counts as rounding."""


def random_inputs(inputs: Inputs, seed: int = 0) -> Inputs:
    """Float64 standard normal draws in place of every floating-point tensor of ``inputs``."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)

    drawn: Inputs = map_tensors(inputs, draw)
    return drawn


@dataclass(frozen=True)
class Observation:
    """A network's outputs, and a trace of each layer's output at each of its calls.

    The trace of an output (N, C, *positions) is its product with one random vector over the
    positions, (N, C): it is as sensitive as the whole output, up to a coincidence of random
    numbers, at a fraction of the memory. Other outputs are kept whole.
    """

    outputs: list[Tensor]
    layers: dict[str, list[Tensor]]


@torch.no_grad()
def observe(model: nn.Module, inputs: Inputs) -> Observation:
    """Run the model, keeping its outputs and a trace of every layer that owns parameters."""
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str, trace: Tensor) -> None:
        seen.setdefault(name, []).append(trace)

    with _watching(model, keep):
        return Observation(output_tensors(forward(model, inputs)), seen)


@contextmanager
def _watching(model: nn.Module, watch: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Hand the trace of every layer's output to ``watch``, in the order of the calls."""
    vectors: dict[int, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is None:
            continue

        def hook(module: nn.Module, _args: Any, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor):
                watch(name, _trace(module, output, vectors))

        handles.append(module.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_POSITIONS_LAST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.PReLU,
)


def _trace(module: nn.Module, output: Tensor, vectors: dict[int, Tensor]) -> Tensor:
    if not isinstance(module, _POSITIONS_LAST) or output.dim() < 4:
        # An activation that works in place would overwrite what is kept.
        return output.clone()
    flat = output.flatten(2)
    size = flat.shape[2]
    if size not in vectors:
        generator = torch.Generator().manual_seed(size)
        vectors[size] = torch.randn(size, generator=generator, dtype=torch.float64).to(flat)
    return flat @ vectors[size]


def compare(
    expected: Observation, pruned: nn.Module, inputs: Inputs, cuts: Iterable[Cut]
) -> Verification:
    """Compare the pruned network with what the masked dense network put out, layer by layer.

    Equality is asked of the outputs and of the traces of the kept channels of every layer that
    owns parameters, so that a fault is seen where it is made even if later layers hardly pass it
    on.

    Args:
        expected: `observe` of the masked dense network, in float64.
        pruned: the pruned network, in float64 and eval mode.
        inputs: what ``expected`` was computed from.
        cuts: every axis that was cut.

    Raises:
        InputError: the dense network's outputs are not finite, so nothing can be compared.
    """
    outputs = expected.outputs
    if not all(bool(tensor.isfinite().all()) for tensor in outputs):
        raise InputError(
            "the dense network's output on standard normal inputs is not finite in float64; "
            "expected finite numbers: check its weights"
        )
    out_cuts = {cut.layer: cut for cut in cuts if cut.axis == "out"}
    errors: list[tuple[str, float]] = []
    calls = {name: iter(tensors) for name, tensors in expected.layers.items()}

    def judge(name: str, trace: Tensor) -> None:
        before = next(calls.get(name, iter(())), None)
        if before is not None and before.shape != trace.shape and name not in out_cuts:
            return  # a layer with one value for all channels passes on what others cut
        kept = None if before is None else _kept(before, trace, out_cuts.get(name))
        errors.append((name, inf if kept is None else _relative_error(kept, trace)))

    try:
        with torch.no_grad(), _watching(pruned, judge):
            found = output_tensors(forward(pruned, inputs))
    except Exception:
        failure = locate_failure(pruned, inputs)
        reason = str(failure or "the forward pass raised once and not again")
        module = failure.module if failure else None
        return Verification(Verdict.BROKEN, reason, first_divergence=module)
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in outputs]:
        return Verification(Verdict.BROKEN, _changed_shape(outputs, found, out_cuts.values()))
    errors.append(("", max(map(_relative_error, outputs, found))))
    greatest = max(error for _, error in errors)
    if greatest <= TOLERANCE:
        return Verification(Verdict.EXACT, max_rel_error=greatest)
    diverged, error = next((name, error) for name, error in errors if error > TOLERANCE)
    where = f"`{diverged}`" if diverged else "the model's own forward"
    return Verification(
        Verdict.WRONG,
        f"runs with the right output shape and computes another function: {where} is the first "
        f"to depart, by a relative error of {error:.2g} (at most {TOLERANCE:g} is rounding)",
        max_rel_error=greatest,
        first_divergence=diverged,
    )


def _relative_error(expected: Tensor, found: Tensor) -> float:
    """Greatest absolute difference over the greatest absolute expected value."""
    if not expected.numel():
        return 0.0
    scale = float(expected.double().abs().max())
    difference = float((expected.double() - found.double()).abs().max())
    # NaN compares false with every bound; make it a departure.
    if difference != difference:
        return inf
    return difference / scale if scale else difference


def _kept(expected: Tensor, found: Tensor, cut: Cut | None) -> Tensor | None:
    """The part of a dense tensor that a pruned one should equal; None if no cut explains it."""
    if expected.shape == found.shape:
        return expected
    for axis in range(expected.dim()):
        if cut is not None and expected.shape[axis] == cut.width:
            index = torch.tensor(cut.kept, device=expected.device)
            kept = expected.index_select(axis, index)
            if kept.shape == found.shape:
                return kept
    return None


def _changed_shape(expected: list[Tensor], found: list[Tensor], out_cuts: Iterable[Cut]) -> str:
    before = ", ".join(str(tuple(tensor.shape)) for tensor in expected)
    after = ", ".join(str(tuple(tensor.shape)) for tensor in found)
    reason = f"the output shape changed from {before} to {after}"
    for cut in out_cuts:
        kept = [_kept(dense, pruned, cut) for dense, pruned in zip(expected, found, strict=False)]
        if all(
            part is not None and _relative_error(part, pruned) <= TOLERANCE
            for part, pruned in zip(kept, found, strict=False)
        ):
            return (
                f"{reason}: {len(cut.removed)} outputs of `{cut.layer}` were cut; "
                "the outputs that are left equal the masked dense network's"
            )
    return reason


def changed_tensors(dense: nn.Module, pruned: nn.Module, cuts: Iterable[Cut]) -> Iterator[str]:
    """Names of the pruned network's parameters and buffers that are not the dense ones, restricted.

    A surviving value must be the original one, bit for bit, at the place the cuts give it.
    """
    by_axis = {(cut.layer, cut.axis): cut for cut in cuts}
    originals = dict(_named_tensors(dense))
    modules = dict(dense.named_modules())
    for name, tensor in _named_tensors(pruned):
        owner, _, _ = name.rpartition(".")
        if name not in originals:
            yield name
            continue
        expected = _restricted(
            originals[name],
            modules[owner],
            by_axis.get((owner, "out")),
            by_axis.get((owner, "in")),
        )
        if expected.shape != tensor.shape or not torch.equal(expected, tensor):
            yield name


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # A tied tensor stands under each of its names: torch-pruning unties what it cuts.
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name, parameter.detach()
    yield from model.named_buffers(remove_duplicate=False)


def _restricted(tensor: Tensor, module: nn.Module, out: Cut | None, into: Cut | None) -> Tensor:
    """The part of a layer's tensor that the cuts of its two axes leave."""
    kept = tensor if out is None or not tensor.dim() else tensor[torch.tensor(out.kept)]
    if into is None or tensor.dim() < 2:
        return kept
    groups = module.groups if isinstance(module, nn.modules.conv._ConvNd) else 1
    if groups == 1:
        return kept[:, torch.tensor(into.kept)]
    # A row of a grouped convolution reads the inputs of its own group only.
    rows = out.kept if out else range(tensor.shape[0])
    width, rows_per_group = into.width // groups, tensor.shape[0] // groups
    columns = [
        [index - group * width for index in into.kept if index // width == group]
        for group in range(groups)
    ]
    return torch.stack(
        [line[columns[row // rows_per_group]] for row, line in zip(rows, kept, strict=True)]
    )
