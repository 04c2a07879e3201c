"""Attributes that may repeat a size which a forward pass reads, as the number of heads does."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.network.attributes import own_attributes
from analysis.network.cutting import Repeated, says_itself
from analysis.network.labels import operators
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Source, Step, Trace

__all__ = ["candidates", "one_each"]

Path = tuple[str | int, ...]
Route = Callable[[Trace, int], Iterator[str]]

_MOST = 12
"""Attributes that are tried for one operator."""


def candidates(
    model: nn.Module, trace: Trace, alike: Sequence[int], step: int, removed: NDArray[np.bool_]
) -> Iterator[list[Repeated]]:
    """Attributes that the code of an operator may read a size from, one for each of its calls.

    They are of the module in whose forward the operator is called or a tensor of a written-out size
    is made that it is given, and of those around it, the nearest first.

    Args:
        model: the dense network.
        trace: its pass.
        alike: the operators that the same code calls.
        step: the one of them that does not follow a cut.
        removed: for each label whether it goes.
    """
    modules = dict(model.named_modules())
    yield from _splits(modules, trace, alike, step, removed)
    for route in (_around_call, _around_made):
        found = _firsts(modules, trace, route, step, removed)
        told = trace.steps[step].constants
        # What the operator is told is tried first, and then what is the size itself.
        likely = sorted(found, key=lambda each: (each[0].value not in told, not _is_size(each[0])))
        for first, up, plane in likely[:_MOST]:
            others = (_same(trace, modules, route, other, up, plane, first) for other in alike)
            yield [first, *filter(None, others)]


def _firsts(
    modules: dict[str, nn.Module],
    trace: Trace,
    route: Route,
    step: int,
    removed: NDArray[np.bool_],
) -> Iterator[tuple[Repeated, int, int]]:
    """Numbers around an operator that a cut may change: how far around, and by which plane."""
    seen: set[Hashable] = set()
    arriving = _arriving(trace, step)
    for up, owner in enumerate(route(trace, step)):
        for path, value in _numbers(modules[owner]):
            for plane, labels in enumerate(arriving):
                key = _place(modules[owner], path), removed[labels].tobytes()
                first = Repeated(owner, path, value, labels)
                if key not in seen and _may_repeat(first, removed):
                    seen.add(key)
                    yield first, up, plane


def one_each(
    model: nn.Module, known: Sequence[Repeated], found: Iterable[Repeated]
) -> tuple[list[Repeated], list[tuple[Labels, Labels]]]:
    """Each number once, and the channels that go together as they are counted by the same one.

    Modules may keep one configuration, and a size that one of them asks of it is everyone's.

    Args:
        model: the dense network.
        known: those that follow already.
        found: more of them.
    """
    modules = dict(model.named_modules())
    numbers: dict[Hashable, Repeated] = {}
    ties = []
    for each in (*known, *found):
        first = numbers.setdefault(_place(modules[each.module], each.path), each)
        fewer, more = sorted((first.labels, each.labels), key=len)
        if not np.array_equal(fewer, more) and not len(more) % len(fewer):
            ties.append((more, np.tile(fewer, len(more) // len(fewer))))
    return list(numbers.values()), ties


def _place(module: nn.Module, path: Path) -> Hashable:
    """What tells a number from others: the object that keeps it, and where."""
    first, *rest = path
    if rest and isinstance(rest[0], str):
        return id(getattr(module, str(first))), *rest
    return id(module), *path


def _arriving(trace: Trace, step: int) -> list[Labels]:
    """What arrives at an operator, as positions of tensors; none where it is more than these."""
    found = (_positions(trace, labels) for labels in trace.steps[step].arriving)
    return [own if ((own > 0) & (own < trace.base)).all() else own[:0] for own in found]


def _positions(trace: Trace, labels: Labels) -> Labels:
    """Labels, of what stands for several that go together the first of these.

    A head of attention is all of its channels.
    """
    for block in reversed(trace.blocks) if labels.max(initial=0) >= trace.base else ():
        stands = np.searchsorted(block.labels, labels).clip(max=len(block.labels) - 1)
        labels = np.where(block.labels[stands] == labels, block.rows[stands, 0], labels)
    return labels


def _around_call(trace: Trace, step: int) -> Iterator[str]:
    """The module in whose forward an operator is called, and those around it."""
    return _around(trace.steps[step].place.module)


def _around_made(trace: Trace, step: int) -> Iterator[str]:
    """The same of the modules that make what it is given beside channels, of sizes alone.

    A layer may make a bias of zeros for those behind it.
    """
    own = {*_around_call(trace, step)}
    for source in trace.steps[step].sources:
        for call in _made_by(trace, source):
            if not call.sources and call.place.operator in operators.FACTORIES:
                yield from (name for name in _around(call.place.module) if name not in own)


def _made_by(trace: Trace, source: Source) -> Iterator[Step]:
    """The calls that a tensor comes of, each by its first operand."""
    while isinstance(source, tuple):
        call = trace.calls[source[0]]
        yield call
        source = next(iter(call.sources), None)


def _splits(
    modules: dict[str, nn.Module],
    trace: Trace,
    alike: Sequence[int],
    step: int,
    removed: NDArray[np.bool_],
) -> Iterator[list[Repeated]]:
    """Attributes that hold the sizes of all parts of what arrives, which follow together."""
    for up, owner in enumerate(_around_call(trace, step)):
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
    owners, arriving = [*_around_call(trace, step)], _arriving(trace, step)
    if up >= len(owners) or plane >= len(arriving):
        return []
    labels = arriving[plane]
    numbers = [
        (each, value)
        for each, value in _numbers(modules[owners[up]])
        if each[:-1] == path and isinstance(each[-1], int)
    ]
    if not labels.size or sum(value for _, value in numbers) != len(labels):
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
    """The numbers that a module's attributes hold, in tuples and objects of its own as well.

    Those that PyTorch's own layers keep of their tensors follow these anyway.
    """
    for name, held in own_attributes(module).items():
        if not says_itself(module, name):
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


def _may_repeat(each: Repeated, removed: NDArray[np.bool_]) -> bool:
    """Whether a cut changes the size that an attribute would repeat, and leaves a whole number."""
    left = each.left(removed) if _relates(each) else None
    return left is not None and 0 < left != each.value


def _relates(each: Repeated) -> bool:
    """Whether an attribute can be a size, a part or a multiple of it."""
    size, value = len(each.labels), each.value
    return value > 1 and size > 0 and not (size % value and value % size)


def _is_size(each: Repeated) -> bool:
    return each.value == len(each.labels)


def _same(
    trace: Trace,
    modules: dict[str, nn.Module],
    route: Route,
    step: int,
    up: int,
    plane: int,
    first: Repeated,
) -> Repeated | None:
    """The same attribute for another call of the same code."""
    owner, arriving = [*route(trace, step)], _arriving(trace, step)
    if up >= len(owner) or plane >= len(arriving):
        return None
    value = next((v for path, v in _numbers(modules[owner[up]]) if path == first.path), None)
    found = None if value is None else Repeated(owner[up], first.path, value, arriving[plane])
    return found if found and _relates(found) and _is_size(found) >= _is_size(first) else None
