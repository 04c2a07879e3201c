"""The findings of a comparison beyond its verdict."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from analysis.comparing.evidence import Array, values_of
from analysis.comparing.recovering import Axis, Recovered, is_turned
from analysis.network.inference import named_tensors
from analysis.records import Comparison, Inferred, Untied, Verdict, Verification

__all__ = [
    "ambiguous_of",
    "as_merged",
    "inferred_of",
    "moved_of",
    "said_of",
    "turned_norms",
    "untied_of",
]


def inferred_of(found: Recovered) -> Iterator[Inferred]:
    """Axes that lost positions and were identified by the nearest slices."""
    for (name, dim), margin in found.margins.items():
        yield Inferred(name, dim, margin)


def moved_of(
    found: Recovered, dense: Mapping[str, Tensor], pruned: Mapping[str, Tensor]
) -> Iterator[tuple[str, float]]:
    """How far each trained tensor moved, relative to what it was."""
    for name in found.trained:
        if dense[name].is_floating_point() or dense[name].is_complex():
            after = values_of(pruned[name]).astype(np.float64)
            before = found.left_of(name, values_of(dense[name])).astype(np.float64)
            lengths = [float(np.linalg.norm(each)) for each in (before, after, after - before)]
            yield name, lengths[2] / (lengths[0] or lengths[1] or 1.0)


def ambiguous_of(found: Recovered) -> Iterator[str]:
    """The axes that more than one choice of channels explains."""
    for name, dim in found.unknown:
        yield f"the kept positions of `{name}` along dimension {dim} are not known"
    for name, dim in found.alike:
        yield (
            f"of `{name}` along dimension {dim} several positions of the dense network are alike, "
            "or dead"
        )


def untied_of(dense: Mapping[str, Tensor], pruned: Mapping[str, Tensor]) -> Iterator[Untied]:
    """Tensors that are no longer tied, and the parameters that adds."""
    together: dict[int, list[str]] = {}
    for name, tensor in dense.items():
        together.setdefault(id(tensor), []).append(name)
    for names in together.values():
        apart = {id(pruned[name]): pruned[name] for name in names}
        if len(apart) > 1:
            yield Untied(tuple(names), sum(each.numel() for each in [*apart.values()][1:]))


def said_of(found: Recovered, dense: nn.Module, pruned: nn.Module, answer: Verification) -> str:
    """Why the verdict covers only the structure."""
    moved = dict(moved_of(found, named_tensors(dense), named_tensors(pruned)))
    said = "weights were trained or merged since"
    if moved:
        furthest = max(moved, key=lambda name: moved[name])
        said += f": `{furthest}` moved furthest, by {moved[furthest]:.2g} of what it was"
    if found.margins:
        least = min(found.margins.values())
        said += (
            f"; which channels stayed is inferred, the next best are {least:.3g} times as far or "
            "further"
        )
    return "; ".join(filter(None, [said, answer.reason]))


def as_merged(found: Comparison, norms: Mapping[str, str]) -> Comparison:
    """A comparison with a dense network whose norms were merged, which rounds its weights."""
    norm, layer = next(iter(norms.items()))
    more = f" and {len(norms) - 1} more" if len(norms) > 1 else ""
    answer = found.verification
    reason = f"batch norms were merged: `{norm}` into `{layer}`{more}"
    answer = replace(answer, reason="; ".join(filter(None, [answer.reason, reason])))
    if answer.verdict.passes:
        answer = replace(answer, verdict=Verdict.CONSISTENT, max_rel_error=None)
    return replace(found, verification=answer, merged=tuple(norms.items()))


def turned_norms(
    found: Recovered,
    norms: Mapping[str, str],
    raw: Mapping[str, Tensor],
    dense: Mapping[str, Tensor],
    pruned: Mapping[str, Tensor],
) -> Iterator[Axis]:
    """Layers into which a norm was merged whose channels were in another order.

    Each output is then that of the layer, by the factor of another one.

    Args:
        found: what is left of each tensor.
        norms: by norm the layer that it is merged into.
        raw: the dense network's tensors before norms were merged.
        dense: those after.
        pruned: the pruned network's.
    """
    for layer in norms.values():
        name = f"{layer}.weight"
        before, merged = (found.left_of(name, values_of(each[name])) for each in (raw, dense))
        after = values_of(pruned[name])
        for dim in range(2):
            if before.shape[dim] > 1:
                lengths = [_lengths(each, dim) for each in (before, merged, after)]
                if lengths[0].all() and is_turned(*(each / lengths[0] for each in lengths[1:])):
                    yield name, dim


def _lengths(tensor: Array, dim: int) -> Array:
    rows = np.moveaxis(tensor, dim, 0).reshape(tensor.shape[dim], -1).astype(np.float64)
    return np.asarray(np.sqrt((rows**2).sum(1)))
