"""Select outputs of a model: hidden states beside the logits can be left out.

The selection is stored on the model, so that its copies have it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from analysis.errors import InputError, an

__all__ = ["count_outputs", "counted", "counted_outputs", "only_outputs"]

_COUNTED = "_outputs_that_count"


def counted_outputs(model: nn.Module) -> tuple[str, ...]:
    """The paths of the selected outputs; empty is all."""
    paths: tuple[str, ...] = vars(model).get(_COUNTED, ())
    return paths


def count_outputs(model: nn.Module, outputs: Sequence[str]) -> None:
    """Select outputs of a model.

    Args:
        model: its forward is not changed.
        outputs: paths of keys, indices and attributes, such as ``logits``, ``0`` or ``out.boxes``;
            empty is all.

    Raises:
        InputError: a single path is given instead of a list.
    """
    if isinstance(outputs, str):
        raise InputError(f"outputs {outputs!r}; expected a list of paths, such as [{outputs!r}]")
    vars(model).pop(_COUNTED, None)
    if isinstance(outputs, str):
        raise InputError(f"outputs {outputs!r}; expected a list of paths, such as [{outputs!r}]")
    if outputs:
        vars(model)[_COUNTED] = tuple(outputs)


@contextmanager
def only_outputs(model: nn.Module, outputs: Sequence[str]) -> Iterator[None]:
    """Select outputs inside the block, if any are given, and restore the selection after it.

    Raises:
        InputError: as `count_outputs`.
    """
    before = counted_outputs(model)
    count_outputs(model, outputs or before)
    try:
        yield
    finally:
        count_outputs(model, before)


def counted(model: nn.Module, output: Any) -> Any:
    """The selected parts of an output.

    Raises:
        InputError: there is nothing at a path; lists what there is.
    """
    paths = counted_outputs(model)
    return [_at(output, path) for path in paths] if paths else output


def _at(output: Any, path: str) -> Any:
    found = output
    for part in path.split("."):
        entries = _entries(found)
        if entries.get(part) is None:
            there = ", ".join(f"`{name}`" for name, value in entries.items() if value is not None)
            is_whole = f"that is {an(type(found).__name__)}; leave out {part!r}"
            raise InputError(
                f"outputs: the model has no output at {path!r}; "
                + (f"expected, in place of {part!r}, {there}" if there else is_whole)
            )
        found = entries[part]
    return found


def _entries(value: Any) -> dict[str, Any]:
    """The parts of an output, by their names in paths."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Tensor | str):
        return {}
    if isinstance(value, Sequence):
        named = dict(zip(getattr(value, "_fields", ()), value, strict=False))
        return {str(place): item for place, item in enumerate(value)} | named
    return dict(getattr(value, "__dict__", {}))
