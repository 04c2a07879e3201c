"""Batch-norm statistics and other equal values made distinct, as they would hide faults.

A fresh batch norm has mean 0, variance 1, gamma 1 and beta 0 for all channels, so a rolled
statistic or a swapped channel changes nothing that could be measured. Draws must also keep the
signal alive: statistics that ignore the activations' scale let a deep network forget its input
(to 1e-10 in a fresh MobileNetV2), and a proof on it would see little of the early layers.

What is put back is one constant a tensor, so no index is needed to restore a pruned network.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from analysis.network.inference import (
    Inputs,
    aliased,
    collector_paused,
    forward,
    map_tensors,
    walk,
)
from analysis.network.layers import kind_of
from analysis.network.modules import named_modules
from analysis.processes import budgets

__all__ = ["copy_values", "distinct_alias", "distinct_values", "make_distinct"]


def make_distinct(model: nn.Module, example_inputs: Inputs, seed: int = 0) -> dict[str, float]:
    """Replace every constant parameter and buffer by random draws, in place.

    Zeros (shifts, biases) become draws from [0.1, 1.1], so that a channel centred by its batch
    norm passes a rectifier somewhere; other constants (scales) become draws from [0.5, 1.5].
    Constant batch-norm statistics are drawn around what a standard normal input gives the layer:
    means within a tenth of the root mean square of the channel's mean, variances within half
    of the layer's mean square.

    Args:
        model: in eval mode.
        example_inputs: gives the shapes of the random input that measures the scale.
        seed: of the draws.

    Returns:
        The constant each changed tensor held, by its name.
    """
    constants = _constants(model)
    _draw_all(model, constants, example_inputs, seed)
    return constants


def _constants(model: nn.Module) -> dict[str, float]:
    """What each constant tensor holds, by its name."""
    named = ((name, _constant(tensor)) for name, tensor in _named_tensors(model))
    return {name: value for name, value in named if value is not None}


@torch.no_grad()
@collector_paused()
def _draw_all(
    model: nn.Module, constants: Mapping[str, float], example_inputs: Inputs, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in _named_tensors(model):
        if name in constants:
            _draw(tensor, 0.1 if constants[name] == 0 else 0.5, generator)
    norms = {
        name: module
        for name, module in named_modules(model).items()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and {f"{name}.running_mean", f"{name}.running_var"} <= constants.keys()
    }
    if norms:
        copied = aliased(model, requires_grad=False)  # forward may write to what it holds
        drawn = {name: copied.get_submodule(name) for name in norms}
        _match_scales(copied, drawn.values(), example_inputs, generator)
        for name, norm in norms.items():
            _copy_buffers(drawn[name], norm)


def _copy_buffers(source: nn.Module, target: nn.Module) -> None:
    for name, buffer in target.named_buffers(recurse=False):
        buffer.copy_(source.get_buffer(name))


def _constant(tensor: Tensor) -> float | None:
    # An expanded tensor holds one value for all its elements and cannot hold distinct ones.
    if not tensor.is_floating_point() or tensor.numel() < 2 or 0 in tensor.stride():
        return None
    flat = tensor.detach().flatten()
    # Two values tell most tensors apart without reading them whole.
    if flat[0] != flat[-1] or not bool((flat == flat[0]).all()):
        return None
    return float(flat[0])


def _draw(tensor: Tensor, low: float, generator: torch.Generator) -> None:
    """Uniform draws from an interval of length 1."""
    tensor.copy_(low + torch.rand(tensor.shape, generator=generator, dtype=torch.float64))


def _match_scales(
    model: nn.Module, norms: Iterable[Any], inputs: Inputs, generator: torch.Generator
) -> None:
    """Scale each batch norm's drawn statistics to what reaches it, in one forward pass."""

    def scale(norm: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        inputs = next(walk((args, kwargs)))
        positions = [axis for axis in range(inputs.dim()) if axis != 1]
        means = inputs.mean(positions)
        mean_square = torch.linalg.vector_norm(inputs).square() / inputs.numel()
        mean_square.clamp_(min=torch.finfo(means.dtype).tiny)
        _draw(norm.running_mean, -0.5, generator)
        _draw(norm.running_var, 0.5, generator)
        norm.running_mean.mul_(0.2 * mean_square.sqrt()).add_(means)
        norm.running_var.mul_(mean_square)

    def normal(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    handles: list[Any] = []
    try:
        with budgets.undisturbed():
            handles += [norm.register_forward_pre_hook(scale, with_kwargs=True) for norm in norms]
        forward(model, map_tensors(inputs, normal))
    finally:
        with budgets.undisturbed():
            for handle in handles:
                handle.remove()


def distinct_alias(model: nn.Module, example_inputs: Inputs) -> nn.Module:
    """A copy whose constant tensors are distinct; it shares the values of all other parameters."""
    copied = aliased(model, requires_grad=True)
    for _, tensor in _named_tensors(copied):
        if _constant(tensor) is not None:
            tensor.data = tensor.data.clone()
    make_distinct(copied, example_inputs)
    return copied


@contextmanager
def distinct_values(model: nn.Module, example_inputs: Inputs, seed: int = 0) -> Iterator[None]:
    """Make constant tensors distinct inside the block; afterwards they are constant again.

    The model may be pruned inside the block.
    """
    constants = _constants(model)
    try:
        _draw_all(model, constants, example_inputs, seed)
        yield
    finally:
        with budgets.undisturbed(), torch.no_grad():
            for name, tensor in _named_tensors(model):
                if name in constants:
                    tensor.fill_(constants[name])


@torch.no_grad()
def copy_values(source: nn.Module, target: nn.Module) -> None:
    """Give ``target``, a copy of ``source``, the values that ``source`` has now."""
    for (_, value), (_, tensor) in zip(_named_tensors(source), _named_tensors(target), strict=True):
        tensor.copy_(value)


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and the buffers of layers: what else a buffer holds may be no value of a channel.

    A shared one has an entry for each of its names, as torch-pruning gives each its own when it
    cuts.
    """
    modules = named_modules(model, remove_duplicate=False)
    for name, module in modules.items():
        for own_name, parameter in module._parameters.items():
            if parameter is not None:
                yield f"{name}.{own_name}" if name else own_name, parameter
    for name, layer in modules.items():
        if layer._buffers and kind_of(layer) is not None:
            for own_name, buffer in layer.named_buffers(recurse=False):
                yield f"{name}.{own_name}", buffer
