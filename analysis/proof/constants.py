"""Compare arguments of operators: equal in both networks, or following a width."""

from collections.abc import Iterator
from math import isclose, log, prod

from analysis.network.labels import operators
from analysis.network.labels.records import Step

__all__ = ["PARTS", "Constants", "OtherArgumentsError", "has_collapsed", "is_same"]


class OtherArgumentsError(Exception):
    """An operator is given something else than in the dense network."""


class Constants:
    """Compares arguments, and knows the widths that operators so far have lost.

    Attributes:
        scaled: modules whose forward uses a number that follows a width, and what it does with it.
    """

    def __init__(self) -> None:
        self._widths: set[tuple[int, int]] = set()
        self.scaled: dict[str, str] = {}

    def check(self, step: Step, other: Step, gone: int = 0) -> None:
        """Compare what an operator is given in both networks.

        Args:
            step: of the dense network.
            other: of the pruned one.
            gone: how many tensors of the first are of channels that went alone.

        Raises:
            OtherArgumentsError: it is given something else.
        """
        for before, after in _shapes_of(step, other):
            if before == after:
                continue
            if len(before) != len(after):
                raise OtherArgumentsError(f"{step.place} has {after} where {before} was")
            pairs = zip(before, after, strict=True)
            self._widths |= {(one, two) for one, two in pairs if one != two}
        self._check_constants(step, other, gone)

    def _check_constants(self, step: Step, other: Step, gone: int) -> None:
        if step.constants == other.constants and not gone:
            return
        given = [*step.constants]
        for _ in range(gone):
            given.remove(None)  # as every tensor of the pass is noted
        if len(given) != len(other.constants):
            raise OtherArgumentsError(f"{step.place} is given other arguments")
        pairs = zip(given, other.constants, strict=True)
        for place, (before, after) in enumerate(pairs):
            if is_same(before, after):
                continue
            numbers = _is_number(before) and _is_number(after)
            if numbers and step.place.operator in operators.RESHAPES:
                continue  # what a tensor is reshaped to, its shape says
            if step.place.operator in _TURNS and 1 in other.given[0]:
                continue  # where a dimension of size 1 goes, nobody sees
            if isinstance(before, tuple) and isinstance(after, tuple) and before[0] != after[0]:
                continue  # a table of another size, which what it meets tells of
            if isinstance(before, tuple) or isinstance(after, tuple):
                raise OtherArgumentsError(f"{step.place} is given another tensor")
            if not numbers:
                raise OtherArgumentsError(f"{step.place} is given {after} where {before} was")
            if not self._may_follow(step, other, place) or not (
                (before, after) in self._sizes(step, other) or self._follows_a_width(before, after)
            ):
                raise OtherArgumentsError(f"{step.place} is given {after:g} where {before:g} was")
            self._note(step, place, before, after)

    def note(self, step: Step, other: Step) -> None:
        """Note what an operator is given of another width, however that was made."""
        pairs = zip(step.constants, other.constants, strict=False)
        for place, (before, after) in enumerate(pairs):
            if _is_number(before) and _is_number(after) and not is_same(before, after):
                self._note(step, place, before, after)

    def _note(self, step: Step, place: int, before: float, after: float) -> None:
        operator = step.place.operator
        is_size = operator in _TAKES_SIZES | operators.FACTORIES - _SCALES
        if is_size and not _is_fill(step, place):
            return
        does = "scales by" if operator in _SCALES else f"calls `{operator}` with"
        self.scaled[step.place.module] = f"{does} {after:g} where {before:g} was"

    def _may_follow(self, step: Step, other: Step, place: int) -> bool:
        """Whether the argument at a place may be another one where a width is."""
        operator, given = step.place.operator, step.constants
        if operator in _SCALES | operators.FACTORIES:
            return True
        if operator not in _TAKES_SIZES or isinstance(given[place], float):
            return False  # what a norm adds to the variance is no size
        if operator == "convolution":
            return place == len(given) - 1  # the number of groups, not the stride
        if operator in PARTS:
            dim = given[1]
            return step.given[0][dim] != other.given[0][dim]
        return True

    def _sizes(self, step: Step, other: Step) -> set[tuple[int, int]]:
        """Sizes, or bounds of a part, along the dimensions that have lost something."""
        found = set()
        for before, after in _shapes_of(step, other):
            found |= set(zip(before, after, strict=True))
            found |= {(prod(before[n:]), prod(after[n:])) for n in range(len(before))}
        return found

    def _follows_a_width(self, before: float, after: float) -> bool:
        for dense, pruned in self._widths:
            for function in _OF_A_WIDTH:
                if isclose(before, function(dense), rel_tol=1e-9) and isclose(
                    after, function(pruned), rel_tol=1e-9
                ):
                    return True
            # A multiple of it, or of its root.
            if before and after / before > 0:
                share, ratio = after / before, pruned / dense
                if any(isclose(share, ratio**power, rel_tol=1e-9) for power in _POWERS):
                    return True
        return False

    def follows(self, before: int, after: int) -> bool:
        """Whether a number of repetitions is that of channels one by one."""
        return any(before - after == dense - pruned for dense, pruned in self._widths)


_TAKES_SIZES = operators.RESHAPES | {
    "_fused_rms_norm", "affine_grid_generator", "as_strided", "constant_pad_nd", "convolution",
    "expand", "layer_norm", "narrow", "native_group_norm", "native_layer_norm", "repeat",
    "rms_norm", "select", "slice", "split", "split_with_sizes", "unsafe_split",
    "unsafe_split_with_sizes",
}  # fmt: skip
"""Operators that are given sizes, or bounds of parts."""

PARTS = frozenset({"narrow", "select", "slice"})
"""Operators that take bounds along one dimension, which is their first argument."""

_TURNS = frozenset({"movedim", "permute", "transpose"})

_FILLED = frozenset({"full", "new_full", "scalar_tensor"})
"""Factories that are given, behind the sizes, what the tensor holds."""

_SCALES = frozenset({"div", "fill", "floor_divide", "lift_fresh", "masked_fill", "mul"})
"""Operators that are given numbers which a forward pass may make of a width."""

_OF_A_WIDTH = (float, lambda width: width - 1.0, log)
_POWERS = (1, -1, 0.5, -0.5, 0.25, -0.25)
"""What forward passes make of a width."""


def _shapes_of(step: Step, other: Step) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shapes of operands and of results in both networks, one of which may have fewer of them."""
    yield from zip(step.given, other.given, strict=False)
    yield from zip(step.shapes, other.shapes, strict=False)


def has_collapsed(step: Step, other: Step) -> bool:
    """Whether a dimension has a single position left."""
    return any(
        two == 1 < one
        for before, after in _shapes_of(step, other)
        for one, two in zip(before, after, strict=False)
    )


def _is_fill(step: Step, place: int) -> bool:
    """Whether the argument at a place is what a tensor is filled with."""
    sizes = len(step.given) + len(step.shapes[0])
    return step.place.operator in _FILLED and place == sizes


def is_same(one: object, other: object) -> bool:
    """Whether an operator is given the same, which may be NaN."""
    return one == other or (one != one and other != other)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
