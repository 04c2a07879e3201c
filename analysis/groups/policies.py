"""Which layers must keep their output channels: policies, lists of layers, functions.

A policy reads the model and its dependency groups and yields layer names. torch-pruning takes
the modules of these as ``ignored_layers``; it still cuts their *input* channels.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from analysis.errors import InputError, an
from analysis.network.inference import names_of, one_line
from analysis.network.loading import load_callable
from analysis.records import DependencyGroup, Group, excluded, unknown_policy

__all__ = [
    "POLICIES",
    "Policy",
    "choice_of",
    "entries",
    "ignored_layers",
    "mark_ignored",
    "resolve",
]

Policy = Callable[[nn.Module, tuple[Group, ...]], tuple[str, ...]]

_PRUNABLE = (nn.modules.conv._ConvNd, nn.Linear)


def _none(model: nn.Module, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Ignore nothing: the model's output channels may go too."""
    return ()


def _classifier(model: nn.Module, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Ignore only the layers that produce the model's output.

    Not a module that holds others for a bias of its own, as all of these would stay.
    """
    others = {name for name, module in model.named_modules() if [*module.children()]}
    return tuple(
        layer
        for group in groups
        if group.is_output
        for layer in group.layers
        if layer == group.name or layer not in others
    )


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


def resolve(given: Any) -> Any:
    """A policy's name, a list of layers and names, or a function, from an argument.

    Args:
        given: see `analysis.records.excluded`.

    Raises:
        InputError: it cannot be used, or there is no function by that reference.
    """
    choice = excluded(given)
    if isinstance(choice, str) and choice not in POLICIES:
        return load_callable(choice, "policy")
    return choice


def choice_of(given: Any, model: nn.Module) -> Any:
    """As `resolve`, where names and layers are those of the model.

    Raises:
        InputError: as `resolve`, or a layer is not part of the model.
    """
    choice = resolve(given)
    if isinstance(choice, tuple):
        layers = dict(model.named_modules())
        # A lone word may have been meant for a policy.
        if choice == (given,) and given not in layers:
            raise unknown_policy(given, layers)
        names_of(choice, model)
    return choice


def ignored_layers(given: Any, model: nn.Module, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Names of the layers that keep their output channels, in model order.

    Args:
        given: see `analysis.records.excluded`.
        model: the dense model.
        groups: its dependency groups with nothing ignored.

    Raises:
        InputError: it cannot be used, or names a layer that is not part of the model.
    """
    chosen = set(names_of(entries(choice_of(given, model), model, groups), model))
    return tuple(name for name, _ in model.named_modules() if name in chosen)


def entries(given: Any, model: nn.Module, groups: tuple[Group, ...]) -> list[Any]:
    """The layers as they were given, or as a policy or function yields them.

    Arguments as `ignored_layers`.

    Raises:
        InputError: it cannot be used, or the function raised.
    """
    choice = resolve(given)
    if isinstance(choice, str):
        layers = dict(model.named_modules())
        # Parameters that no layer owns are left out, as torch-pruning cannot ignore them.
        return [each for each in POLICIES[choice](model, groups) if each in layers]
    if isinstance(choice, tuple):
        return list(choice)
    try:
        answer = choice(model)
    except Exception as error:
        raise InputError(
            f"the policy function raised {type(error).__name__}: {one_line(error)}; expected "
            "the modules or names to ignore"
        ) from error
    if isinstance(answer, str | nn.Module) or not isinstance(answer, Iterable):
        raise InputError(
            f"the policy function returned {an(type(answer).__name__)}; expected a list of the "
            "modules or names to ignore"
        )
    return list(answer)


Kind = TypeVar("Kind", Group, DependencyGroup)


def mark_ignored(groups: tuple[Kind, ...], layers: Collection[str]) -> tuple[Kind, ...]:
    """The same groups, those with one of these among their output layers marked ``ignored``."""
    return tuple(
        replace(group, ignored=not set(layers).isdisjoint(group.layers)) for group in groups
    )
