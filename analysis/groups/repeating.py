"""Attributes that may repeat a size which a forward pass reads, as the number of heads does."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.network.cutting import Repeated
from analysis.network.inference import own_attributes
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Trace

__all__ = ["candidates"]

Path = tuple[str | int, ...]

_MOST = 12
"""Attributes that are tried for one operator."""


def candidates(
    model: nn.Module, trace: Trace, alike: Sequence[int], step: int, removed: NDArray[np.bool_]
) -> Iterator[list[Repeated]]:
    """Attributes that the code of an operator may read a size from, one for each of its calls.

    They are of the module in whose forward the operator is called, and of those around it, the
    nearest first.

    Args:
        model: the dense network.
        trace: its pass.
        alike: the operators that the same code calls.
        step: the one of them that does not follow a cut.
        removed: for each label whether it goes.
    """
    modules = dict(model.named_modules())
    found = 0
    yield from _splits(modules, trace, alike, step, removed)
    for up, owner in enumerate(_around(trace.steps[step].place.module)):
        for path, value in _numbers(modules[owner]):
            for plane, labels in enumerate(trace.steps[step].arriving):
                first = Repeated(owner, path, value, labels)
                if not _may_repeat(first, trace, removed):
                    continue
                others = (_same(trace, modules, other, up, plane, first) for other in alike)
                yield [first, *(each for each in others if each and each.module != owner)]
                found += 1
                if found == _MOST:
                    return


def _splits(
    modules: dict[str, nn.Module],
    trace: Trace,
    alike: Sequence[int],
    step: int,
    removed: NDArray[np.bool_],
) -> Iterator[list[Repeated]]:
    """Attributes that hold the sizes of all parts of what arrives, which follow together."""
    for up, owner in enumerate(_around(trace.steps[step].place.module)):
        for path in dict.fromkeys(path[:-1] for path, _ in _numbers(modules[owner])):
            for plane in range(len(trace.steps[step].arriving)):
                parts = _parts(trace, modules, step, up, plane, path)
                left = [each.left(removed) for each in parts]
                if all(left) and left != [each.value for each in parts]:
                    others = (
                        each
                        for other in alike
                        for each in _parts(trace, modules, other, up, plane, path)
                        if each.module != owner
                    )
                    yield [*parts, *others]


def _parts(
    trace: Trace, modules: dict[str, nn.Module], step: int, up: int, plane: int, path: Path
) -> list[Repeated]:
    """The numbers of a tuple as sizes of the parts of what arrives; none where they are not."""
    owners, arriving = [*_around(trace.steps[step].place.module)], trace.steps[step].arriving
    if up >= len(owners) or plane >= len(arriving):
        return []
    labels = arriving[plane]
    numbers = [
        (each, value)
        for each, value in _numbers(modules[owners[up]])
        if each[:-1] == path and isinstance(each[-1], int)
    ]
    if sum(value for _, value in numbers) != len(labels) or int(labels.max()) >= trace.base:
        return []
    ends = np.cumsum([value for _, value in numbers])
    return [
        Repeated(owners[up], each, value, labels[end - value : end])
        for (each, value), end in zip(numbers, ends.tolist(), strict=True)
        if value
    ]


def _around(module: str) -> Iterator[str]:
    """A module's name, and those of the modules that hold it, the nearest first."""
    yield module
    while module:
        module = module.rpartition(".")[0]
        yield module


def _numbers(module: nn.Module) -> Iterator[tuple[Path, int]]:
    """The numbers that a module's attributes hold, in tuples and objects of its own as well."""
    for name, held in own_attributes(module).items():
        yield from _inside((name,), held, objects=True)


def _inside(path: Path, held: Any, *, objects: bool) -> Iterator[tuple[Path, int]]:
    if type(held) is int:
        yield path, held
    elif isinstance(held, tuple | list) and len(held) <= _LONG:
        for place, each in enumerate(held):
            if type(each) is int:
                yield (*path, place), each
    elif objects and not isinstance(held, nn.Module | Tensor | type) and hasattr(held, "__dict__"):
        for name, each in vars(held).items():
            yield from _inside((*path, name), each, objects=False)


_LONG = 16
"""Longer ones are no sizes."""


def _may_repeat(each: Repeated, trace: Trace, removed: NDArray[np.bool_]) -> bool:
    """Whether a cut changes the size that an attribute would repeat, and leaves a whole number."""
    size, value = len(each.labels), each.value
    if value < 2 or (size % value and value % size) or int(each.labels.max()) >= trace.base:
        return False
    left = each.left(removed)
    return left is not None and 0 < left != value


def _same(
    trace: Trace,
    modules: dict[str, nn.Module],
    step: int,
    up: int,
    plane: int,
    first: Repeated,
) -> Repeated | None:
    """The same attribute for another call of the same code."""
    owner = [*_around(trace.steps[step].place.module)]
    arriving = trace.steps[step].arriving
    if up >= len(owner) or plane >= len(arriving):
        return None
    value = next((v for path, v in _numbers(modules[owner[up]]) if path == first.path), None)
    labels: Labels = arriving[plane]
    is_one = labels.size % len(first.labels) == 0 or len(first.labels) % labels.size == 0
    if value is None or not is_one or int(labels.max()) >= trace.base:
        return None
    return Repeated(owner[up], first.path, value, labels)
