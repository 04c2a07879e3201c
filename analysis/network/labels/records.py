"""What a labelled pass leaves behind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.network.labels.planes import Labels
from analysis.records import FVCORE

__all__ = [
    "Block",
    "Choice",
    "Combining",
    "Edge",
    "Hold",
    "Inner",
    "Numbered",
    "Option",
    "Place",
    "Read",
    "Source",
    "Space",
    "Step",
    "Trace",
]  # fmt: skip


Inner = tuple[tuple[CodeType, int], ...]
"""Lines of PyTorch's own Python between a line of the user's and an operator, the last first."""


@dataclass(frozen=True)
class Place:
    """Where an operator is called.

    Attributes:
        operator: its name, as ATen's functional form.
        module: the module in whose forward it is called; empty for the model's own.
        line: ``file.py:12`` of the user's code; empty where there is none.
    """

    operator: str
    module: str
    line: str

    def __str__(self) -> str:
        where = f"`{self.module}`" if self.module else "the model's own forward"
        return f"`{self.operator}` in {where}" + (f" ({self.line})" if self.line else "")


@dataclass(frozen=True, eq=False)
class Space:
    """The products that an operator takes, or the elements that it visits: of which labels.

    Their number is ``constant`` times, for each plane, the labels of it that stay.

    Attributes:
        kind: ``product``; or the normalisation or pooling that visits elements.
        planes: the labels of what varies.
        constant: the number of all else.
    """

    kind: str
    planes: tuple[Labels, ...]
    constant: int

    @property
    def size(self) -> int:
        """Products in the dense network."""
        return self.constant * prod(plane.size for plane in self.planes)

    def size_without(self, removed: NDArray[np.bool_]) -> int:
        """Products that are left, where ``removed`` says of each label whether it has gone."""
        left = (plane.size - int(np.count_nonzero(removed[plane])) for plane in self.planes)
        return self.constant * prod(left)


@dataclass(frozen=True, eq=False)
class Read:
    """Channels that an operator sums over: which arrive at each position of its axis.

    ``tensor`` is the parameter that it is multiplied with there and ``dim`` that one's dimension;
    empty for a product of two activations.
    """

    tensor: str
    dim: int
    labels: Labels


Source = str | tuple[int, int] | None
"""What a tensor is: a tensor of the model, by name; which call made it, and as which of its
results, a copy as what it is of; None for an input or a constant of the pass."""


@dataclass(eq=False)
class Step:
    """One operator that channels arrive at.

    Attributes:
        place: where it is called.
        turn: which of the calls there it is, from 1.
        inner: the lines of PyTorch's own that call it there.
        shapes: of its results.
        planes: of its results.
        given: shapes of its operands.
        sources: what made its operands.
        weights: names of the model's tensors among its operands, as they are or in other places;
            those of most dimensions first.
        constants: what it was given beside tensors.
        spaces: the products that it takes.
        reads: channels that it sums over.
        makes: dimensions of parameters whose positions are channels of the result.
        arriving: the planes of its operands.
        within: the function of several operators that calls it; empty for none.
        of_inputs: whether an operand is an input of the model, or made of one.
        is_fixed: whether channels meet a tensor in it that keeps its size.
        by_values: whether values decide the sizes of what it returns, or of what it is given, as a
            router does for tokens that go to an expert.
    """

    place: Place
    turn: int
    inner: Inner = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    planes: tuple[tuple[Tensor, ...], ...] = ()
    given: tuple[tuple[int, ...], ...] = ()
    sources: tuple[Source, ...] = ()
    weights: tuple[str, ...] = ()
    constants: tuple[Any, ...] = ()
    spaces: list[Space] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    makes: list[tuple[str, int]] = field(default_factory=list)
    arriving: tuple[Labels, ...] = ()
    within: str = ""
    by_values: bool = False
    of_inputs: bool = False
    is_fixed: bool = False


@dataclass(frozen=True, eq=False)
class Edge:
    """Labels that are coupled, position by position, and by what."""

    step: int
    why: str
    one: Labels
    other: Labels


@dataclass(frozen=True, eq=False)
class Block:
    """Labels that represent all labels of a row: they are removed only if all of these are."""

    step: int
    labels: Labels
    rows: Labels


@dataclass(frozen=True, eq=False)
class Hold:
    """Labels that cannot go, and why.

    Attributes:
        step: the operator that keeps them; -1 for none.
        why: one of `analysis.network.labels.reasons`.
        labels: what stays.
        detail: what a trial cut has shown there.
    """

    step: int
    why: str
    labels: Labels
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Option:
    """One way in which an operator can be right after a cut.

    Attributes:
        name: in words.
        one, other: labels that go together, position by position.
        held: labels that cannot go.
        why: the reason for that; the name where it is empty.
    """

    name: str
    one: Labels
    other: Labels
    held: Labels
    why: str = ""


@dataclass(frozen=True, eq=False)
class Choice:
    """An operator that one pass cannot tell how it follows a cut: what to try, in this order."""

    step: int
    labels: Labels
    options: tuple[Option, ...]


@dataclass(frozen=True, eq=False)
class Combining:
    """Something taken over channels that is not the same without those that are zero.

    Attributes:
        step: the operator that takes it.
        what: in words.
        rows: the labels that it is taken over, a row for each time.
    """

    step: int
    what: str
    rows: Labels

    def changed(self, removed: NDArray[np.bool_]) -> Labels:
        """The rows of which some have gone, and not all, where a number says which have."""
        gone = removed[self.rows] & (self.rows > 0)
        stays = ~removed[self.rows] & (self.rows > 0)
        return self.rows[gone.any(1) & stays.any(1)]


@dataclass(frozen=True, eq=False)
class Numbered:
    """A use of positions of channels: a cut gives those behind it others.

    Attributes:
        call: the operator that uses them, among all of the pass.
        rows: the labels of which they are positions, a row for each place.
        others: the labels at the positions of what they look up; None if they look up no channels.
        values: what is made of each position; None where each is another number.
        along: an operand and a dimension of it along which they look something up, that is no
            channels if it keeps its size.
        is_taken: whether the forward's own code gets them, and may look channels up.
        cancels: whether what is the same in several positions may have cancelled out.
    """

    call: int
    rows: Labels
    others: Labels | None = None
    values: NDArray[Any] | None = None
    along: tuple[int, int] | None = None
    is_taken: bool = False
    cancels: bool = False

    @property
    def is_used(self) -> bool:
        """Whether a number of a channel is used, as far as is known, so that it must stay."""
        if self.others is not None:
            return not np.isin(self.others, self.rows).any()
        are_alike = self.values is not None and bool((self.values == self.values[:1]).all())
        return not (self.is_taken or are_alike)

    def changed(self, removed: NDArray[np.bool_]) -> bool:
        """Whether a channel that stays has another number, where one says which have gone."""
        gone, after = _places_left(self.rows, removed)
        before = np.broadcast_to(np.arange(gone.shape[1]), gone.shape)
        is_same = before == after
        if self.others is not None:
            others_gone, others = _places_left(self.others, removed)
            count = min(gone.shape[1], others.shape[1])
            gone, after = gone[:, :count], after[:, :count]
            is_same = (after == others[:, :count]) & ~others_gone[:, :count]
        elif self.values is not None:
            count = min(gone.shape[1], len(self.values))
            gone, before, after = gone[:, :count], before[:, :count], after[:, :count]
            is_same = (self.values[before] == self.values[after.clip(0)]).all(-1)
        if self.cancels and np.unique((before - after)[~gone]).size < 2:
            return False
        return not (is_same | gone).all()


def _places_left(
    rows: Labels, removed: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which labels of rows have gone, and at which place each is among those that stay."""
    gone = removed[rows]
    return gone, (~gone).cumsum(1) - 1


@dataclass(eq=False)
class Trace:
    """One labelled pass.

    Attributes:
        starts: by parameter or buffer and dimension, the label of position 0.
        sizes: the same, positions.
        steps: the operators that channels arrive at, in order.
        calls: every operator, in order.
        returned: by module the shape of the first tensor that each call of it returns.
        edges: what they couple.
        blocks: labels that represent several.
        holds: labels that cannot go.
        choices: what one pass cannot tell.
        combined: what is taken over channels.
        numbered: what positions of channels are used for.
        laid: results that have something for each channel along a dimension, by their positions.
        pairs: labels that represent two, of planes that lie along the same dimensions: such a one
            goes when either does.
        halves: the same by label: the two that each represents.
        used: names of the parameters and buffers that are used.
        output: what the output is made of: types, keys and dtypes.
        left: what made the tensors of the output.
        count: the first label that is free.
        asks_sizes: whether the network's code may know the size of any tensor; if it does not, it
            goes the same way at every size.
    """

    starts: Mapping[tuple[str, int], int]
    sizes: Mapping[tuple[str, int], int]
    steps: list[Step] = field(default_factory=list)
    calls: list[Step] = field(default_factory=list)
    returned: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    combined: list[Combining] = field(default_factory=list)
    numbered: list[Numbered] = field(default_factory=list)
    laid: list[Numbered] = field(default_factory=list)
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)
    halves: dict[int, tuple[int, int]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    output: Any = None
    left: tuple[Source, ...] = ()
    count: int = 1
    asks_sizes: bool = True

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the pass, by fvcore's rules."""
        return self._counted(lambda space: space.size)

    def macs_without(self, removed: NDArray[np.bool_]) -> int:
        """The same of a network in which each operator has lost these labels and no more."""
        return self._counted(lambda space: space.size_without(removed))

    def _counted(self, size: Callable[[Space], int]) -> int:
        spaces = (space for call in self.calls for space in call.spaces)
        return sum(FVCORE[space.kind] * size(space) for space in spaces if space.kind in FVCORE)

    @cached_property
    def _axes(self) -> tuple[list[tuple[str, int]], Labels]:
        return list(self.starts), np.fromiter(self.starts.values(), np.int32, len(self.starts))

    def axes_of(self, plane: Tensor) -> list[tuple[str, int]]:
        """The tensors' dimensions that the labels of a plane are positions of."""
        found, labels = [], [int(plane.max())]
        for label in labels:
            labels.extend(self.halves.get(label, ()))
            found.append(self.axis_at(label))
        return [axis for axis in found if axis[0]]

    def axis_at(self, label: int) -> tuple[str, int]:
        """The tensor and dimension that a label is a position of; no name where it is of none."""
        axes, starts = self._axes
        place = int(np.searchsorted(starts, label, side="right")) - 1
        return axes[place] if place >= 0 and label < self.base else ("", 0)

    @cached_property
    def base(self) -> int:
        """The first label that is no position of a tensor."""
        return 1 + sum(self.sizes.values())

    def labels(self, tensor: str, dim: int) -> Labels:
        """The labels of a tensor's axis."""
        start = self.starts[tensor, dim]
        return self._all[start : start + self.sizes[tensor, dim]]

    @cached_property
    def _all(self) -> Labels:
        labels = np.arange(self.base, dtype=np.int32)
        labels.flags.writeable = False
        return labels
