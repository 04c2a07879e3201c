"""The dependency graph: blocks as columns, groups as colours, additions as lanes below."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.records import DependencyGroup, DependencyMember, SubjectStudy
from analysis.reporting.coupling import Coupling
from analysis.reporting.figures.drawing import FILLS, INK, PAPER, Drawing, Legend, drawn
from analysis.reporting.figures.drawing import in_group as mark
from analysis.reporting.stages import stage_of
from analysis.reporting.tables import slug

__all__ = ["graph"]

_DARK = "#111111"
"""Of the numbers on the fills, which are light on dark screens as well."""

_WIDTH, _HEIGHT = 0.9, 0.7
_LEGIBLE = 0.3
"""Of a box, the least height that a number fits in."""


@dataclass
class _Canvas:
    """Where things are drawn, and what has been."""

    axes: Axes
    coupling: Coupling
    serial: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._numbers = {root: place for place, root in enumerate(self.coupling.keys)}

    def box(self, root: str, x: float, y: float, width: float, height: float) -> None:
        """A box of a group, with its number at its left end, or in its middle if it is small."""
        number = self._numbers.get(root)
        fill = PAPER if number is None else FILLS[number % len(FILLS)]
        patch = Rectangle((x, y), width, height, facecolor=fill, edgecolor=INK, linewidth=0.5)
        key = self.coupling.keys.get(root, "")
        mark(self.axes.add_patch(patch), key, self.serial)
        if number is not None and height >= _LEGIBLE:
            self.text(str(number + 1), x + min(width / 2, 0.45), y + height / 2, key)

    def text(self, text: str, x: float, y: float, key: str) -> None:
        found = self.axes.text(
            x, y, text, ha="center", va="center_baseline", fontsize=7, color=_DARK
        )
        mark(found, key, self.serial)


def graph(
    subject: SubjectStudy, coupling: Coupling, legend: tuple[Legend, ...], table: str
) -> Drawing:
    """Every layer that makes or reads channels, coloured by the groups of both."""
    columns = _columns(subject.groups)
    places = {stage: place for place, stage in enumerate(columns)}
    lanes = _lanes(subject.groups, places)
    depth = max(map(len, columns.values()), default=1)
    height = depth + 0.5 + 0.6 * (1 + max((lane for _, lane in lanes), default=-1))
    name = f"{slug(subject.info.name)}-graph"
    size = (max(9.0, 0.5 * len(columns) + 0.5), 1.5 + 0.3 * height)
    with drawn(name, size) as (figure, made):
        axes = figure.subplots()
        canvas = _Canvas(axes, coupling)
        for x, layers in enumerate(columns.values()):
            for y, layer in enumerate(layers):
                _layer(canvas, layer, x + 0.05, y + 0.15)
        for group, lane in lanes:
            _lane(canvas, group, places, depth + 0.5 + 0.6 * lane)
        axes.set(xlim=(0, len(columns)), ylim=(height, 0))
        axes.set_xticks([x + 0.5 for x in range(len(columns))], list(columns), rotation=60,
                        ha="left", rotation_mode="anchor", fontsize=8)  # fmt: skip
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.set_yticks([])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return Drawing(
        name,
        f"{subject.info.name}: which layers must be cut together",
        f"The layers of {subject.info.name}, one column a block, from the input at the left to "
        "the output at the right, and from the top to the bottom inside a block. The left half of "
        "a box has the number and the colour of the group whose channels the layer reads (of each, "
        "behind a concatenation), the right half of the group that it makes; a depthwise "
        "convolution passes its group on and is one box. Below, each bar is a group that additions "
        "hold together across blocks, with a plus where one adds.",
        made[0],
        table,
        legend,
    )


def _columns(groups: Iterable[DependencyGroup]) -> dict[str, list[DependencyMember]]:
    """By block, the layers that make or read channels, in the order of the model."""
    found: dict[str, DependencyMember] = {}
    for group in groups:
        for member in group.members:
            # Norms and the like pass channels on: they are of the group of what they follow.
            if "Norm" not in member.kind and member.kind != "PReLU":
                found.setdefault(member.layer, member)
    columns: dict[str, list[DependencyMember]] = {}
    for member in sorted(found.values(), key=lambda member: member.position):
        columns.setdefault(stage_of(member.layer), []).append(member)
    return columns


def _layer(canvas: _Canvas, member: DependencyMember, x: float, y: float) -> None:
    makes = canvas.coupling.makes.get(member.layer, "")
    reads = canvas.coupling.reads.get(member.layer, ("",))
    if member.kind.startswith("depthwise") or reads == (makes,):
        canvas.box(makes, x, y, _WIDTH, _HEIGHT)
        return
    part = _HEIGHT / len(reads)
    for place, root in enumerate(reads):
        canvas.box(root, x, y + part * place, _WIDTH / 2, part)
    canvas.box(makes, x + _WIDTH / 2, y, _WIDTH / 2, _HEIGHT)


def _lanes(
    groups: Iterable[DependencyGroup], places: dict[str, int]
) -> list[tuple[DependencyGroup, int]]:
    """The groups that additions join, each in the first lane where it meets no other."""
    ends: list[int] = []
    placed = []
    for group in groups:
        if not group.additions:
            continue
        first, last = _span(group, places)
        lane = next((lane for lane, end in enumerate(ends) if end < first), len(ends))
        ends[lane:] = [last, *ends[lane + 1 :]]
        placed.append((group, lane))
    return placed


def _span(group: DependencyGroup, places: dict[str, int]) -> tuple[int, int]:
    found = {stage_of(member.layer) for member in group.members} & places.keys()
    where = [places[stage] for stage in found] or [0]
    return min(where), max(where)


def _lane(canvas: _Canvas, group: DependencyGroup, places: dict[str, int], y: float) -> None:
    first, last = _span(group, places)
    # From the left edge of the first block, so that the number stands before the first addition.
    canvas.box(group.root, first + 0.05, y, last - first + _WIDTH, 0.3)
    key = canvas.coupling.keys.get(group.root, "")
    for place in sorted({places[s] for s in map(stage_of, group.additions) if s in places}):
        # An ellipse in the units of the axes would not be round; a marker is.
        dot = canvas.axes.plot(
            [place + 0.5], [y + 0.15], "o", markersize=9, markerfacecolor="#fafafa",
            markeredgecolor=INK, markeredgewidth=0.8,
        )[0]  # fmt: skip
        mark(dot, key, canvas.serial)
        canvas.text("+", place + 0.5, y + 0.15, key)
