"""Where the MACs and parameters are, counted by fvcore. The only module that imports it.

Convention: one multiply-accumulate (MAC) is one fused multiply and add, which fvcore calls a
flop. Convolutions, linear layers and matrix products are counted, batch norm as two MACs an
element (fvcore's rule for a norm with scale and shift), adaptive average pooling as one. What
fvcore has no rule for (residual additions, activations) is listed beside the total.
"""

import io
import warnings
from collections import Counter

import torch
from torch import nn

from analysis.errors import InputError
from analysis.inference import (
    Inputs,
    as_arguments,
    check_usable,
    copy_of,
    forward,
    left_as_found,
    locate_failure,
    one_line,
)
from analysis.records import CostTable, LayerCost

with warnings.catch_warnings():
    # fvcore applies torch.jit.script while it is imported, which torch deprecates.
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis

__all__ = ["count_macs", "saved_bytes"]


def count_macs(model: nn.Module, example_inputs: Inputs) -> CostTable:
    """MACs and parameters of each module of ``model``, without its children's.

    The model is not changed: a copy is traced, in eval mode.

    Args:
        model: the network.
        example_inputs: a tensor, a tuple or a dict; the count is for exactly these.

    Raises:
        InputError: the model does not run on the inputs, or fvcore cannot trace it.
    """
    check_usable(model)
    traced = copy_of(model)
    args, kwargs = as_arguments(example_inputs)
    # fvcore takes positional inputs only.
    subject = _Named(traced, tuple(kwargs)) if kwargs else traced
    prefix = "model." if kwargs else ""
    analysis = FlopCountAnalysis(subject, tuple(kwargs.values()) or args)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    # Without gradients torch may take fused paths whose operators have no rule.
    try:
        with torch.enable_grad(), left_as_found(model):
            counts = analysis.by_module_and_operator()
            uncalled = analysis.uncalled_modules()
    except Exception as error:
        failure = locate_failure(traced, example_inputs)
        why = f"fvcore cannot trace it ({one_line(error)[:300]})"
        raise InputError(
            f"the MACs of {type(model).__name__} cannot be counted: {failure or why}"
        ) from error
    layers = tuple(_own_costs(traced, {name.removeprefix(prefix): c for name, c in counts.items()}))
    return CostTable(
        layers=layers,
        macs=sum(layer.macs for layer in layers),
        params=sum(layer.params for layer in layers),
        uncounted=tuple(sorted(analysis.unsupported_ops().items())),
        uncalled=tuple(
            layer.layer for layer in layers if layer.params and prefix + layer.layer in uncalled
        ),
    )


class _Named(nn.Module):
    """Passes positional tensors on by name."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tensors: torch.Tensor) -> object:
        return forward(self.model, dict(zip(self.names, tensors, strict=True)))


def _own_costs(model: nn.Module, counts: dict[str, Counter[str]]) -> list[LayerCost]:
    """Rows for the modules that own MACs or parameters.

    fvcore counts a module with everything inside it; a module's own share is what its children
    do not have.
    """
    rows = []
    seen: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        own = Counter(counts[name])
        for child, _ in module.named_children():
            own.subtract(counts.get(f"{name}.{child}" if name else child, {}))
        # A parameter that two layers share belongs to the first.
        new = [p for p in module.parameters(recurse=False) if p not in seen]
        seen.update(new)
        params = sum(parameter.numel() for parameter in new)
        operators = tuple(sorted((op, round(macs)) for op, macs in own.items() if macs))
        if operators or params:
            macs = sum(count for _, count in operators)
            rows.append(LayerCost(name, type(module).__name__, macs, params, operators))
    return rows


def saved_bytes(model: nn.Module) -> int:
    """Size of ``torch.save(model.state_dict())``, in bytes."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes
