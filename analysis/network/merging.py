"""Batch norms merged into the layers before them, as exporters and compilers leave networks."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from analysis.network.float64 import in_float64, widened
from analysis.network.inference import (
    Inputs,
    copy_of,
    map_tensors,
    named_tensors,
    outputs_of,
    relative_error,
    run_hooked,
)

__all__ = ["merged", "norms_lacking"]

_MOST = 1e-9
"""Relative error in float64 that a network may have from the one with its norms merged."""


def norms_lacking(model: nn.Module, names: Iterable[str]) -> tuple[str, ...]:
    """Batch norms of a network of which none of these names is a tensor."""
    owners = {name.rpartition(".")[0] for name in names}
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_var is not None and name not in owners
    )


def merged(
    model: nn.Module, inputs: Inputs, norms: Iterable[str]
) -> tuple[nn.Module, dict[str, str]] | None:
    """A copy with batch norms merged into the layers before them, which computes the same.

    Args:
        model: in eval mode.
        inputs: example inputs.
        norms: names of the batch norms.

    Returns:
        the copy, and by norm the layer that it is merged into; None where one follows no layer
        directly, or the copy computes something else.
    """
    before = _layers_before(model, inputs)
    if any(norm not in before for norm in norms):
        return None
    layers = {norm: before[norm] for norm in norms}
    copied = copy_of(model).double()
    try:
        expected = _computed(copied, inputs)
        for norm, layer in layers.items():
            _merge(copied, norm, layer)
        errors = map(relative_error, expected, _computed(copied, inputs))
    except Exception:  # its code reads a norm's tensors itself
        return None
    if max(errors) > _MOST:
        return None
    _round(copied, model)
    return copied, layers


def _computed(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    with in_float64(model):
        return outputs_of(model, map_tensors(inputs, widened))


def _merge(model: nn.Module, norm: str, layer: str) -> None:
    one: Any = model.get_submodule(layer)
    other: Any = model.get_submodule(norm)
    if isinstance(one, nn.Linear):
        both = fuse_linear_bn_eval(one, other)
    else:
        both = fuse_conv_bn_eval(one, other, transpose=one.transposed)
    one.weight, one.bias = both.weight, both.bias
    owner, _, name = norm.rpartition(".")
    setattr(model.get_submodule(owner), name, nn.Identity())


def _round(copied: nn.Module, model: nn.Module) -> None:
    """Give tensors the types that they have in another network; new ones that of their layer."""
    types = {name: tensor.dtype for name, tensor in named_tensors(model).items()}
    for name, tensor in named_tensors(copied).items():
        layer = name.rpartition(".")[0]
        tensor.data = tensor.data.to(types.get(name, types.get(f"{layer}.weight")))


def _layers_before(model: nn.Module, inputs: Inputs) -> dict[str, str]:
    """By batch norm the layer whose output it is given; of those that are called once."""
    modules = dict(model.named_modules())
    made: dict[int, str] = {}
    kept, calls, before = [], [], {}

    def look(name: str, given: object, returned: object) -> None:
        calls.append(name)
        kept.append(returned)  # so that no other tensor gets its id
        if isinstance(modules[name], nn.modules.conv._ConvNd | nn.Linear):
            made[id(returned)] = name
        elif isinstance(modules[name], _BatchNorm) and isinstance(given, tuple) and given:
            before[name] = made.get(id(given[0]), "")

    run_hooked(model, inputs, look)
    return {
        norm: layer
        for norm, layer in before.items()
        if layer and calls.count(norm) == calls.count(layer) == 1
    }
