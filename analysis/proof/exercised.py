"""What of a network the example inputs do not exercise, and what is not a tensor."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from analysis.network.inference import (
    Failure,
    Inputs,
    aliased,
    locate_failure,
    outputs_of,
    random_state_kept,
    relative_error,
)

__all__ = ["changed_attributes", "fails_in_training", "forgetful", "unexercised"]


def fails_in_training(dense: nn.Module, pruned: nn.Module, inputs: Inputs) -> Failure | None:
    """Where the pruned network raises in train mode though the dense one runs."""
    with random_state_kept():
        after = locate_failure(aliased(pruned, requires_grad=False).train(), inputs)
        if after is None:
            return None
        before = locate_failure(aliased(dense, requires_grad=False).train(), inputs)
    return after if before is None else None


def unexercised(model: nn.Module, used: Collection[str]) -> list[str]:
    """Modules that own parameters of which none is used.

    Args:
        model: a network.
        used: names of the tensors that are used in eval mode.
    """
    found = []
    for name, module in model.named_modules():
        parameters = module.named_parameters(recurse=False)
        own = [f"{name}.{each}" if name else each for each, _ in parameters]
        if own and not any(each in used for each in own):
            found.append(name)
    return found


_PLAIN = (bool, int, float, str, type(None))


def changed_attributes(dense: nn.Module, pruned: nn.Module) -> Iterator[str]:
    """What differs between modules beside their tensors, in words.

    A number may follow a width of the network, or be a part of one of a tensor inside its module.
    """
    others = dict(pruned.named_modules())
    everywhere = _widths(dense, pruned)
    for name, module in dense.named_modules():
        other = others.get(name)
        if other is None:
            continue  # its tensors are told of
        where = f"of `{name}`" if name else "of the model"
        if type(other) is not type(module):
            yield f"`{name}` is a {type(other).__name__} and was a {type(module).__name__}"
            continue
        widths = _widths(module, other)
        for key, value in vars(module).items():
            if key.startswith("_") or key == "training" or key not in vars(other):
                continue
            found = vars(other)[key]
            plain = _is_plain(value) and _is_plain(found)
            if plain and not _follows(value, found, widths, everywhere):
                yield f"`{key}` {where} is {found!r} and was {value!r}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _widths(module: nn.Module, other: nn.Module) -> "Widths":
    """Sizes that a cut changed, of the tensors of a module."""
    before, after = (
        {**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (module, other)
    )
    return {
        (one, two)
        for name, tensor in before.items()
        if name in after
        for one, two in zip(tensor.shape, after[name].shape, strict=False)
        if one != two
    }


Widths = set[tuple[int, int]]


def _follows(value: Any, found: Any, widths: Widths, everywhere: Widths) -> bool:
    if value == found or (value != value and found != found):
        return True
    if isinstance(value, tuple | list):
        return (
            isinstance(found, tuple | list)
            and len(value) == len(found)
            and all(
                _follows(one, two, widths, everywhere)
                for one, two in zip(value, found, strict=True)
            )
        )
    if type(value) is not int or type(found) is not int:
        return False
    parts = any(value * after == found * before for before, after in widths)
    return parts or (value, found) in everywhere


def forgetful(model: nn.Module, inputs: Inputs) -> nn.Module:
    """The model, without what an earlier forward has kept on it where it makes that anew.

    A table that is kept in single precision, or for another width, would make two networks differ
    that are one.

    Args:
        model: a copy that is nobody else's; changed.
        inputs: example inputs.
    """
    kept: Mapping[tuple[nn.Module, str], Tensor] = {
        (module, key): value
        for module in model.modules()
        for key, value in vars(module).items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    if not kept:
        return model
    trial = aliased(model, requires_grad=False)
    names = {id(module): name for name, module in model.named_modules()}
    for module, key in kept:
        setattr(trial.get_submodule(names[id(module)]), key, None)
    try:
        before, after = outputs_of(model, inputs), outputs_of(trial, inputs)
    except Exception:
        return model
    same = len(before) == len(after) and all(
        one.shape == two.shape and relative_error(one, two) < _ROUNDED
        for one, two in zip(before, after, strict=True)
    )
    if same:
        for module, key in kept:
            setattr(module, key, None)
    return model


_ROUNDED = 1e-4
"""Relative error of outputs that a table in single precision explains."""
