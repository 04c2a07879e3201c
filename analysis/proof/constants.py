"""Numbers that operators are given: the same in both networks, or following a width."""

from math import isclose, prod

from analysis.network.labels import operators
from analysis.network.labels.records import Step

__all__ = ["Constants", "OtherArgumentsError"]


class OtherArgumentsError(Exception):
    """An operator is given something else than in the dense network."""


class Constants:
    """Compares arguments, and knows the widths that operators so far have lost.

    Attributes:
        scaled: modules whose forward uses a number that follows a width.
    """

    def __init__(self) -> None:
        self._widths: set[tuple[int, int]] = set()
        self.scaled: dict[str, None] = {}

    def check(self, step: Step, other: Step) -> None:
        """Compare what an operator is given in both networks.

        Raises:
            OtherArgumentsError: it is given something else.
        """
        shapes = [*zip(step.given, other.given, strict=False)]
        shapes += zip(step.shapes, other.shapes, strict=False)
        for before, after in shapes:
            if len(before) != len(after):
                raise OtherArgumentsError(f"{step.place} has {after} where {before} was")
            pairs = zip(before, after, strict=True)
            self._widths |= {(one, two) for one, two in pairs if one != two}
        self._check_constants(step, other)

    def _check_constants(self, step: Step, other: Step) -> None:
        if len(step.constants) != len(other.constants):
            raise OtherArgumentsError(f"{step.place} is given other arguments")
        for before, after in zip(step.constants, other.constants, strict=True):
            if _is_same(before, after):
                continue
            if not (_is_number(before) and _is_number(after)):
                raise OtherArgumentsError(f"{step.place} is given {after} where {before} was")
            if step.place.operator in _TAKES_SIZES and (before, after) in self._sizes(step, other):
                continue
            if not self._follows_a_width(before, after):
                raise OtherArgumentsError(f"{step.place} is given {after:g} where {before:g} was")
            if step.place.operator not in _TAKES_SIZES | operators.FACTORIES:
                self.scaled[step.place.module] = None

    def _sizes(self, step: Step, other: Step) -> set[tuple[int, int]]:
        """Sizes, or bounds of a part, along the dimensions that have lost something."""
        found = set()
        for before, after in zip(
            (*step.given, *step.shapes), (*other.given, *other.shapes), strict=False
        ):
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
            if (
                isinstance(before, int)
                and isinstance(after, int)
                and before * pruned == after * dense
            ):
                return True
        return False


_TAKES_SIZES = operators.RESHAPES | {
    "expand", "repeat", "slice", "narrow", "split", "split_with_sizes", "unsafe_split",
    "unsafe_split_with_sizes", "as_strided", "constant_pad_nd", "select", "native_group_norm",
    "native_layer_norm", "_fused_rms_norm", "rms_norm", "layer_norm", "convolution",
}  # fmt: skip
"""Operators that are given sizes, or bounds of parts."""

_OF_A_WIDTH = (
    float,
    lambda width: 1 / width,
    lambda width: width - 1.0,
    lambda width: width**0.5,
    lambda width: width**-0.5,
    lambda width: width**0.25,
    lambda width: width**-0.25,
)
"""Numbers that forward passes make of a width."""


def _is_same(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
