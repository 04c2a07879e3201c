"""The user's own functions of a network: one that measures what it is worth, one that trains it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from numbers import Real
from pathlib import PurePath
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError, InputError, an
from analysis.network.inference import one_line

__all__ = ["METRIC", "check_finite", "measured", "trained"]

METRIC = "metric"
"""The name of a metric whose function returns one number alone."""


def measured(function: Callable[[nn.Module], Any], model: nn.Module) -> dict[str, float]:
    """What a function of the user's own returns of a network, which is put into eval mode.

    Args:
        function: of the model; returns a number, or a dict of numbers by name.
        model: the network.

    Raises:
        InputError: the function raised, or returned something else.
    """
    model.eval()
    with _told("evaluate", function), torch.no_grad():
        found = function(model)
    named = found if isinstance(found, Mapping) else {METRIC: found}
    if not named:
        raise InputError(f"evaluate returned {found!r}; {_EXPECTED}")
    return {_name(name): _number(name, value) for name, value in named.items()}


_EXPECTED = "expected a number, or a dict of numbers by name"


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise InputError(f"evaluate returned a metric named {name!r}; {_EXPECTED}")
    return name


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number:
        kind = type(value).__name__
        told = "" if name == METRIC else f" as {name!r}"
        raise InputError(f"evaluate returned {an(kind)}{told}; {_EXPECTED}")
    return float(value)


def check_finite(found: Mapping[str, float]) -> None:
    """Refuse metrics of a dense network that nothing can be compared with.

    Raises:
        InputError: one of them is no finite number.
    """
    for name, value in found.items():
        if not isfinite(value):
            raise InputError(
                f"evaluate returned {value} as {name!r} of the dense network; expected a finite "
                "number"
            )


def trained(function: Callable[[nn.Module], Any], model: nn.Module, what: str) -> None:
    """Have a function of the user's own train a network in place, and see that it does.

    Args:
        function: of the model.
        model: the network.
        what: what the function is, in words.

    Raises:
        InputError: it raised; it returned another network, or left tensors of other shapes, or
            values that are no finite numbers; or its optimizer changes another network: gradients
            reached the parameters of this one, and none of them moved.
    """
    shapes, endless = _shapes(model), {*_not_finite(model)}
    before = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
    with _gradients_heard(model) as reached, _told(what, function):
        returned = function(model)
    _check_same_network(model, shapes, returned, what)
    for name in _not_finite(model):
        if name not in endless:
            raise InputError(
                f"{what} left values in {name!r} that are no finite numbers: it diverged; expected "
                "training that converges, as with a smaller learning rate"
            )
    if reached and all(torch.equal(was, now.detach()) for now, was in before):
        raise InputError(
            f"{what} changed no weight, though gradients reached {len(reached)} of "
            f"{len(before)} parameters: its optimizer holds the parameters of another network, as "
            "those from before pruning; make it of model.parameters() inside the function"
        )


def _not_finite(model: nn.Module) -> Iterator[str]:
    """Tensors with NaN or infinity, as a mask may have."""
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            yield name


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor)
    }


def _check_same_network(
    model: nn.Module, shapes: dict[str, tuple[int, ...]], returned: Any, what: str
) -> None:
    """Refuse training that leaves a network which a pruning says nothing of, or makes another.

    A wrapper of the network that is returned, as by `torch.compile`, holds it.
    """
    if isinstance(returned, nn.Module) and all(each is not model for each in returned.modules()):
        raise InputError(
            f"{what} returned another network, which is not used; expected a function that trains "
            "the model in place"
        )
    after = _shapes(model)
    changed = [name for name in shapes | after if shapes.get(name) != after.get(name)]
    if changed:
        name = changed[0]
        raise InputError(
            f"{what} left {name!r} as {after.get(name, 'no tensor')}, and it was "
            f"{shapes.get(name, 'no tensor')}; expected a function that trains the values alone"
        )


@contextlib.contextmanager
def _gradients_heard(model: nn.Module) -> Iterator[set[int]]:
    """The parameters whose gradient is written meanwhile and is not zero, by identity."""
    reached: set[int] = set()

    def note(parameter: Tensor) -> None:
        if id(parameter) not in reached and parameter.grad is not None and parameter.grad.any():
            reached.add(id(parameter))

    handles = [
        parameter.register_post_accumulate_grad_hook(note)
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
    try:
        yield reached
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _told(what: str, function: Callable[..., Any]) -> Iterator[None]:
    """Say of an error that a function of the user's own raises what it is, and where."""
    try:
        yield
    except AnalysisError:
        raise
    except Exception as error:
        raise InputError(
            f"{what} raised {type(error).__name__}: {one_line(error)}{_place(function, error)}; "
            "expected a function of the model"
        ) from error


def _place(function: Callable[..., Any], error: BaseException) -> str:
    """The last line of the user's own file that was running; empty where none was."""
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    lines = [frame for frame in extract_tb(error.__traceback__) if frame.filename == file]
    if not lines:
        return ""
    last = lines[-1]
    return f" ({PurePath(last.filename).name}:{last.lineno}: {last.line})"
