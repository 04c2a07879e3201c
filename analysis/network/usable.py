"""Models that can be analysed as they are; what to pass instead of the others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from analysis.errors import InputError
from analysis.network.inference import Inputs, copy_of, forward, output_tensors, relative_error

__all__ = ["check_copies", "check_usable"]


def check_usable(model: Any) -> None:
    """Refuse what cannot be analysed as it is, and say what to pass instead.

    Raises:
        InputError: not a module, a wrapper around one, or a module without values.
    """
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {kind}; expected a torch.nn.Module")
    inner = next((text for fits, text in _WRAPPERS if fits(model)), None)
    if inner is not None:
        raise InputError(f"the model is a {kind}; expected the module itself: pass {inner}")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise InputError(
                f"`{name}` of the {kind} is lazy and has no shape yet; run the model once on its "
                "inputs first"
            )
        if tensor.is_meta:
            raise InputError(
                f"`{name}` of the {kind} is on the meta device and has no values; expected a model "
                "with weights: build it on cpu, or move it with to_empty() and load them"
            )
    if next(model.parameters(), None) is None:
        raise InputError(f"{kind} has no parameters: there is nothing to prune")


_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)

_WRAPPERS: tuple[tuple[Callable[[nn.Module], bool], str], ...] = (
    (lambda model: isinstance(model, _PARALLEL), "model.module"),
    # Naming the class would import torch's compiler, which takes seconds.
    (lambda model: hasattr(model, "_orig_mod"), "model._orig_mod, which was compiled"),
    (lambda model: isinstance(model, torch.jit.ScriptModule), "the one that was scripted"),
)
"""What stands around a module, and what to pass instead."""


def check_copies(model: nn.Module, inputs: Inputs) -> None:
    """Refuse a model that is another one where it is copied, as for each run."""
    outputs = []
    for network in (model.eval(), copy_of(model)):
        torch.manual_seed(0)
        try:
            with torch.no_grad():
                outputs.append(output_tensors(forward(network, inputs)))
        except Exception:
            return  # whoever runs it next says so
    if any(
        bool(pair[0].isfinite().all()) and relative_error(*pair) > _COPIED
        for pair in zip(*outputs, strict=True)
    ):
        raise InputError(
            f"a copy of the {type(model).__name__} computes something else than the model itself; "
            "expected that copy.deepcopy keeps all it holds: see its __getstate__ and __deepcopy__"
        )


_COPIED = 1e-2
"""Relative error of a copy's outputs that no rounding explains, in half precision either."""
