"""Attributes that may repeat a size that a forward pass reads, such as a number of heads."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.network.attributes import own_attributes
from analysis.network.cutting import Repeated
from analysis.network.labels import operators
from analysis.network.labels.planes import Labels, labels_of
from analysis.network.labels.records import Source, Step, Trace
from analysis.network.own_sizes import says_itself

__all__ = ["candidates", "one_each"]

Path = tuple[str | int, ...]
Route = Callable[[Trace, int], Iterator[str]]

_MOST = 12
"""How many attributes are tried for one operator."""


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
    for route in (_around_call, _around_made, _around_held):
        found = _firsts(modules, trace, route, step, removed)
        given = trace.steps[step].constants
        # Arguments of the operator are tried first, and then the size itself.
        likely = sorted(found, key=lambda each: (each[0].value not in given, not _is_size(each[0])))
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
    model: nn.Module, known: Sequence[Repeated], found: Iterable[Repeated], of: Labels
) -> tuple[list[Repeated], list[tuple[Labels, Labels]]]:
    """Each number once, and the channels that go together as they are counted by the same one.

    Modules may keep one configuration, and a size that one of them asks of it is everyone's.

    Args:
        model: the dense network.
        known: those that follow already.
        found: more of them.
        of: for each label what goes together so far.
    """
    modules = dict(model.named_modules())
    numbers: dict[Hashable, Repeated] = {}
    ties = []
    for each in (*known, *found):
        first = numbers.setdefault(_place(modules[each.module], each.path), each)
        fewer, more = sorted((first.labels, each.labels), key=len)
        if not np.array_equal(fewer, more) and not len(more) % len(fewer):
            ties.append((more, fewer[_counted(of[more], len(fewer))]))
    return list(numbers.values()), ties


def _counted(together: Labels, count: int) -> Labels:
    """For each label which of so many it is: a head, where all of it goes together."""
    heads = list(dict.fromkeys(together.tolist()))
    if len(heads) != count:
        return np.arange(len(together), dtype=np.int32) % count
    return np.array([heads.index(head) for head in together.tolist()], np.int32)


def _place(module: nn.Module, path: Path) -> Hashable:
    """The identity of a number: the object that holds it, and where."""
    first, *rest = path
    if rest and isinstance(rest[0], str):
        return id(getattr(module, str(first))), *rest
    return id(module), *path


def _arriving(trace: Trace, step: int) -> list[Labels]:
    """What arrives at an operator, as positions of tensors; none where it is more than these.

    And what leaves it, which of a part may be what a number says.
    """
    own = trace.steps[step]
    made = (labels_of(plane).ravel() for planes in own.planes for plane in planes)
    found = (_positions(trace, labels) for labels in (*own.arriving, *made))
    return [each if ((each > 0) & (each < trace.base)).all() else each[:0] for each in found]


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


def _around_held(trace: Trace, step: int) -> Iterator[str]:
    """The modules that hold the tensors that it is given, and those around them.

    A method that is no forward may lay out a table of the layer's own.
    """
    own = {*_around_call(trace, step)}
    for source in trace.steps[step].sources:
        calls = [*_made_by(trace, source)]
        first = next(iter(calls[-1].sources), None) if calls else source
        if isinstance(first, str):
            yield from (name for name in _around(first.rpartition(".")[0]) if name not in own)


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
    planes = range(len(_arriving(trace, step)))
    for up, owner in enumerate(_around_call(trace, step)):
        for kept in _kept(modules[owner], trace.steps[step]):
            for plane in planes:
                parts = _parts(trace, modules, step, up, plane, kept)
                left = [each.left(removed) for each in parts]
                if all(left) and left != [each.value for each in parts]:
                    others = (
                        each
                        for other in alike
                        for each in _parts(trace, modules, other, up, plane, kept)
                        if each.module != owner
                    )
                    yield [*parts, *others]


@dataclass(frozen=True)
class _Kept:
    """Where a module keeps the sizes of parts, and that of all of them; None where it does not."""

    parts: Sequence[Path | None]
    whole: Path | None = None


def _kept(module: nn.Module, step: Step) -> Iterator[_Kept]:
    """Attributes that may hold the sizes of parts: a tuple, or one for each given size.

    A part without an attribute is the rest of the whole.
    """
    numbers = dict(_numbers(module))
    for tuple_of in dict.fromkeys(path[:-1] for path in numbers if isinstance(path[-1], int)):
        yield _Kept([path for path in numbers if path[:-1] == tuple_of])
    given = _given_sizes(step)
    for count in range(2, len(given) + 1):
        sizes = given[:count]
        wholes = [None, *(path for path, value in numbers.items() if value == sum(sizes))]
        ways = product(wholes, *(_holding(numbers, size) for size in sizes))
        yield from (_Kept(parts, whole) for whole, *parts in islice(ways, _MOST) if any(parts))


def _holding(numbers: Mapping[Path, int], size: int) -> list[Path | None]:
    """Where a number is kept; None where it is nowhere."""
    found: list[Path | None] = [path for path, value in numbers.items() if value == size]
    return found or [None]


def _given_sizes(step: Step) -> list[int]:
    return [each for each in step.constants if type(each) is int]


def _parts(
    trace: Trace, modules: dict[str, nn.Module], step: int, up: int, plane: int, kept: _Kept
) -> list[Repeated]:
    """The numbers of a module as sizes of the parts of what arrives; none where they are not."""
    owners, arriving = [*_around_call(trace, step)], _arriving(trace, step)
    if up >= len(owners) or plane >= len(arriving):
        return []
    owner, labels = owners[up], arriving[plane]
    numbers, given = dict(_numbers(modules[owner])), _given_sizes(trace.steps[step])
    sizes = [
        given[place] if path is None and place < len(given) else numbers.get(path or (), 0)
        for place, path in enumerate(kept.parts)
    ]
    if not labels.size or sum(sizes) != len(labels):
        return []
    ends = np.cumsum(sizes).tolist()
    found = [
        Repeated(owner, path, size, labels[end - size : end])
        for path, size, end in zip(kept.parts, sizes, ends, strict=True)
        if size and path is not None
    ]
    whole = numbers.get(kept.whole or ())
    if kept.whole is not None and whole == len(labels):
        found.append(Repeated(owner, kept.whole, whole, labels))
    return found


def _around(module: str) -> Iterator[str]:
    """A module's name, and those of the modules that hold it, the nearest first."""
    yield module
    while module:
        module = module.rpartition(".")[0]
        yield module


def _numbers(module: nn.Module) -> Iterator[tuple[Path, int]]:
    """The numbers in a module's attributes, also in tuples and objects.

    Those of PyTorch's own layers follow their tensors anyway.
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
"""The greatest length of a tuple of sizes."""


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
