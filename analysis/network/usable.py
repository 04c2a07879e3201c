"""Refuse models that cannot be analysed as they are, and name what to pass instead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import InputError, an
from analysis.network.inference import (
    Inputs,
    copy_of,
    named_tensors,
    outputs_of,
    relative_error,
)
from analysis.network.modules import check_module, named_modules
from analysis.network.restoring import restored
from analysis.processes import budgets

__all__ = ["check_copied", "check_usable"]


def check_usable(model: Any) -> None:
    """Refuse what cannot be analysed as it is, and say what to pass instead.

    Raises:
        InputError: not a module, a wrapper around one, or a module without values.
    """
    check_module(model)
    kind = type(model).__name__
    inner = next((text for fits, text in _WRAPPERS if fits(model)), None)
    if inner is not None:
        raise InputError(f"the model is {an(kind)}; expected the module itself: pass {inner}")
    for name, tensor in named_tensors(model).items():
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
"""Wrappers of modules, and what to pass instead."""


def check_copied(model: nn.Module, inputs: Inputs) -> None:
    """Refuse a model that is another one where it is copied, as for each run.

    Args:
        model: the model, which runs once; what that writes is put back.
        inputs: example inputs.

    Raises:
        InputError: its first forward pass sets a parameter, or a copy computes something else.
    """
    copied = copy_of(model)
    written, found = _run(copied, inputs)
    first = {name for name, _ in copied.named_parameters()}.intersection(written)
    if first and (first := first.difference(_run(copied, inputs)[0])):
        raise InputError(
            f"the first forward pass sets `{min(first)}` of the {type(model).__name__}, from what "
            "it is given; run the model once on its inputs first"
        )
    if found is None:
        return  # whoever runs it next says so
    try:
        with restored(model), _other_buffers(model):
            outputs = _seeded(model.eval(), inputs)
    except Exception:
        return
    if any(
        bool(pair[0].isfinite().all()) and relative_error(*pair) > _COPIED
        for pair in zip(outputs, found, strict=True)
    ):
        raise InputError(
            f"a copy of the {type(model).__name__} computes something else than the model itself; "
            "expected that copy.deepcopy keeps all it holds: see its __getstate__ and __deepcopy__"
        )


@contextmanager
def _other_buffers(model: nn.Module) -> Iterator[None]:
    """Give a model copies of its buffers to write to; its own are back on the way out."""
    owned = [
        (module._buffers, dict(module._buffers))
        for module in named_modules(model).values()
        if not isinstance(module, torch.jit.ScriptModule)  # it keeps them elsewhere
    ]
    held = [each for _, own in owned for each in own.values() if each is not None]
    copies = {id(each): each.detach().clone() for each in held}
    try:
        for buffers, own in owned:
            buffers.update({key: copies.get(id(each)) for key, each in own.items()})
        yield
    finally:
        with budgets.undisturbed():
            for buffers, own in owned:
                buffers.update(own)


def _run(model: nn.Module, inputs: Inputs) -> tuple[list[str], list[Tensor] | None]:
    """Names of a model's tensors that a forward pass writes to, and what it puts out.

    None of these, and nothing, where it raises.
    """
    before = _versions(model)
    try:
        outputs = _seeded(model, inputs)
    except Exception:
        return [], None
    after = _versions(model)
    written = [name for name, version in before.items() if after.get(name, version) != version]
    return written, outputs


def _versions(model: nn.Module) -> dict[str, int]:
    """How often each tensor of a model was written to; in inference mode nobody counts that."""
    tensors = named_tensors(model).items()
    return {name: tensor._version for name, tensor in tensors if not tensor.is_inference()}


def _seeded(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    torch.manual_seed(0)
    return outputs_of(model, inputs)


_COPIED = 1e-2
"""Relative error of a copy's outputs that no rounding explains, in half precision either."""
