"""Policies: named rules that say which layers must keep their output channels.

A policy reads the model and its dependency groups and yields layer names. torch-pruning takes
the modules of these as ``ignored_layers``; it still cuts their *input* channels.
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from analysis.errors import InputError, did_you_mean
from analysis.network.inference import names_of, one_line
from analysis.network.loading import load_callable
from analysis.records import Group

__all__ = ["POLICIES", "Policy", "entries", "ignored_layers", "resolve", "unknown"]

Policy = Callable[[nn.Module, tuple[Group, ...]], tuple[str, ...]]

_PRUNABLE = (nn.modules.conv._ConvNd, nn.Linear)


def _none(model: nn.Module, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Ignore nothing: the model's output channels may go too."""
    return ()


def _classifier(model: nn.Module, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Ignore only the layers that produce the model's output."""
    return tuple(layer for group in groups if group.is_output for layer in group.layers)


def _skip_channels(model: nn.Module, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Ignore the groups that an addition joins, and the output layers."""
    joined = [layer for group in groups if group.additions for layer in group.layers]
    return (*joined, *_classifier(model, groups))


def _residual_blocks(model: nn.Module, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Ignore every convolution and linear layer inside a block with a skip, and the output layers.

    A block is the module whose own forward adds two tensors of one group.
    """
    modules = dict(model.named_modules())
    blocks = dict.fromkeys(block for group in groups for block in group.additions)
    inside = [
        f"{block}.{name}" if block else name
        for block in blocks
        for name, module in modules[block].named_modules()
        if isinstance(module, _PRUNABLE)
    ]
    return (*inside, *_classifier(model, groups))


POLICIES: dict[str, Policy] = {
    "residual-blocks": _residual_blocks,
    "skip-channels": _skip_channels,
    "classifier": _classifier,
    "none": _none,
}


def resolve(reference: str) -> str | Callable[[nn.Module], Iterable[Any]]:
    """The policy that a name, ``package.module:function`` or ``file.py:function`` stands for.

    Raises:
        InputError: nothing by that name.
    """
    if reference in POLICIES:
        return reference
    if ":" not in reference:
        raise unknown(reference)
    function: Callable[[nn.Module], Iterable[Any]] = load_callable(reference, "--ignore")
    return function


def ignored_layers(
    policy: str | Callable[[nn.Module], Iterable[Any]],
    model: nn.Module,
    groups: tuple[Group, ...],
) -> tuple[str, ...]:
    """Names of the layers that ``policy`` holds, in model order.

    Args:
        policy: a name of `POLICIES`, or a function of the model that returns modules or names.
        model: the dense model.
        groups: its dependency groups with nothing ignored.

    Raises:
        InputError: unknown policy, or a layer that is not part of the model.
    """
    given = entries(policy, model, groups)
    # Our own policies may name parameters that no layer owns, which torch-pruning cannot ignore.
    chosen = set(given if isinstance(policy, str) else names_of(given, model))
    return tuple(name for name, _ in model.named_modules() if name in chosen)


def entries(
    policy: str | Callable[[nn.Module], Iterable[Any]],
    model: nn.Module,
    groups: tuple[Group, ...],
) -> list[Any]:
    """What ``policy`` yields, as it yields it; arguments as `ignored_layers`.

    Raises:
        InputError: unknown policy, or its function raised.
    """
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise unknown(policy)
        return list(POLICIES[policy](model, groups))
    try:
        answer = policy(model)
    except Exception as error:
        raise InputError(
            f"the policy function raised {type(error).__name__}: {one_line(error)}; expected "
            "the modules or names to ignore"
        ) from error
    if isinstance(answer, str | nn.Module) or not isinstance(answer, Iterable):
        raise InputError(
            f"the policy function returned a {type(answer).__name__}; expected a list of the "
            "modules or names to ignore"
        )
    return list(answer)


def unknown(policy: str) -> InputError:
    """The error for a name that is no policy."""
    hint = did_you_mean(policy, POLICIES, "")
    names = ", ".join(POLICIES)
    return InputError(
        f"unknown policy {policy!r}; {hint}{' ' if hint else ''}expected one of {names}, or "
        "package.module:function"
    )
