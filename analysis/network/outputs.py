"""Which of a model's outputs count: hidden states beside the logits may be left out.

The choice is kept on the model, so that its copies have it, and whoever runs one sees the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from analysis.errors import InputError

__all__ = ["count_outputs", "counted", "counted_outputs", "only_outputs"]

_COUNTED = "_outputs_that_count"


def counted_outputs(model: nn.Module) -> tuple[str, ...]:
    """The paths of the outputs that count; none where all do."""
    paths: tuple[str, ...] = vars(model).get(_COUNTED, ())
    return paths


def count_outputs(model: nn.Module, outputs: Sequence[str]) -> None:
    """Let these outputs of a model count alone.

    Args:
        model: its forward is not changed.
        outputs: paths of keys, places and attributes, as ``logits``, ``0`` or ``out.boxes``; none
            lets all count.

    Raises:
        InputError: one path is given, and no list of them.
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
    """Inside the block these outputs count alone, if any are given; then it is as it was.

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
    """What counts of an output of the model.

    Raises:
        InputError: there is nothing at a path; says what there is.
    """
    paths = counted_outputs(model)
    return [_at(output, path) for path in paths] if paths else output


def _at(output: Any, path: str) -> Any:
    found = output
    for part in path.split("."):
        entries = _entries(found)
        if entries.get(part) is None:
            there = ", ".join(f"`{name}`" for name, value in entries.items() if value is not None)
            raise InputError(
                f"outputs: the model has no output at {path!r}; expected, in place of {part!r}, "
                f"{there or f'nothing, as that is a {type(found).__name__}'}"
            )
        found = entries[part]
    return found


def _entries(value: Any) -> dict[str, Any]:
    """The parts of an output by the names that a path gives them."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Tensor | str):
        return {}
    if isinstance(value, Sequence):
        named = dict(zip(getattr(value, "_fields", ()), value, strict=False))
        return {str(place): item for place, item in enumerate(value)} | named
    return dict(getattr(value, "__dict__", {}))
