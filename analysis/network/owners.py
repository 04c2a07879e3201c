"""The layer that a tensor belongs to, and the layer that an operator is charged to."""

from collections.abc import Mapping, Sequence

from torch import nn

__all__ = ["charged", "layer_of", "owner_of"]


def owner_of(tensor: str) -> str:
    """The module that a tensor belongs to; a parametrized layer's own is in one below it.

    Tensors of the parametrization itself, such as vectors of spectral norm, are not the layer's.
    """
    owner = tensor.rpartition(".")[0]
    layer, _, below = owner.partition(".parametrizations.")
    return owner if "." in below else layer


def layer_of(tensor: str) -> str:
    """The layer that a tensor belongs to; its own name where the model itself owns it."""
    return owner_of(tensor) or tensor


def charged(modules: Mapping[str, nn.Module], caller: str, weights: Sequence[str]) -> str:
    """The module that an operator is charged to: the caller, or else whose weight it takes.

    Args:
        modules: of the network, by name.
        caller: the module whose forward calls it.
        weights: names of the network's tensors among its operands, or of which they are views. A
            tensor computed from several belongs to none.
    """
    held = [_tensor(modules, name) for name in weights]
    own = modules[caller]._parameters.values() if caller in modules else ()
    is_own = any(mine is tensor for mine in own for tensor in held if tensor is not None)
    return caller if is_own or not weights else owner_of(weights[0])


def _tensor(modules: Mapping[str, nn.Module], name: str) -> object:
    owner, _, part = name.rpartition(".")
    return getattr(modules.get(owner), part, None)
