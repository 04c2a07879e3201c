"""Compare two networks: do they compute the same function?"""

from cmath import isfinite
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from functools import lru_cache
from math import inf, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils._pytree import tree_leaves

from analysis.errors import InputError
from analysis.network.inference import (
    Inputs,
    forward,
    hookable,
    indices,
    map_tensors,
    named_tensors,
    output_tensors,
    relative_error,
    walk,
)
from analysis.network.layers import has_own_forward, kind_of
from analysis.network.modules import named_modules
from analysis.network.owners import owner_of
from analysis.network.sparse import sparse_layout, stored_in
from analysis.records import Cut, Verdict, Verification

__all__ = [
    "TOLERANCE",
    "Observation",
    "Restriction",
    "changed_tensors",
    "check_finite",
    "compare",
    "is_same",
    "observe",
    "random_inputs",
]

TOLERANCE = 1e-9
"""Greatest relative error, in float64, that counts as rounding."""


def random_inputs(inputs: Inputs, seed: int = 0, *, as_given: bool = False) -> Inputs:
    """Standard normal draws in place of every floating-point tensor of ``inputs``, in float64.

    Of a sparse tensor only the numbers that it holds are drawn.

    Args:
        inputs: example inputs.
        seed: of the draws.
        as_given: whether they keep the type of the inputs.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        dtype = tensor.dtype if as_given else torch.float64
        if not sparse_layout(tensor):
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            return drawn.to(tensor.device, dtype)
        # A network may call what takes no other layout; the zeros, an edge that is none, stay.
        sparse = tensor.detach().to(dtype, copy=True)
        values = stored_in(sparse)[-1]
        values.copy_(torch.randn(values.shape, generator=generator, dtype=torch.float64))
        return sparse

    drawn: Inputs = map_tensors(inputs, draw)
    return drawn


@dataclass(frozen=True)
class Observation:
    """A network's outputs, and a trace of each layer's output, one entry a call, in call order.

    The trace of an output (N, C, *positions) is its product with one random vector over the
    positions, (N, C): it is as sensitive as the whole output, up to a coincidence of random
    numbers, at a fraction of the memory. Other outputs are kept whole.
    """

    outputs: list[Tensor]
    layers: tuple[tuple[str, Tensor], ...]


@torch.no_grad()
def observe(model: nn.Module, inputs: Inputs, seed: int = 0) -> Observation:
    """Run the model, keeping its outputs and a trace of every layer that owns parameters.

    The seed is that of the forward pass's own random draws, if it makes any.
    """
    seen: list[tuple[str, Tensor]] = []
    vectors: dict[int, Tensor] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        def hook(_layer: nn.Module, _args: Any, output: Any) -> None:
            # A mode would look at each function of these, which are none of the network's.
            with torch._C.DisableTorchFunction():
                tensors = [each for each in walk(output) if not is_functorch_wrapped_tensor(each)]
                if tensors:
                    seen.append((name, _trace(layer, tensors[0], vectors)))

        return layer.register_forward_hook(hook)

    handles = [
        watch(name, layer)
        for name, layer in hookable(model)
        if next(layer.parameters(recurse=False), None) is not None
    ]
    try:
        torch.manual_seed(seed)
        output = forward(model, inputs)
        outputs = (
            each if each.layout is torch.strided else each.to_dense()
            for each in output_tensors(output)
        )
        return Observation([*outputs, *_numbers(output)], tuple(seen))
    finally:
        for handle in handles:
            handle.remove()


def _numbers(output: Any) -> Iterator[Tensor]:
    """The numbers of an output that are no tensors; whole ones, which may be sizes, aside."""
    for leaf in tree_leaves(output):
        if isinstance(leaf, float | Decimal):
            yield torch.tensor(float(leaf), dtype=torch.float64)
        elif isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fc":
            yield torch.from_numpy(leaf.astype(np.complex128 if leaf.dtype.kind == "c" else float))
        elif isinstance(leaf, set | frozenset):
            yield from _numbers(sorted(leaf, key=repr))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            yield from _numbers([getattr(leaf, field.name) for field in fields(leaf)])


def _trace(layer: nn.Module, output: Tensor, vectors: dict[int, Tensor]) -> Tensor:
    kind = kind_of(layer)
    if kind is None or not has_own_forward(layer):
        return output.clone()
    if output.dim() < 4 or kind.axis(layer) % output.dim() != 1:
        # An activation that works in place would overwrite what is kept.
        return output.clone()
    flat = output.flatten(2)
    size = flat.shape[2]
    if size not in vectors:
        generator = torch.Generator().manual_seed(size)
        vectors[size] = torch.randn(size, generator=generator, dtype=torch.float64).to(flat)
    trace = flat @ vectors[size]
    if isfinite(trace.sum().item()):  # as no sum is that has anything else in it
        return trace
    # Infinities of both signs would add up to NaN.
    return flat.nan_to_num(nan=torch.nan, posinf=pi, neginf=-pi) @ vectors[size]


def check_finite(observed: Observation) -> None:
    """Refuse a dense network that returns infinities: nothing can be compared with them.

    Raises:
        InputError: names the first layer whose output is not finite.
    """
    if all(bool(tensor.isfinite().all()) for tensor in observed.outputs):
        return
    first = next(
        (f"`{name}`" for name, trace in observed.layers if not bool(trace.isfinite().all())),
        "the model's own forward",
    )
    raise InputError(
        "the dense network's output on standard normal inputs is not finite in float64, from "
        f"{first} on; expected finite numbers: check its weights, or whether it is half trained"
    )


def compare(
    expected: Observation,
    found: Observation,
    dense: nn.Module,
    cuts: Iterable[Cut],
    *,
    unknown: bool = False,
    tolerance: float = TOLERANCE,
) -> Verification:
    """Compare the pruned network with the masked dense one, layer by layer.

    Equality is asked of the outputs and of the traces of the kept channels of every layer that
    owns parameters, so that a fault is seen where it is made even if later layers hardly pass it
    on.

    Args:
        expected: what was observed of the masked dense network, in float64.
        found: what was observed of the pruned network on the same inputs.
        dense: the dense network, for the axes of its layers.
        cuts: every axis that was cut.
        unknown: whether NaN in ``expected`` means not known, and is skipped.
        tolerance: greatest relative error that counts as rounding.

    Returns:
        ``exact``, ``wrong`` with the first layer that differs, or ``broken``.
    """
    outputs = expected.outputs
    out_cuts = {cut.layer: cut for cut in cuts if cut.axis == "out"}
    if [tensor.shape for tensor in found.outputs] != [tensor.shape for tensor in outputs]:
        reason = _changed_shape(outputs, found.outputs, out_cuts.values())
        return Verification(Verdict.BROKEN, reason)
    pairs = [
        *_layer_pairs(expected, found, dense, out_cuts),
        *(("", *pair) for pair in zip(outputs, found.outputs, strict=True)),
    ]
    errors = [
        (name, inf if right is None else relative_error(right, trace))
        for name, right, trace in pairs
        if not (unknown and right is not None and bool(right.isnan().any()))
    ] or [("", 0.0)]
    greatest = max(error for _, error in errors)
    if greatest <= tolerance:
        return Verification(Verdict.EXACT, max_rel_error=greatest)
    diverged, error = next((name, error) for name, error in errors if error > tolerance)
    where = f"`{diverged}`" if diverged else "the model's own forward"
    return Verification(
        Verdict.WRONG,
        f"runs with the right output shape and computes another function: {where} is the first "
        f"to differ, by a relative error of {error:.2g} (at most {tolerance:.2g} is rounding)",
        max_rel_error=greatest,
        first_divergence=diverged,
    )


def _layer_pairs(
    expected: Observation, found: Observation, dense: nn.Module, out_cuts: dict[str, Cut]
) -> Iterator[tuple[str, Tensor | None, Tensor]]:
    """For each call of a layer, in the pruned network's order: what its trace should be, and is."""
    layers = named_modules(dense)
    calls: dict[str, list[Tensor]] = {}
    for name, trace in expected.layers:
        calls.setdefault(name, []).append(trace)
    pending = {name: iter(traces) for name, traces in calls.items()}
    for name, trace in found.layers:
        before = next(pending.get(name, iter(())), None)
        cut = out_cuts.get(name)
        if before is not None and before.shape != trace.shape and cut is None:
            continue  # a layer with one value for all channels passes on what others cut
        kept = None if before is None else _kept_trace(layers[name], before, trace, cut)
        yield name, kept, trace


def _kept_trace(
    layer: nn.Module, expected: Tensor, found: Tensor, cut: Cut | None
) -> Tensor | None:
    """The part of a dense trace that a pruned one should equal; None if no cut explains it."""
    if cut is None:
        return expected if expected.shape == found.shape else None
    kind = kind_of(layer)
    if kind is None or (not kind.mixes and not has_own_forward(layer)):
        return _kept_output(expected, found, cut)
    # A trace that has lost its positions, (N, C), holds the channels last.
    axis = -1 if expected.dim() == 2 else kind.axis(layer)
    blocks, rest = divmod(expected.shape[axis], cut.width)
    if rest or not blocks:
        return expected if expected.shape == found.shape else None
    places = _in_each(cut.kept, cut.width, blocks).to(expected.device)
    kept = expected.index_select(axis, places)
    return kept if kept.shape == found.shape else None


@lru_cache(maxsize=1024)  # a convolution and its batch norm lose the same
def _in_each(channels: tuple[int, ...], width: int, blocks: int) -> Tensor:
    """Channels in each of several blocks, as those of the directions of a recurrent layer."""
    return torch.tensor([block * width + each for block in range(blocks) for each in channels])


def _changed_shape(expected: list[Tensor], found: list[Tensor], out_cuts: Iterable[Cut]) -> str:
    before = ", ".join(str(tuple(tensor.shape)) for tensor in expected)
    after = ", ".join(str(tuple(tensor.shape)) for tensor in found)
    reason = f"the output shape changed from {before} to {after}"
    for cut in out_cuts:
        kept = [_kept_output(*pair, cut) for pair in zip(expected, found, strict=False)]
        if all(
            part is not None and relative_error(part, pruned) <= TOLERANCE
            for part, pruned in zip(kept, found, strict=False)
        ):
            return (
                f"{reason}: {len(cut.removed)} outputs of `{cut.layer}` were cut; "
                "the outputs that are left equal the masked dense network's"
            )
    return reason


def _kept_output(expected: Tensor, found: Tensor, cut: Cut) -> Tensor | None:
    """The part of an output that is left when the channels of one axis went; None if it is not."""
    if expected.shape == found.shape:
        return expected
    for axis in range(expected.dim()):
        if expected.shape[axis] == cut.width:
            kept = expected.index_select(axis, indices(cut.kept, expected))
            if kept.shape == found.shape:
                return kept
    return None


def changed_tensors(dense: nn.Module, pruned: nn.Module, cuts: Collection[Cut]) -> Iterator[str]:
    """Names of the pruned network's parameters and buffers that are not the dense ones, restricted.

    A kept value must be the original one, bit for bit, at the place that the cuts give it.
    """
    return Restriction(dense, cuts).changed_tensors(pruned)


def is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, with NaN in the same places."""
    if (one.shape, one.dtype, one.layout) != (other.shape, other.dtype, other.layout):
        return False
    if one.layout is not torch.strided:
        one, other = one.to_dense(), other.to_dense()
    return torch.equal(one, other) or (
        torch.equal(one.nan_to_num(), other.nan_to_num())
        and bool((one.isnan() == other.isnan()).all())
    )


class Restriction:
    """What cuts leave of a network's tensors.

    Args:
        dense: the network before the cuts.
        cuts: every axis that was cut.
    """

    def __init__(self, dense: nn.Module, cuts: Collection[Cut]) -> None:
        self._dense = dense
        self._layers = named_modules(dense, remove_duplicate=False)
        # A cut names a layer once, whatever other names it has.
        names = {id(layer): name for name, layer in named_modules(dense).items()}
        self._first = {name: names[id(layer)] for name, layer in self._layers.items()}
        self._cuts: dict[tuple[str, str], Cut] = {}
        self._alone: dict[str, list[tuple[int, Cut]]] = {}
        for cut in cuts:
            if cut.dim is None:
                self._cuts[cut.layer, cut.axis] = cut
            else:
                self._alone.setdefault(cut.layer, []).append((cut.dim, cut))
        self._axes = {layer for layer, _ in self._cuts}
        self._kept: dict[tuple[str, str, int | None, torch.device], Tensor] = {}
        self._owners: dict[str, tuple[str, str]] = {}

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """The part of a tensor that is left; the tensor itself where nothing of it was cut.

        The cuts are those of the layer that owns it, or that holds this: a layer of several parts,
        such as nn.MultiheadAttention, is cut as one.
        """
        if name in self._alone:
            for dim, cut in self._alone[name]:
                tensor = tensor.index_select(dim, self._staying(cut, tensor))
            return tensor
        owner, own_name = self._owner(name)
        layer = self._layers[owner]
        kind = kind_of(layer)
        out, into = (self._cuts.get((owner, axis)) for axis in ("out", "in"))
        if kind is None or (out is None and into is None):
            return tensor
        kept = (None if cut is None else self._staying(cut, tensor) for cut in (out, into))
        return kind.restrict(layer, own_name, tensor, *kept)

    @torch.no_grad()
    def changed_tensors(self, pruned: nn.Module) -> Iterator[str]:
        """Names of a pruned network's parameters and buffers that are not what is left."""
        originals, found = named_tensors(self._dense), named_tensors(pruned)
        for name, tensor in found.items():
            if name not in originals or not is_same(self(name, originals[name]), tensor):
                yield name
        yield from originals.keys() - found.keys()

    def touches(self, name: str) -> bool:
        """Whether cuts are of the layer that a tensor belongs to, or of the tensor itself."""
        return name in self._alone or self._owner(name)[0] in self._axes

    def _owner(self, name: str) -> tuple[str, str]:
        """The innermost layer around a tensor that was cut, and the tensor's name in it."""
        if name not in self._owners:
            self._owners[name] = self._found_owner(name)
        return self._owners[name]

    def _found_owner(self, name: str) -> tuple[str, str]:
        given, _, own_name = name.rpartition(".")
        if owner_of(name) == given and ".parametrizations." in given:
            return given, own_name  # what a parametrization keeps is no tensor of its layer's
        owner = self._first[given]
        while owner and owner not in self._axes:
            owner, _, part = owner.rpartition(".")
            own_name = f"{part}.{own_name}"
        return owner, own_name

    def _staying(self, cut: Cut, tensor: Tensor) -> Tensor:
        """The positions of an axis that stay, on the tensor's device."""
        key = cut.layer, cut.axis, cut.dim, tensor.device
        if key not in self._kept:
            self._kept[key] = indices(cut.kept, tensor)
        return self._kept[key]
