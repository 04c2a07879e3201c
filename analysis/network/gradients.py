"""The outputs of a model from which DepGraph can trace backward."""

from typing import Any

from torch import Tensor

from analysis.errors import an
from analysis.network.inference import tensors_of

__all__ = ["NO_GRADIENT", "differentiable_outputs", "untraceable"]

NO_GRADIENT = (
    "no output of the network has a gradient, by which DepGraph traces it: its forward runs under "
    "torch.no_grad(), or detaches what it returns"
)


def differentiable_outputs(output: Any) -> list[Tensor]:
    """The tensors of a model's output from which DepGraph can trace backward, for torch-pruning.

    It unpacks nested outputs itself, except for objects and values that are not tensors, like None.
    """
    return [tensor for tensor in tensors_of(output) if tensor.requires_grad]


def untraceable(output: Any) -> str:
    """The part of an output from which DepGraph cannot trace backward, in words; empty if none.

    It unpacks lists, tuples and dicts, and needs a gradient of every entry.
    """
    if isinstance(output, Tensor):
        return "" if output.requires_grad else "a tensor without a gradient"
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return next(filter(None, map(untraceable, output)), "")
    return "None" if output is None else f"{an(type(output).__name__)}"
