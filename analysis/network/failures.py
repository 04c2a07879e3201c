"""Where a forward pass raises."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from analysis.errors import AnalysisError, InputError
from analysis.network.computed_weights import way_out
from analysis.network.inference import (
    FunctionMode,
    Inputs,
    forward,
    module_scope,
    one_line,
    outputs_of,
    walk,
)
from analysis.network.lines import raised_at

__all__ = ["Failure", "check_runs", "locate_failure"]


@dataclass(frozen=True)
class Failure:
    """Where a forward pass raised: module, operation, operand shapes, message, the user's line.

    ``function`` is empty where the model's own Python raised; ``way_out`` where none is known.
    """

    module: str
    function: str
    shapes: tuple[tuple[int, ...], ...]
    error: str
    line: str = ""
    way_out: str = ""

    def __str__(self) -> str:
        where = f"`{self.module}`" if self.module else "the model's own forward"
        shapes = " and ".join(str(shape) for shape in self.shapes)
        what = f" in {self.function}" if self.function else ""
        on = f" on {shapes}" if shapes else ""
        at = f" ({self.line})" if self.line else ""
        way_out = f"; {self.way_out}" if self.way_out else ""
        return f"{where} raised{what}{on}: {self.error}{at}{way_out}"


class _ShapesOnFailure(FunctionMode):
    """Remember the operation that raised, and the shapes of its tensor operands."""

    def __init__(self) -> None:
        super().__init__()
        self.function = ""
        self.shapes: tuple[tuple[int, ...], ...] = ()
        self.raised: Exception | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            self.raised = error
            self.function = getattr(func, "__name__", str(func)).strip("_")
            self.shapes = tuple(tuple(tensor.shape) for tensor in walk(args))
            raise


def locate_failure(model: nn.Module, inputs: Inputs) -> Failure | None:
    """Run the model without gradients; None if it runs, else where and on what it raised."""
    probe = _ShapesOnFailure()
    with module_scope(model) as stack, torch.no_grad():
        try:
            with probe:
                forward(model, inputs)
        except Exception as error:
            module, line = stack[-1] if stack else "", raised_at(error)
            hint = way_out(model, module)
            if error is probe.raised:
                return Failure(module, probe.function, probe.shapes, one_line(error), line, hint)
            return Failure(module, "", (), _named(error), line, hint)
    return None


def check_runs(model: nn.Module, inputs: Inputs) -> None:
    """Refuse a model that does not run on its example inputs, or whose output holds no tensor.

    Raises:
        InputError: says where it raises.
    """
    try:
        outputs_of(model, inputs)
    except AnalysisError:
        raise
    except Exception as error:
        why = locate_failure(model, inputs) or one_line(error)
        raise InputError(f"the model does not run on the example inputs: {why}") from error


def _named(error: Exception) -> str:
    """The message of an error that Python code raised, with its kind."""
    kind, message = type(error).__name__, one_line(error)
    return kind if message == kind else f"{kind}: {message}"
