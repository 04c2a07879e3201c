"""The oracle: the dense network with the removed channels silenced where they are read.

It is built from the cuts alone and knows nothing of the pruner. Silencing a channel where it is
*made* would leave what batch norm and activations turn a zero into alive, and accuse sound
prunings; so the channel is set to zero at the input of each layer that mixes channels.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import UnsupportedLayerError
from analysis.records import Cut

__all__ = ["masked"]

_Silencer = Callable[[nn.Module, Tensor, Tensor], Tensor]


def _silence_convolution(module: nn.Module, inputs: Tensor, removed: Tensor) -> Tensor:
    """Inputs (N, C, *spatial) or (C, *spatial): the channel axis precedes the spatial ones."""
    spatial = len(module.kernel_size)  # type: ignore[arg-type]
    return inputs.index_fill(-1 - spatial, removed, 0.0)


def _silence_linear(module: nn.Module, inputs: Tensor, removed: Tensor) -> Tensor:
    """Inputs (..., C)."""
    return inputs.index_fill(-1, removed, 0.0)


_SILENCERS: dict[type[nn.Module], _Silencer] = {
    nn.Conv1d: _silence_convolution,
    nn.Conv2d: _silence_convolution,
    nn.Conv3d: _silence_convolution,
    nn.Linear: _silence_linear,
}
"""Layers that mix channels, with how their input is silenced: a new kind is a row here."""

_PER_CHANNEL: tuple[type[nn.Module], ...] = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.PReLU,
)
"""Layers that treat each channel alone: what they make of a removed one is silenced downstream."""


@contextmanager
def masked(model: nn.Module, cuts: Iterable[Cut]) -> Iterator[None]:
    """Silence the removed channels of ``model`` inside the block, by hooks on the readers.

    Args:
        model: the dense network; it is as before after the block.
        cuts: every axis that was cut, with indices of the dense network.

    Raises:
        UnsupportedLayerError: a layer was cut that has no rule here.
    """
    modules = dict(model.named_modules())
    handles = []
    try:
        for cut in cuts:
            module = modules.get(cut.layer)
            silence = _silencer(module)
            if not _is_known(module, silence, cut.axis):
                raise UnsupportedLayerError(_unsupported(module, cut))
            if cut.axis == "in" and module is not None and silence is not None:
                hook = _hook(silence, torch.tensor(cut.removed, dtype=torch.long))
                handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _silencer(module: nn.Module | None) -> _Silencer | None:
    return next((rule for kind, rule in _SILENCERS.items() if isinstance(module, kind)), None)


def _is_known(module: nn.Module | None, silence: _Silencer | None, axis: str) -> bool:
    return silence is not None or (axis == "out" and isinstance(module, _PER_CHANNEL))


def _unsupported(module: nn.Module | None, cut: Cut) -> str:
    kind = "parameter outside any layer" if module is None else type(module).__name__
    known = ", ".join(kind.__name__ for kind in (*_SILENCERS, *_PER_CHANNEL))
    return (
        f"cannot prove this pruning: it cut `{cut.layer}`, a {kind}, which the masked dense "
        f"network has no rule for; it knows {known}"
    )


def _hook(silence: _Silencer, removed: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs = args[0] if args else kwargs["input"]
        silent = silence(module, inputs, removed.to(inputs.device))
        return (silent, *args[1:]), {k: v for k, v in kwargs.items() if k != "input"}

    return hook
