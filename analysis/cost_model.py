"""MACs and parameters as a polynomial in what the dependency groups lose.

Every operator's MACs and every parameter's elements are a product of sizes, of which at most two
follow the groups: the channels that a layer makes and those that it reads. With x the channels
that each segment of a group has lost, a size is s - l.x, so a count is
c (1 - l.x / s) (1 - m.x / t), and the sum over the network is the quadratic form
constant - linear.x + x.quadratic.x. A layer that reads the group it makes gives a square, a
concatenation a sum of widths, a norm or a depthwise convolution a line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from analysis.errors import InputError
from analysis.records import Axis, Extent, Group, Products, Term
from analysis.segments import Segments

__all__ = ["CostModel", "Polynomial"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Polynomial:
    """constant - linear.x + x.quadratic.x, in the channels x that each segment has lost.

    Attributes:
        constant: the dense count.
        linear: shape (segments,).
        quadratic: symmetric, shape (segments, segments).
    """

    constant: float
    linear: Numbers
    quadratic: Numbers

    def at(self, removed: Numbers) -> NDArray[np.int64]:
        """The count for each column of ``removed``, shape (segments, ratios)."""
        squares = np.einsum("sr,sr->r", removed, self.quadratic @ removed)
        return np.rint(self.constant - self.linear @ removed + squares).astype(np.int64)

    def shares(self, removed: Numbers) -> Numbers:
        """Each segment's part of what is saved when ``removed``, shape (segments,), has gone.

        The Shapley value (Shapley 1953) of the game in which the segments lose their channels: the
        mean, over all orders in which they may go, of what each saves when its turn comes. For a
        quadratic form it is the channels lost times the slope half way, which is also the
        Aumann-Shapley value (Aumann and Shapley 1974): a product of two widths is shared by
        halves. The parts sum to the saving.
        """
        return removed * (self.linear - self.quadratic @ removed)

    def scaled(self, widths: Numbers) -> tuple[float, float, float]:
        """a, b, c of a (1 - r)^2 + b (1 - r) + c, what is left when the segments lose r of theirs.

        Args:
            widths: channels of each segment, shape (segments,); 0 for one that is held.
        """
        square = float(widths @ self.quadratic @ widths)
        line = float(self.linear @ widths)
        return square, line - 2 * square, self.constant - line + square


Line = dict[int, Fraction]
"""By segment, the share of a size that goes with one of its channels."""


@dataclass(frozen=True)
class _Product:
    """A count, and for each of its sizes that may change what it loses."""

    count: int
    lines: tuple[Line, ...]


class CostModel:
    """The costs of one network as functions of what its groups lose.

    Args:
        products: what the dense costs are products of.
        groups: the dependency groups; what ``ignored`` and ``frozen`` ones lose is 0.
        segments: by root.

    Attributes:
        roots: of the groups, in the order given.
        group_of: for each segment, the place of its group in ``roots``.
        widths: channels of each segment; 0 for one that is held.
        macs: of the whole network.
        params: of the whole network.

    Raises:
        InputError: a size cannot be followed, two sizes that must stay equal do not follow the
            same groups, or a count is a product of more than two widths; names the layer.
    """

    def __init__(
        self, products: Products, groups: Sequence[Group], segments: Mapping[str, Segments]
    ) -> None:
        self.roots = tuple(group.root for group in groups)
        lengths = [len(segments[root].widths) for root in self.roots]
        self.group_of = np.repeat(np.arange(len(groups)), lengths)
        moves = [not (group.ignored or group.frozen) for group in groups]
        self.widths = np.concatenate(
            [segments[root].widths * may for root, may in zip(self.roots, moves, strict=True)]
        ).astype(float)
        self._lost = _lost_by_axis(groups, segments)
        for meeting in products.meetings:
            if self._line(meeting.one) != self._line(meeting.other):
                raise InputError(
                    f"{meeting.where} needs {_words(meeting.one)} and {_words(meeting.other)} to "
                    "be equal, which they would not be once pruned: the network would not run, so "
                    "it has no cost"
                )
        self._splits = [
            (extent.size, line) for _, extent in products.splits if (line := self._line(extent))
        ]
        self._macs = [(term.layer, self._product(term)) for term in products.macs]
        self._params = [(term.layer, self._product(term)) for term in products.params]
        self.macs = self._total(self._macs)
        self.params = self._total(self._params)

    def runs(self, removed: Numbers) -> NDArray[np.bool_]:
        """Whether the network would run, for each column of ``removed``, shape (segments, ratios).

        It would not where channels cannot be shared out evenly, among heads for example.
        """
        whole = np.ones(removed.shape[1], dtype=bool)
        for size, line in self._splits:
            lost = sum(removed[segment] * float(size * share) for segment, share in line.items())
            whole &= np.abs(lost - np.rint(lost)) < 1e-6
        return whole

    def by_layer(self, removed: Numbers) -> dict[str, tuple[int, int]]:
        """MACs and parameters of each layer when ``removed``, shape (segments,), has gone."""
        found: dict[str, list[float]] = {}
        for place, products in enumerate((self._macs, self._params)):
            for layer, product in products:
                left = float(product.count)
                for line in product.lines:
                    left *= 1 - sum(
                        removed[segment] * float(share) for segment, share in line.items()
                    )
                found.setdefault(layer, [0.0, 0.0])[place] += left
        return {layer: (round(macs), round(params)) for layer, (macs, params) in found.items()}

    def _line(self, extent: Extent) -> Line:
        """What a size loses with one channel of each segment, as a share of the size."""
        line: Line = {}
        for axis, factor in extent.parts:
            for segment, taken in self._lost.get(axis, ()):
                line[segment] = (
                    line.get(segment, Fraction(0)) + Fraction(taken * factor) / extent.size
                )
        return line

    def _product(self, term: Term) -> _Product:
        hidden = next((extent.hidden for extent in term.factors if extent.hidden), "")
        if hidden and self.widths.any():
            raise InputError(
                f"the cost of layer `{term.layer}` cannot be expressed in the widths of the "
                f"groups: its {term.name} follows {hidden}, behind which a size is not known"
            )
        lines = tuple(line for extent in term.factors if (line := self._line(extent)))
        if len(lines) > 2:
            raise InputError(
                f"the cost of layer `{term.layer}` cannot be expressed as squares and products of "
                f"two widths: its {term.name} multiplies {len(lines)} that are cut"
            )
        return _Product(term.count, lines)

    def _total(self, products: Sequence[tuple[str, _Product]]) -> Polynomial:
        size = len(self.widths)
        constant, linear, quadratic = 0.0, np.zeros(size), np.zeros((size, size))
        for _, product in products:
            constant += product.count
            for line in product.lines:
                for segment, share in line.items():
                    linear[segment] += float(product.count * share)
            if len(product.lines) == 2:
                for row, first in product.lines[0].items():
                    for column, second in product.lines[1].items():
                        half = float(product.count * first * second / 2)
                        quadratic[row, column] += half
                        quadratic[column, row] += half
        return Polynomial(constant, linear, quadratic)


def _words(extent: Extent) -> str:
    """A size as its reader knows it."""
    layers = dict.fromkeys(f"`{layer}`" for (layer, _), _ in extent.parts)
    return f"the size {extent.size} of {', '.join(layers)}" if layers else f"a fixed {extent.size}"


def _lost_by_axis(
    groups: Sequence[Group], segments: Mapping[str, Segments]
) -> dict[Axis, list[tuple[int, int]]]:
    """For each axis that may be cut: how many of its channels go with one of each segment."""
    lost: dict[Axis, list[tuple[int, int]]] = {}
    start = 0
    for group in groups:
        found = segments[group.root]
        if not (group.ignored or group.frozen):
            for axis, taken in found.taken.items():
                some = ((start + place, int(count)) for place, count in enumerate(taken) if count)
                lost.setdefault(axis, []).extend(some)
        start += len(found.widths)
    return lost
