"""MACs and parameters as a polynomial in what the dependency groups lose.

Every operator's MACs and every parameter's elements are a product of sizes, of which at most two
follow the groups: the channels that a layer makes and those that it reads. With x the channels
that each class of a group has lost, a size is s - l.x, so a count is
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
from analysis.pruning.channel_classes import ChannelClasses
from analysis.records import Axis, DependencyGroup, Extent, Meeting, Products, Term

__all__ = ["CostModel", "Polynomial"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Polynomial:
    """constant - linear.x + x.quadratic.x, in the channels x that each class has lost.

    Attributes:
        constant: the dense count.
        linear: shape (classes,).
        quadratic: symmetric, shape (classes, classes).
    """

    constant: float
    linear: Numbers
    quadratic: Numbers

    def at(self, removed: Numbers) -> NDArray[np.int64]:
        """The count for each column of ``removed``, shape (classes, ratios)."""
        squares = np.einsum("sr,sr->r", removed, self.quadratic @ removed)
        return np.rint(self.constant - self.linear @ removed + squares).astype(np.int64)

    def shares(self, removed: Numbers) -> Numbers:
        """Each class's part of what is saved when ``removed``, shape (classes,), has gone.

        The Shapley value (Shapley 1953) of the game in which the classes lose their channels: the
        mean, over all orders in which they may go, of what each saves when its turn comes. For a
        quadratic form it is the channels lost times the slope half way, which is also the
        Aumann-Shapley value (Aumann and Shapley 1974): a product of two widths is shared by
        halves. The parts sum to the saving.
        """
        return removed * (self.linear - self.quadratic @ removed)

    def scaled(self, widths: Numbers) -> tuple[float, float, float]:
        """a, b, c of a (1 - r)^2 + b (1 - r) + c, what is left when the classes lose r of theirs.

        Args:
            widths: channels of each class, shape (classes,); 0 for one that is excluded.
        """
        square = float(widths @ self.quadratic @ widths)
        line = float(self.linear @ widths)
        return square, line - 2 * square, self.constant - line + square


Line = dict[int, Fraction]
"""By class, the share of a size that goes with one of its channels."""


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
        classes: by root.

    Attributes:
        roots: of the groups, in the order given.
        group_of: for each class, the place of its group in ``roots``.
        widths: channels of each class; 0 for one that is excluded.
        macs: of the whole network.
        params: of the whole network.

    Raises:
        InputError: a count is a product of more than two widths; names the layer.
    """

    def __init__(
        self,
        products: Products,
        groups: Sequence[DependencyGroup],
        classes: Mapping[str, ChannelClasses],
    ) -> None:
        self.roots = tuple(group.root for group in groups)
        lengths = [len(classes[root].widths) for root in self.roots]
        self.group_of = np.repeat(np.arange(len(groups)), lengths)
        moves = [group.prunable for group in groups]
        self.widths = np.concatenate(
            [classes[root].widths * may for root, may in zip(self.roots, moves, strict=True)]
        ).astype(float)
        self._lost = _lost_by_axis(groups, classes)
        self._meetings = [
            (self._difference(meeting), meeting)
            for meeting in products.meetings
            if self._line(meeting.one) != self._line(meeting.other)
        ]
        self._splits = [
            (self._vector(self._line(extent)) * extent.size, extent.size, where)
            for where, extent in products.splits
        ]
        self._hidden = next(
            (
                (term, extent.hidden)
                for term in products.macs
                for extent in term.factors
                if extent.hidden
            ),
            None,
        )
        self._macs = [(term.layer, self._product(term)) for term in products.macs]
        self._params = [(term.layer, self._product(term)) for term in products.params]
        self.macs = self._total(self._macs)
        self.params = self._total(self._params)

    def obstacle(self, removed: Numbers) -> list[str]:
        """Why there is no cost, for each column of ``removed``; empty where there is one.

        The network would not run where two sizes that an operator needs equal are cut differently,
        or channels cannot be shared out evenly, among heads for example; and behind an operator
        that hides a size, a cost is not known.
        """
        found = [""] * removed.shape[1]
        if self._hidden is not None:
            term, operator = self._hidden
            _note(
                found,
                np.asarray(removed.any(0)),
                f"the cost of layer `{term.layer}` cannot be expressed in the widths of the "
                f"groups: its {term.name} follows {operator}, behind which a size is not known",
            )
        for difference, meeting in self._meetings:
            _note(
                found,
                np.abs(difference @ removed) > _ROUNDING,
                f"{meeting.where} needs {_words(meeting.one)} and {_words(meeting.other)} to be "
                "equal, which they are not once pruned: the network does not run",
            )
        for vector, size, where in self._splits:
            lost = vector @ removed
            _note(
                found,
                np.abs(lost - np.rint(lost)) > _ROUNDING,
                f"{where} shares channels out evenly, {size} to each part of the dense network, "
                "which is not possible once pruned: the network does not run",
            )
        return found

    def _vector(self, line: Line) -> Numbers:
        vector = np.zeros(len(self.widths))
        for channel_class, share in line.items():
            vector[channel_class] = float(share)
        return vector

    def _difference(self, meeting: Meeting) -> Numbers:
        one, other = (self._vector(self._line(each)) for each in (meeting.one, meeting.other))
        return (one - other) * meeting.one.size

    def by_layer(self, removed: Numbers) -> dict[str, tuple[int, int]]:
        """MACs and parameters of each layer when ``removed``, shape (classes,), has gone."""
        found: dict[str, list[float]] = {}
        for place, products in enumerate((self._macs, self._params)):
            for layer, product in products:
                left = float(product.count)
                for line in product.lines:
                    left *= 1 - sum(
                        removed[channel_class] * float(share)
                        for channel_class, share in line.items()
                    )
                found.setdefault(layer, [0.0, 0.0])[place] += left
        return {layer: (round(macs), round(params)) for layer, (macs, params) in found.items()}

    def _line(self, extent: Extent) -> Line:
        """What a size loses with one channel of each class, as a share of the size."""
        line: Line = {}
        for axis, factor in extent.parts:
            for channel_class, taken in self._lost.get(axis, ()):
                line[channel_class] = (
                    line.get(channel_class, Fraction(0)) + Fraction(taken * factor) / extent.size
                )
        return line

    def _product(self, term: Term) -> _Product:
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
                for channel_class, share in line.items():
                    linear[channel_class] += float(product.count * share)
            if len(product.lines) == 2:
                for row, first in product.lines[0].items():
                    for column, second in product.lines[1].items():
                        half = float(product.count * first * second / 2)
                        quadratic[row, column] += half
                        quadratic[column, row] += half
        return Polynomial(constant, linear, quadratic)


_ROUNDING = 1e-6
"""Channels; lost ones are whole, or parts of one that a small number divides."""


def _note(found: list[str], where: NDArray[np.bool_], message: str) -> None:
    """Write a message to the places that have none."""
    for place in np.flatnonzero(where):
        found[place] = found[place] or message


def _words(extent: Extent) -> str:
    """A size as its reader knows it."""
    layers = dict.fromkeys(f"`{layer}`" for (layer, _), _ in extent.parts)
    return f"the size {extent.size} of {', '.join(layers)}" if layers else f"a fixed {extent.size}"


def _lost_by_axis(
    groups: Sequence[DependencyGroup], classes: Mapping[str, ChannelClasses]
) -> dict[Axis, list[tuple[int, int]]]:
    """For each axis that may be cut: how many of its channels go with one of each class."""
    lost: dict[Axis, list[tuple[int, int]]] = {}
    start = 0
    for group in groups:
        found = classes[group.root]
        if group.prunable:
            for axis, taken in found.taken.items():
                some = ((start + place, int(count)) for place, count in enumerate(taken) if count)
                lost.setdefault(axis, []).extend(some)
        start += len(found.widths)
    return lost
