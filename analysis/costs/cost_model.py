"""MACs and parameters as a polynomial in what the dependency groups lose.

Every operator's MACs and every parameter's elements are a product of sizes, of which mostly at
most two follow the groups: the channels that a layer makes and those that it reads. With x the
channels that each class of a group has lost, a size is s - l.x, so a count is
c (1 - l.x / s) (1 - m.x / t), and the sum over the network is the quadratic form
constant - linear.x + x.quadratic.x. A layer that reads the group it makes gives a square, a
concatenation a sum of widths, a norm or a depthwise convolution a line. A layer that is given rows
of a table which may go as well, as learned queries, gives a product of three, which is kept beside
the form.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np
from numpy.typing import NDArray

from analysis.pruning.channel_classes import ChannelClasses
from analysis.records import DependencyGroup

__all__ = ["CostModel", "Count", "Footprint", "Polynomial", "refined"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Wide:
    """A product of more than two sizes that follow the groups.

    Attributes:
        count: in the dense network.
        lines: by size, the share of it that goes with one channel of each class.
    """

    count: int
    lines: Numbers

    def saved(self, removed: Numbers) -> Numbers:
        """What is saved for each column of ``removed``, shape (classes, ratios)."""
        return np.asarray(self.count * (1 - (1 - self.lines @ removed).prod(0)))

    def shares(self, removed: Numbers) -> Numbers:
        """Each class's part of what is saved, as `Polynomial.shares`."""
        going = [np.polynomial.Polynomial([1, -lost]) for lost in self.lines @ removed]
        slopes = np.zeros(len(removed))
        for place, line in enumerate(self.lines):
            others = prod(going[:place] + going[place + 1 :], start=np.polynomial.Polynomial([1]))
            slopes += line * others.integ()(1)
        return self.count * removed * slopes


@dataclass(frozen=True, eq=False)
class Polynomial:
    """constant - linear.x + x.quadratic.x, in the channels x that each class has lost.

    Attributes:
        constant: the dense count.
        linear: shape (classes,).
        quadratic: symmetric, shape (classes, classes).
        wide: what is a product of more than two widths; the dense count has it.
    """

    constant: float
    linear: Numbers
    quadratic: Numbers
    wide: tuple[Wide, ...] = ()

    def at(self, removed: Numbers) -> NDArray[np.int64]:
        """The count for each column of ``removed``, shape (classes, ratios)."""
        squares = np.einsum("sr,sr->r", removed, self.quadratic @ removed)
        saved = self.linear @ removed - squares + sum(each.saved(removed) for each in self.wide)
        return np.rint(self.constant - saved).astype(np.int64)

    @property
    def of_one(self) -> Numbers:
        """By class what the first of its channels saves, shape (classes,)."""
        one = np.eye(len(self.linear))
        wide = sum(each.saved(one) for each in self.wide)
        return np.asarray(self.linear - self.quadratic.diagonal() + wide)

    def shares(self, removed: Numbers) -> Numbers:
        """Each class's part of what is saved when ``removed``, shape (classes,), has gone.

        The Shapley value (Shapley 1953) of the game in which the classes lose their channels: the
        mean, over all orders in which they may go, of what each saves when its turn comes. For a
        quadratic form it is the channels lost times the slope half way, which is also the
        Aumann-Shapley value (Aumann and Shapley 1974): a product of two widths is shared by
        halves. Of wider products it is the latter. The parts sum to the saving.
        """
        wide = sum(each.shares(removed) for each in self.wide)
        return np.asarray(removed * (self.linear - self.quadratic @ removed) + wide)

    def scaled(self, widths: Numbers) -> tuple[float, float, float] | None:
        """a, b, c of a (1 - r)^2 + b (1 - r) + c, what is left when the classes lose r of theirs.

        None where products of more widths are in it.

        Args:
            widths: channels of each class, shape (classes,); 0 for one that is excluded.
        """
        if self.wide:
            return None
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

    def left(self, removed: Numbers) -> float:
        """The count when ``removed``, shape (classes,), has gone."""
        left = float(self.count)
        for line in self.lines:
            left *= 1 - sum(removed[place] * float(share) for place, share in line.items())
        return left


Footprint = Mapping[str, NDArray[np.int64]]
"""By root of a group, how many positions of a size go with each of its channels."""


@dataclass(frozen=True, eq=False)
class Count:
    """A count that is a product of sizes: an operator's MACs, or a parameter's elements.

    Attributes:
        layer: the module that it is charged to; empty for what the model's own forward calls.
        name: the operator or the parameter.
        count: in the dense network.
        sizes: of what follows the groups, each with its footprint.
    """

    layer: str
    name: str
    count: int
    sizes: tuple[tuple[int, Footprint], ...]


class CostModel:
    """The costs of one network as functions of what its groups lose.

    Args:
        macs: what the dense MACs are products of.
        params: what the numbers of elements of the parameters are.
        groups: the groups.
        moving: roots of those that may lose channels; what others lose is 0.
        classes: by root, the channels that cost the same; see `refined`.
        copies: of tied parameters, that a cut makes two of; none where it leaves them one.

    Attributes:
        roots: of the groups, in the order given.
        group_of: for each class, the place of its group in ``roots``.
        widths: channels of each class; 0 for one that stays.
        macs: of the whole network.
        params: of the whole network, but for copies.
    """

    def __init__(
        self,
        macs: Sequence[Count],
        params: Sequence[Count],
        groups: Sequence[DependencyGroup],
        moving: Collection[str],
        classes: Mapping[str, ChannelClasses],
        copies: Sequence[Count] = (),
    ) -> None:
        self.roots = tuple(group.root for group in groups)
        lengths = [len(classes[root].widths) for root in self.roots]
        self.group_of = np.repeat(np.arange(len(groups)), lengths)
        moves = [root in moving for root in self.roots]
        widths = [classes[root].widths * may for root, may in zip(self.roots, moves, strict=True)]
        self.widths = np.concatenate([np.zeros(0), *widths])
        # Of each class one channel, which stands for all of them.
        starts = np.cumsum([0, *lengths])
        self._first = {
            root: (start, np.unique(classes[root].of_channel, return_index=True)[1])
            for root, start, may in zip(self.roots, starts, moves, strict=False)
            if may
        }
        self._macs = [(count.layer, self._product(count)) for count in macs]
        self._params = [(count.layer, self._product(count)) for count in params]
        self._copies = [(count.layer, self._product(count)) for count in copies]
        self.macs = self._total(self._macs)
        self.params = self._total(self._params)

    def params_at(self, removed: Numbers) -> NDArray[np.int64]:
        """Parameters for each column of ``removed``, shape (classes, ratios), with copies."""
        copies = (sum(left for _, left, _ in self.copies(column)) for column in removed.T)
        return self.params.at(removed) + np.rint([*copies]).astype(np.int64)

    def copies(self, removed: Numbers) -> Iterator[tuple[str, float, list[int]]]:
        """What is left of each copy when ``removed``, shape (classes,), has gone.

        With the layer that gets it and the places of the groups that cut the tensor: one that
        nothing is cut of stays one.
        """
        for layer, product in self._copies:
            classes = [place for line in product.lines for place in line if removed[place]]
            if classes:
                yield layer, product.left(removed), np.unique(self.group_of[classes]).tolist()

    def by_layer(self, removed: Numbers) -> dict[str, tuple[int, int]]:
        """MACs and parameters of each layer when ``removed``, shape (classes,), has gone."""
        found: dict[str, list[float]] = {}
        for place, products in enumerate((self._macs, self._params)):
            for layer, product in products:
                found.setdefault(layer, [0.0, 0.0])[place] += product.left(removed)
        for layer, left, _ in self.copies(removed):
            found.setdefault(layer, [0.0, 0.0])[1] += left
        return {layer: (round(macs), round(params)) for layer, (macs, params) in found.items()}

    def _line(self, size: int, footprint: Footprint) -> Line:
        """What a size loses with one channel of each class, as a share of the size."""
        line: Line = {}
        for root, counts in footprint.items():
            start, first = self._first.get(root, (0, ()))
            for place, channel in enumerate(first):
                if counts[channel]:
                    line[start + place] = Fraction(int(counts[channel]), size)
        return line

    def _product(self, count: Count) -> _Product:
        return _Product(
            count.count, tuple(line for each in count.sizes if (line := self._line(*each)))
        )

    def _total(self, products: Sequence[tuple[str, _Product]]) -> Polynomial:
        size = len(self.widths)
        constant, linear, quadratic = 0.0, np.zeros(size), np.zeros((size, size))
        wide: list[Wide] = []
        for _, product in products:
            constant += product.count
            if len(product.lines) > 2:
                wide.append(Wide(product.count, _dense(product.lines, size)))
                continue
            for line in product.lines:
                for channel_class, share in line.items():
                    linear[channel_class] += float(product.count * share)
            if len(product.lines) == 2:
                for row, first in product.lines[0].items():
                    for column, second in product.lines[1].items():
                        half = float(product.count * first * second / 2)
                        quadratic[row, column] += half
                        quadratic[column, row] += half
        return Polynomial(constant, linear, quadratic, tuple(wide))


def _dense(lines: Sequence[Line], size: int) -> Numbers:
    rows = np.zeros((len(lines), size))
    for row, line in zip(rows, lines, strict=True):
        row[list(line)] = [float(share) for share in line.values()]
    return rows


def refined(classes: ChannelClasses, footprints: Iterable[NDArray[np.int64]]) -> ChannelClasses:
    """The classes of a group's channels, split where these sizes depend on them differently."""
    # The same sizes come from many layers; np.unique along an axis compares all of them each time.
    different = {row.tobytes(): row.tolist() for row in (classes.of_channel, *footprints)}
    rows = np.array(sorted(different.values()), np.int64)
    order = np.lexsort(rows[::-1])
    columns = rows[:, order]
    starts = np.flatnonzero(np.append(True, (columns[:, 1:] != columns[:, :-1]).any(0)))
    widths = np.diff(starts, append=len(order))
    of_channel = np.empty(len(order), np.int64)
    of_channel[order] = np.repeat(np.arange(len(starts)), widths)
    first = order[starts]
    return ChannelClasses(
        of_channel=of_channel,
        widths=widths,
        taken={axis: counts[classes.of_channel[first]] for axis, counts in classes.taken.items()},
    )
