"""Shrink a network step by step while it fails in the same way."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice, product
from typing import Any

from torch import Tensor, fx

from analysis.errors import BudgetExceededError
from analysis.minimizing.remade import WIDTHS, Remade
from analysis.minimizing.small import Small, edited, shape_of, sources
from analysis.processes import budgets

__all__ = ["coarser", "shrunk"]

_SIZES = (1, 2, 3, 4, 6, 8)
"""Candidates for a size, the smallest first."""

_FEWEST = 4
"""Candidates for channels: with one channel left, a mismatch could be broadcast."""


def coarser(small: Small) -> Iterator[Small]:
    """A network and much smaller versions of it, the smallest first.

    A large one takes long to judge. A small one probably fails as well, and is judged fast.
    """
    widths = {width for width in _widths(small) if width > _FEWEST}
    for width, size in product((_FEWEST, 4 * _FEWEST, None), (1, 8, 32, None)):
        try:
            found = small
            if width is not None:
                found = _scaled(found, widths, Fraction(width, min(widths)))
            if size is not None:
                found = replace(found, inputs=_cut(found.inputs, size))
            yield found.fitted()
        except Exception:  # sizes that do not fit, whatever operator says so
            continue


def _cut(inputs: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    return {name: value[(slice(size),) * value.dim()] for name, value in inputs.items()}


_SEEDS, _FEW = 3, 6
"""How many seeds are tried for a network of a few operators."""


class _OverError(Exception):
    """The time limit is reached."""


def shrunk(small: Small, fails: Callable[[Small], bool], seconds: float) -> None:
    """Shrink a network as long as ``fails`` says that a smaller one fails, too.

    Args:
        small: fitted.
        fails: judges a fitted network; the last one that it accepts is the smallest.
        seconds: time limit.
    """
    shrinking = _Shrinking(small, fails, time.monotonic() + seconds)
    try:
        shrinking.run()
    except _OverError:
        return


class _Shrinking:
    def __init__(self, small: Small, fails: Callable[[Small], bool], until: float) -> None:
        self._best, self._fails, self._until = small, fails, until
        self._seen = {_written(small)}

    def run(self) -> None:
        """Every kind of cut, until none of them makes the network smaller."""
        before = None
        while before != (before := _written(self._best)):
            for cut in (
                # What is small is judged fast.
                self._smaller_inputs,
                self._all_narrower,
                self._ends_earlier,
                self._without,
                self._begins_later,
                self._plainer,
                self._narrower,
                self._numbers,
            ):
                cut()

    def _takes(self, make: Callable[[], Small]) -> bool:
        """Whether a changed network still fails; then it is the new best."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise _OverError
        try:
            candidate = make().fitted()
        except Exception:  # sizes that do not fit, whatever operator says so
            return False
        if (written := _written(candidate)) in self._seen:
            return False
        self._seen.add(written)
        try:
            with budgets.limited(left if budgets.can_be_held() else None):
                return any(self._is_best(candidate, seed) for seed in self._seeds(candidate))
        except BudgetExceededError:
            raise _OverError from None

    def _is_best(self, candidate: Small, seed: int) -> bool:
        drawn = replace(candidate, seed=seed)
        fails = self._fails(drawn)
        if fails:
            self._best = drawn
        return fails

    def _seeds(self, candidate: Small) -> range:
        """With few channels, the removed ones may happen not to show the fault."""
        return range(_SEEDS if len(candidate.nodes) <= _FEW else 1)

    def _changed(self, edit: Callable[[fx.Graph, dict[str, fx.Node]], None]) -> bool:
        return self._takes(lambda: edited(self._best, edit))

    def _ends_earlier(self) -> None:
        """Remove the second half of the nodes, then a quarter: any node can be the output."""
        while any(self._puts_out(node) for node in _from_the_middle(self._best.nodes)):
            pass

    def _puts_out(self, node: fx.Node) -> bool:
        def edit(graph: fx.Graph, nodes: dict[str, fx.Node]) -> None:
            graph.erase_node(graph.output_node())
            graph.output(nodes[node.name])

        return shape_of(node) is not None and self._changed(edit)

    def _begins_later(self) -> None:
        """The same from the other end: any node can be an input."""
        while any(self._is_given(node) for node in _from_the_middle(self._best.nodes[::-1])):
            pass

    def _is_given(self, node: fx.Node) -> bool:
        value = node.meta.get("value")
        if not isinstance(value, Tensor):
            return False

        def make() -> Small:
            changed = edited(replace(self._best, inputs={**self._best.inputs, name: value}), edit)
            given = changed.graph.find_nodes(op="placeholder")
            if len(given) > len(self._best.inputs):
                raise ValueError("more inputs do not make a smaller network")
            return changed

        def edit(graph: fx.Graph, nodes: dict[str, fx.Node]) -> None:
            with graph.inserting_before(next(iter(graph.nodes))):
                nodes[node.name].replace_all_uses_with(graph.placeholder(name))

        name = f"of_{node.name}"
        return self._takes(make)

    def _without(self) -> None:
        """Replace operators by their input: halves of them, quarters, each alone."""
        size = len(self._best.nodes)
        while size := size // 2:
            place = 0
            while nodes := self._best.nodes[place : place + size]:
                if not self._bypassed(nodes):
                    place += size
        for place in range(len(self._best.nodes)):
            for node in self._best.nodes[place : place + 1]:
                others = list(islice(sources(node), 1, None))
                any(self._changed(_bypass({node.name: other.name})) for other in others)

    def _bypassed(self, nodes: Iterable[fx.Node]) -> bool:
        given = {node.name: next(sources(node), None) for node in nodes if _is_tensor(node)}
        places = {name: source.name for name, source in given.items() if source is not None}
        return bool(places) and self._changed(_bypass(places))

    def _plainer(self) -> None:
        """Build each layer with simpler arguments."""
        for name, maker in list(self._best.makers.items()):
            any(self._takes(partial(self._with_maker, name, other)) for other in maker.plainer)

    def _with_maker(self, name: str, maker: Remade) -> Small:
        return replace(self._best, makers={**self._best.makers, name: maker})

    def _smaller_inputs(self) -> None:
        """Shrink each size of the inputs, for all inputs that share it."""
        for name in list(self._best.inputs):
            for axis in range(self._best.inputs[name].dim()):
                width = self._best.inputs[name].shape[axis]
                any(
                    self._takes(partial(self._cut_inputs, axis, width, size))
                    for size in _below(width)
                )

    def _cut_inputs(self, axis: int, width: int, size: int) -> Small:
        inputs = {
            name: value.narrow(axis, 0, size)
            if value.dim() > axis and value.shape[axis] == width
            else value
            for name, value in self._best.inputs.items()
        }
        return replace(self._best, inputs=inputs)

    def _all_narrower(self) -> None:
        """Shrink all widths at once."""
        widths = {width for width in _widths(self._best) if width > _FEWEST}
        self._scale(widths, min(widths, default=0))

    def _narrower(self) -> None:
        """Shrink each width, wherever it or a part of it occurs; then in one layer alone."""
        for width in sorted(_widths(self._best), reverse=True):
            self._scale({width}, width)
        for name, maker in list(self._best.makers.items()):
            for option in WIDTHS:
                if isinstance(maker, Remade) and option in maker.options:
                    any(
                        self._takes(partial(self._with_maker, name, maker.having({option: size})))
                        for size in _below(maker.options[option], _FEWEST)
                    )

    def _scale(self, widths: Collection[int], width: int) -> None:
        any(
            self._takes(partial(_scaled, self._best, widths, Fraction(size, width)))
            for size in _below(width, _FEWEST)
        )

    def _numbers(self) -> None:
        """Replace computed sizes by numbers."""
        for node in self._best.nodes:
            value = node.meta.get("value")
            if type(value) is int:
                self._changed(_written_out(node.name, value))


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("value"), Tensor)


def _from_the_middle(nodes: list[fx.Node]) -> list[fx.Node]:
    """The middle one, that of the second half, and so on; and the last but one."""
    places, left = [], len(nodes)
    while left := left // 2:
        places.append(len(nodes) - 1 - left)
    return [nodes[place] for place in places]


def _below(size: int, least: int = 1) -> list[int]:
    return [smaller for smaller in (*_SIZES, size // 2) if least <= smaller < size]


def _bypass(places: Mapping[str, str]) -> Callable[[fx.Graph, dict[str, fx.Node]], None]:
    def edit(_: fx.Graph, nodes: dict[str, fx.Node]) -> None:
        for name, source in places.items():
            found = source
            while found in places:
                found = places[found]
            nodes[name].replace_all_uses_with(nodes[found])

    return edit


def _written_out(name: str, value: int) -> Callable[[fx.Graph, dict[str, fx.Node]], None]:
    def edit(graph: fx.Graph, nodes: dict[str, fx.Node]) -> None:
        for user in list(nodes[name].users):
            user.args, user.kwargs = fx.node.map_arg(
                (user.args, user.kwargs), lambda each: value if each is nodes[name] else each
            )

    return edit


def _widths(small: Small) -> set[int]:
    made = {
        maker.options[option]
        for maker in small.makers.values()
        if isinstance(maker, Remade)
        for option in WIDTHS
        if option in maker.options
    }
    return made | {size for tensor in small.tensors.values() for size in tensor.shape}


def _scaled(small: Small, widths: Collection[int], part: Fraction) -> Small:
    """Shrink widths in layers, tensors and numbers of the forward, with their divisors."""

    def scaled(number: Any) -> Any:
        if type(number) is not int or number < 2 or (number * part).denominator > 1:
            return number
        is_one = any(width % number == 0 or number % width == 0 for width in widths)
        return int(number * part) if is_one else number

    def edit(graph: fx.Graph, _: dict[str, fx.Node]) -> None:
        for node in graph.nodes:
            if node.op in ("call_function", "call_method"):
                node.args = fx.node.map_aggregate(node.args, scaled)

    makers = {
        name: maker.having(
            {key: scaled(value) for key, value in maker.options.items() if key in WIDTHS}
        )
        if isinstance(maker, Remade)
        else maker
        for name, maker in small.makers.items()
    }
    if any(width < _FEWEST for width in _widths(replace(small, makers=makers, tensors={}))):
        raise ValueError("too few channels are left of a layer")
    tensors = {
        name: tensor[tuple(slice(0, scaled(each)) for each in tensor.shape)]
        for name, tensor in small.tensors.items()
    }
    return edited(replace(small, makers=makers, tensors=tensors), edit)


def _written(small: Small) -> str:
    """The identity of a network."""
    makers = {name: maker.text for name, maker in small.makers.items()}
    sizes = [
        (name, tuple(value.shape))
        for name, value in (*small.inputs.items(), *small.tensors.items())
    ]
    return f"{small.graph.python_code('self').src}{makers}{sizes}"
