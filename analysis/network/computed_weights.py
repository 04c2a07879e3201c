"""Layers that compute a weight of other tensors in each call, and how it is made a parameter again.

A parametrization does, or a hook as that of ``torch.nn.utils.spectral_norm``.
"""

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

__all__ = ["computed", "way_out"]

_REMOVERS = {"SpectralNorm": "remove_spectral_norm", "WeightNorm": "remove_weight_norm"}


def computed(layer: nn.Module) -> tuple[str, str]:
    """The name of the tensor that a layer computes, and the call that ends that; empty if none."""
    if parametrize.is_parametrized(layer):
        tensor = next(iter(layer.parametrizations))  # type: ignore[arg-type]
        return tensor, f"torch.nn.utils.parametrize.remove_parametrizations(layer, {tensor!r})"
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm | WeightNorm):
            return hook.name, f"torch.nn.utils.{_REMOVERS[type(hook).__name__]}(layer)"
    return "", ""


def way_out(model: nn.Module, module: str) -> str:
    """What to do first where a layer, or that which a module is in, computes its weight.

    Empty where it does not.
    """
    name = module.partition(".parametrizations.")[0]
    layer = dict(model.named_modules()).get(name)
    tensor, call = ("", "") if layer is None else computed(layer)
    if not call:
        return ""
    return (
        f"the `{tensor}` of `{name}` is computed anew in each call, and is another one once "
        f"channels are gone: end that first, {call}"
    )
