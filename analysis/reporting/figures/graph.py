"""The dependency graph: a row for each layer, a rail for each group, signs where groups join."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import nan

from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from analysis.records import DependencyGroup, DependencyMember, SubjectStudy
from analysis.reporting.coupling import Coupling
from analysis.reporting.figures.drawing import (
    FILLS,
    INK,
    MUTED,
    PAPER,
    RULE,
    Drawing,
    Legend,
    drawn,
)
from analysis.reporting.figures.drawing import in_group as mark
from analysis.reporting.tables import slug

__all__ = ["fills", "graph"]

_DARK = "#111111"
"""Of the numbers on the fills, which are light on dark screens as well."""

_ROW, _LANE, _BOX, _HIGH = 0.215, 0.36, 0.28, 0.165
"""Inches: the pitch of rows and of rails, and the size of a box."""

_LETTER = 0.078
"""Inches: of a layer's name."""

_SIGHT = 16
"""Rows above and below in which no other group has the same colour."""

_SIGNS = {"addition": "+", "product": "×"}


@dataclass(frozen=True)
class _Row:
    """A layer, or the place where a module joins tensors of one group.

    Attributes:
        name: of the layer or the module.
        kind: in words.
        makes: the group that the layer makes; of a join, the group that it is in.
        reads: the groups that the layer reads.
        sign: of a join.
        channels: read and made, in words.
    """

    name: str
    kind: str
    makes: str
    reads: tuple[str, ...] = ()
    sign: str = ""
    channels: str = ""

    @property
    def roots(self) -> tuple[str, ...]:
        """Every group that the row touches."""
        return tuple(dict.fromkeys(filter(None, (*self.reads, self.makes))))


@dataclass(frozen=True)
class _Rail:
    """A group from its first row to its last."""

    root: str
    first: int
    last: int
    lane: int = 0
    fill: str = ""


def fills(subject: SubjectStudy, coupling: Coupling) -> dict[str, str]:
    """By root, the colour of each group that is drawn."""
    return {rail.root: rail.fill for rail in _rails(_rows(subject, coupling))}


def graph(
    subject: SubjectStudy, coupling: Coupling, legend: tuple[Legend, ...], table: str
) -> Drawing:
    """Every layer that makes or reads channels, on the rails of the groups of both."""
    rows = _rows(subject, coupling)
    rails = _rails(rows)
    names = _LETTER * max((len(row.name) for row in rows), default=0) + 0.25
    edge = _LANE * (1 + max((rail.lane for rail in rails), default=0)) + 0.15
    size = (edge + names + 2.6, _ROW * (len(rows) + 2.2))
    name = f"{slug(subject.info.name)}-graph"
    with drawn(name, size) as (figure, made):
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
        axes.set_axis_off()
        canvas = _Canvas(axes, coupling, {rail.root: rail for rail in rails}, edge, names)
        canvas.key()
        for rail in rails:
            canvas.rail(rail)
        canvas.leaders(rows)
        for place, row in enumerate(rows):
            canvas.row(row, place)
    return Drawing(
        name,
        f"{subject.info.name}: which layers must be cut together",
        f"One row for each layer of {subject.info.name}, from the input to the output, with its "
        "kind and the channels that it reads and makes. Each vertical rail is a group, with its "
        "number and colour: a full box where a layer makes the group's channels or passes them on, "
        "an open one where it reads them. A plus is an addition, which joins everything that it "
        "adds; a cross is a product, as of a gate with what it scales.",
        made[0],
        table,
        legend,
    )


def _rows(subject: SubjectStudy, coupling: Coupling) -> list[_Row]:
    """The layers in the order of the model, each join behind the last layer of its module."""
    rows = [_layer(subject, coupling, member) for member in _members(subject.groups)]
    for group in subject.groups:
        for kind, modules in (("addition", group.additions), ("product", group.products)):
            for module, times in Counter(modules).items():
                row = _Row(module, _times(kind, times), group.root, sign=_SIGNS[kind])
                rows.insert(_place(rows, group.root, module), row)
    return rows


def _times(kind: str, times: int) -> str:
    return kind if times == 1 else f"{times} {kind}s"


def _place(rows: Sequence[_Row], root: str, module: str) -> int:
    """Behind the last layer in the module; in the model's own forward, behind the last maker."""
    inside = [
        place
        for place, row in enumerate(rows)
        if (row.name.startswith(f"{module}.") if module else row.makes == root and not row.sign)
    ]
    return inside[-1] + 1 if inside else len(rows)


def _members(groups: Sequence[DependencyGroup]) -> list[DependencyMember]:
    """The layers that make or read channels, in the order of the model."""
    found: dict[str, DependencyMember] = {}
    for group in groups:
        for member in group.members:
            # Norms and the like pass channels on: they are of the group of what they follow.
            if "Norm" not in member.kind and member.kind != "PReLU":
                found.setdefault(member.layer, member)
    return sorted(found.values(), key=lambda member: member.position)


def _layer(subject: SubjectStudy, coupling: Coupling, member: DependencyMember) -> _Row:
    makes = coupling.makes.get(member.layer, "")
    reads = () if member.kind.startswith("depthwise") else coupling.reads.get(member.layer, ())
    widths = {
        axis: sum(
            each.width
            for group in subject.groups
            for each in group.members
            if each.layer == member.layer and each.axis == axis
        )
        for axis in ("in", "out")
    }
    known = [f"{widths[axis]}" for axis in ("in", "out") if widths[axis]]
    return _Row(member.layer, _kind(subject, member), makes, reads, channels=" → ".join(known))


def _kind(subject: SubjectStudy, member: DependencyMember) -> str:
    """What the layer is to a reader of papers on such networks."""
    if member.kind.startswith("depthwise"):
        return "depthwise"
    if _is_gate(subject, member.layer):
        return "squeeze-excite"
    if member.pointwise:
        return "pointwise"
    return "convolution" if member.kind.startswith("Conv") else member.kind.lower()


def _is_gate(subject: SubjectStudy, layer: str) -> bool:
    """Whether it looks at one value a channel, in a module that multiplies with what comes out."""
    row = subject.costs.by_layer().get(layer)
    squeezed = row is not None and all(size == 1 for size in row.shape[2:])
    products = {module for group in subject.groups for module in group.products}
    return squeezed and any(layer.startswith(f"{module}.") for module in products if module)


def _rails(rows: Sequence[_Row]) -> list[_Rail]:
    """Every group from its first row to its last, in the first lane and colour that are free."""
    ends: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        for root in row.roots:
            ends.setdefault(root, [place, place])[1] = place
    found: list[_Rail] = []
    for root, (first, last) in sorted(ends.items(), key=lambda entry: entry[1]):
        rail = _Rail(root, first, last)
        found.append(replace(rail, lane=_free_lane(found, rail), fill=_free_fill(found, rail)))
    return found


def _free_lane(placed: Sequence[_Rail], rail: _Rail) -> int:
    taken = {other.lane for other in placed if other.last >= rail.first}
    return next(lane for lane in count() if lane not in taken)


def _free_fill(placed: Sequence[_Rail], rail: _Rail) -> str:
    """A colour of no group in sight; the one that is farthest away where all are."""
    seen = dict.fromkeys(FILLS, -_SIGHT)
    for other in placed:
        seen[other.fill] = max(seen[other.fill], other.last)
    # From where the last one stopped, so that all colours take their turn.
    start = FILLS.index(placed[-1].fill) + 1 if placed else 0
    turn = (*FILLS[start:], *FILLS[:start])
    free = [fill for fill in turn if seen[fill] + _SIGHT < rail.first]
    return free[0] if free else min(turn, key=seen.__getitem__)


@dataclass
class _Canvas:
    """Where rails and rows are drawn, in inches."""

    axes: Axes
    coupling: Coupling
    rails: dict[str, _Rail]
    edge: float
    names: float
    serial: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._numbers = {root: place for place, root in enumerate(self.coupling.keys, 1)}

    def key(self) -> None:
        """What the signs mean, above the first row."""
        y = 0.5 * _ROW
        for x, head in ((0, "layer"), (self.names, "kind"), (self.names + 1.25, "channels")):
            self._words(head, self.edge + x, y, MUTED)

    def rail(self, rail: _Rail) -> None:
        """A bar from a group's first row to its last."""
        x, top, bottom = self._x(rail.root), self._y(rail.first), self._y(rail.last)
        bar = Rectangle(
            (x - 0.035, top), 0.07, bottom - top, facecolor=rail.fill, edgecolor=MUTED,
            linewidth=0.3, clip_on=False,
        )  # fmt: skip
        mark(self.axes.add_patch(bar), self.coupling.keys.get(rail.root, ""), self.serial)

    def leaders(self, rows: Sequence[_Row]) -> None:
        """From the first box of each row to its name, all as one line with gaps."""
        xs: list[float] = []
        ys: list[float] = []
        for place, row in enumerate(rows):
            if row.roots:
                xs += [min(map(self._x, row.roots)), self.edge - 0.08, nan]
                ys += [self._y(place)] * 3
        self.axes.plot(xs, ys, color=RULE, linewidth=0.8, zorder=0.5, clip_on=False)

    def row(self, row: _Row, place: int) -> None:
        """A layer with its boxes, or a join with its sign; beside it what it is."""
        y = self._y(place)
        for root in row.reads:
            if root != row.makes and root:
                self._box(root, y, is_full=False)
        if row.sign:
            self._join(row, y)
        elif row.makes:
            self._box(row.makes, y, is_full=True)
        name = row.name or "(the model's own forward)"
        self._words(name, self.edge, y, MUTED if row.sign else INK)
        self._words(row.kind, self.edge + self.names, y, MUTED if row.sign else INK)
        self._words(row.channels, self.edge + self.names + 1.25, y, INK)

    def _box(self, root: str, y: float, *, is_full: bool) -> None:
        x, fill, key = self._x(root), self.rails[root].fill, self.coupling.keys.get(root, "")
        box = Rectangle(
            (x - _BOX / 2, y - _HIGH / 2), _BOX, _HIGH, facecolor=fill if is_full else PAPER,
            edgecolor=_DARK if is_full else fill, linewidth=0.5 if is_full else 1.6, zorder=2,
            clip_on=False,
        )  # fmt: skip
        mark(self.axes.add_patch(box), key, self.serial)
        self._number(root, x, y, _DARK if is_full else INK)

    def _join(self, row: _Row, y: float) -> None:
        x, key = self._x(row.makes), self.coupling.keys.get(row.makes, "")
        ring = Circle(
            (x, y), 0.085, facecolor=PAPER, edgecolor=INK, linewidth=0.8, zorder=2, clip_on=False
        )
        mark(self.axes.add_patch(ring), key, self.serial)
        text = self.axes.text(x, y, row.sign, ha="center", va="center", fontsize=9, color=INK)
        mark(text, key, self.serial)

    def _number(self, root: str, x: float, y: float, colour: str) -> None:
        number = self.axes.text(
            x, y, str(self._numbers[root]), ha="center", va="center_baseline", fontsize=7,
            color=colour, zorder=3,
        )  # fmt: skip
        mark(number, self.coupling.keys.get(root, ""), self.serial)

    def _words(self, text: str, x: float, y: float, colour: str) -> None:
        if text:
            self.axes.text(x, y, text, va="center", fontsize=8, color=colour)

    def _x(self, root: str) -> float:
        return _LANE * (self.rails[root].lane + 0.5)

    def _y(self, place: int) -> float:
        return _ROW * (place + 1.6)
