"""The groups of a network: which channels go together, why, and what keeps them."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.groups import policies
from analysis.groups.by_class import couple_unread, is_turned, unread
from analysis.groups.coupling import Classes, joined
from analysis.groups.heads import ways
from analysis.groups.positions import in_order, positions_of
from analysis.groups.trying import learn
from analysis.network.computed_weights import way_out
from analysis.network.cutting import Repeated
from analysis.network.inference import Inputs, collector_paused, left_as_found
from analysis.network.labels.planes import Labels, distinct
from analysis.network.labels.reasons import ADVICE, OUTPUT
from analysis.network.labels.records import Hold
from analysis.network.layers import is_depthwise
from analysis.network.outputs import only_outputs
from analysis.network.owners import layer_of
from analysis.network.passed import Passed, Term, followed
from analysis.network.restoring import restored
from analysis.network.usable import check_usable
from analysis.processes import budgets
from analysis.records import FVCORE, HEADS, Coupling, Group, Member, Repeats

__all__ = ["Labelled", "inspect_groups", "labelled"]


def inspect_groups(
    model: nn.Module,
    example_inputs: Inputs,
    ignored_layers: Any = (),
    *,
    outputs: Sequence[str] = (),
) -> tuple[Group, ...]:
    """The groups of channels that go together, in the order in which they are made.

    The network is run once with labelled channels, and a few times with some of them cut; the
    model is not changed. What cannot be followed somewhere is held there, with the reason.

    Args:
        model: any module.
        example_inputs: a tensor, a tuple or a dict.
        ignored_layers: whose output channels must stay: modules or names, a policy's name or a
            function of the model; the groups of these are listed all the same, with ``ignored``
            set.
        outputs: which outputs count, as in `analysis.verify`; none lets all count.

    Raises:
        InputError: an ignored layer is not part of the model, it does not run on the inputs, or
            puts out nothing at one of ``outputs``.
    """
    check_usable(model)
    # A wrong name is refused before the model is run.
    chosen = policies.choice_of(ignored_layers, model)
    with only_outputs(model, outputs):
        groups = labelled(model, example_inputs, HEADS[0]).groups
    return policies.mark_ignored(groups, policies.ignored_layers(chosen, model, groups))


def labelled(model: nn.Module, example_inputs: Inputs, heads: str | None = None) -> "Labelled":
    """Follow the channels of a model, and learn what a cut must respect.

    Args:
        model: any module.
        example_inputs: a tensor, a tuple or a dict.
        heads: how attention is to be cut where its code leaves that open, one of
            `analysis.records.HEADS`; None takes the first way that is found.

    Raises:
        InputError: the model does not run on the inputs.
    """
    with restored(model), left_as_found(model), collector_paused():
        started = time.process_time()
        trace = followed(model, example_inputs)
        took = time.process_time() - started
        limit = max(_LEAST, _TIMES * took) if budgets.can_be_held() else None
        couple_unread(trace, model)
        learnt = learn(model, example_inputs, trace, limit, ways(trace, heads) if heads else ())
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    return Labelled(trace, modules, parameters, learnt.classes, learnt.repeated)


_LEAST, _TIMES = 3.0, 20
"""Seconds of the processor that a cut network may take, and as a multiple of what it takes before.

For a loop that calls no operator; one that does is ended by their number.
"""


Tensors = tuple[str, int]
"""Name of a parameter or buffer, and a dimension of it."""


@dataclass(frozen=True, eq=False)
class _Axis:
    """An axis that groups are cut along.

    Attributes:
        classes: of each position.
        is_sorted: whether it has each class once, in order.
        member: makes what a group says of it, but for the positions.
    """

    classes: Labels
    is_sorted: bool
    member: Callable[..., Member]

    def cut(self, classes: Labels) -> Member:
        """What a group with these classes says of it."""
        return self.member(positions=positions_of(self.classes, classes, is_sorted=self.is_sorted))


@dataclass(frozen=True, eq=False)
class Labelled(Passed):
    """A network whose channels were followed, in the pass over the dense network.

    Attributes:
        classes: labels that go together, and those that stay.
        repeated: attributes that have to follow a cut.
    """

    classes: Classes
    repeated: tuple[Repeated, ...] = ()

    @cached_property
    def makers(self) -> tuple[Tensors, ...]:
        """The axes whose positions are channels of an operator's result, in order."""
        made = (axis for step in self.trace.steps for axis in step.makes)
        return tuple(axis for axis in dict.fromkeys(made) if axis in self.trace.starts)

    @cached_property
    def readers(self) -> frozenset[Tensors]:
        """The axes whose positions are summed over, or would be if their tensor were read."""
        reads = (read for step in self.trace.steps for read in step.reads if read.tensor)
        spare = (each for each in unread(self.trace, self.modules[""]) if each.kind == "in")
        return frozenset([*((read.tensor, read.dim) for read in reads), *(e.axis for e in spare)])

    @cached_property
    def labels(self) -> tuple[Labels, ...]:
        """For each group the label of each channel: of the axis that names it."""
        of = self.classes.of
        makers = [of[self.trace.labels(*axis)] for axis in self.makers]
        found: list[tuple[int, Labels]] = []
        for places in joined(makers):
            whole = np.unique(np.concatenate([makers[place] for place in places]))
            # As a residual addition behind a concatenation, that joins what two layers make.
            named = next((p for p in places if len(np.unique(makers[p])) == len(whole)), None)
            if named is not None:
                found.append((min(places), self.trace.labels(*self.makers[named])))
            else:
                found += self._parted(places, makers)
        return tuple(labels for _, labels in sorted(found, key=lambda each: each[0]))

    def _parted(
        self, places: Sequence[int], makers: Sequence[Labels]
    ) -> Iterator[tuple[int, Labels]]:
        """The channels that the same layers make, where none makes all of them."""
        marks = np.random.default_rng(0).integers(1, 2**62, len(makers))
        signature = np.zeros(len(self.classes.of), np.int64)
        for place in places:
            signature[np.unique(makers[place])] += marks[place]
        seen: set[int] = set()
        for place in places:
            own = signature[makers[place]]
            for sign in dict.fromkeys(own.tolist()):
                if sign not in seen:
                    seen.add(sign)
                    yield place, self.trace.labels(*self.makers[place])[own == sign]

    @cached_property
    def group_of(self) -> NDArray[np.int32]:
        """For each label the place of its group; -1 for one that belongs to none."""
        by_class = np.full(len(self.classes.of), -1, np.int32)
        for place, labels in enumerate(self.labels):
            by_class[self.classes.of[labels]] = place
        return np.asarray(by_class[self.classes.of])

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """What goes together, in the order in which it is made."""
        couplings = self._couplings()
        costs = self._costs()
        return tuple(
            self._group(*each)
            for each in zip(self.labels, self._axes, couplings, costs, strict=True)
        )

    def _group(
        self,
        labels: Labels,
        axes: Sequence[Tensors],
        couplings: Sequence[Coupling],
        costs: tuple[int, int],
    ) -> Group:
        classes = self.classes.of[labels]
        free = classes[self.classes.held[labels] < 0]
        hold = None if free.size else self.classes.why(int(labels[0]))
        is_output = bool(np.isin(self._leaving, classes).any())
        return Group(
            name=self._maker(axes[0]),
            width=len(labels),
            members=tuple(self._cut_along[axis].cut(classes) for axis in axes),
            couplings=tuple(couplings),
            together=positions_of(classes, in_order(free), is_sorted=False) if free.size else (),
            held="" if hold is None else OUTPUT if is_output else self.reason(hold),
            is_output=is_output,
            macs=costs[0],
            params=costs[1],
            repeats=tuple(self._repeats(classes)),
        )

    def _repeats(self, classes: Labels) -> Iterator[Repeats]:
        """Numbers that modules keep of channels of these classes."""
        for each in self.repeated:
            own = self.classes.of[each.labels]
            if np.isin(own, classes).all():
                channels = tuple(int(np.flatnonzero(classes == label)[0]) for label in own)
                yield Repeats(each.module, each.name, each.value, channels)

    @cached_property
    def _leaving(self) -> Labels:
        """Classes of the channels that leave the model."""
        rows = [hold.labels for hold in self.trace.holds if hold.why == OUTPUT]
        return self.classes.of[np.concatenate([np.zeros(0, np.int32), *rows])]

    def reason(self, hold: Hold) -> str:
        """Why channels stay, and where."""
        if hold.why == OUTPUT:
            return OUTPUT
        if not 0 <= hold.step < len(self.trace.steps):
            return hold.why
        place = self.trace.steps[hold.step].place
        what = ": ".join(filter(None, [f"{hold.why} at {place}", hold.detail]))
        advice = way_out(self.modules[""], place.module) or ADVICE.get(hold.why, "")
        return "; ".join(filter(None, [what, advice]))

    @cached_property
    def _axes(self) -> tuple[list[Tensors], ...]:
        """For each group the axes that it is cut along, that which names it first."""
        found: tuple[list[Tensors], ...] = tuple([] for _ in self.labels)
        for axis in self.trace.starts:
            own = self.trace.labels(*axis)
            for group in distinct(self.group_of[own]):
                if group >= 0:
                    named = own[0] <= self.labels[group][0] <= own[-1]
                    found[group].insert(0 if named else len(found[group]), axis)
        return found

    @cached_property
    def _cut_along(self) -> Mapping[Tensors, "_Axis"]:
        """The axes of all tensors, of which a concatenation has many groups cut the same one."""
        found = {}
        read = self.readers - {*self.makers}
        for name, dim in self.trace.starts:
            layer = layer_of(name)
            module = self.modules.get(layer)
            kind = type(module).__name__ if module is not None else "Parameter"
            own = self.classes.of[self.trace.labels(name, dim)]
            found[name, dim] = _Axis(
                classes=own,
                is_sorted=bool((own[1:] > own[:-1]).all()),
                member=partial(
                    Member,
                    layer=layer,
                    kind=f"depthwise {kind}" if is_depthwise(module) else kind,
                    axis="in" if (name, dim) in read else "out",
                    tensor=name,
                    dim=dim,
                    width=len(own),
                    turned=self._unless_turned(layer, (name, dim)) != layer,
                ),
            )
        return found

    def _couplings(self) -> list[list[Coupling]]:
        found: list[dict[tuple[str, str], Coupling]] = [{} for _ in self.labels]
        counted: list[set[tuple[int, str]]] = [set() for _ in self.labels]
        for step, why, labels in self._coupled():
            place = self.trace.steps[step].place if step >= 0 else None
            module = place.module if place else ""
            for group in distinct(self.group_of[labels]):
                if group < 0 or (step, why) in counted[group]:
                    continue
                counted[group].add((step, why))
                known = found[group].get((why, module))
                found[group][why, module] = (
                    replace(known, times=known.times + 1)
                    if known
                    else Coupling(why, place.operator, place.module, place.line)
                    if place
                    else Coupling(why)
                )
        return [list(each.values()) for each in found]

    def _coupled(self) -> Iterator[tuple[int, str, Labels]]:
        """Operators that couple, why, and which labels."""
        for edge in self.trace.edges:
            if edge.why != "bias":
                yield edge.step, edge.why, edge.one
        uses = Counter(
            axis[0] for step in self.trace.steps for axis in {*step.makes, *_read_by(step.reads)}
        )
        dims = Counter(name for name, _ in {*self.makers, *self.readers})
        for name, times in uses.items():
            if times > dims[name]:
                for axis in self.trace.starts:
                    if axis[0] == name:
                        yield -1, "shared", self.trace.labels(*axis)
        for axis in self.readers & self.trace.starts.keys():
            own = self.trace.labels(*axis)
            if len(distinct(self.group_of[own])) > 1:
                yield -1, "concatenation", own
        for number, step in enumerate(self.trace.steps):
            for read in step.reads:
                labels, counts = np.unique(read.labels, return_counts=True)
                if read.tensor and (counts[labels > 0] > 1).any():
                    yield number, "flattening", labels[(labels > 0) & (counts > 1)]

    def _costs(self) -> list[tuple[int, int]]:
        """MACs and parameters that are there only because of each group."""
        count = len(self.labels)
        macs, params = np.zeros(count), np.zeros(count)
        for found, terms in ((macs, self.products), (params, self.elements)):
            for term in terms:
                _add_lost(found, [self.group_of[plane] for plane in term.planes], term.constant)
        return [(int(one), int(other)) for one, other in zip(macs, params, strict=True)]

    @cached_property
    def products(self) -> tuple[Term, ...]:
        """What the MACs are products of, as fvcore counts them."""
        return tuple(
            Term(
                self.charged(step),
                step.place.operator,
                space.planes,
                FVCORE[space.kind] * space.constant,
            )
            for step in self.trace.steps
            for space in step.spaces
            if space.kind in FVCORE
        )

    def _maker(self, axis: Tensors) -> str:
        """The layer that makes channels with a tensor: of several that share it, the one called."""
        shared = self.parameters.get(axis[0])
        for module in self._called_by[axis]:
            owned = self.modules[module]._parameters.values() if module in self.modules else ()
            if any(own is shared for own in owned if own is not None):
                return self._unless_turned(module, axis) or axis[0]
        return self._unless_turned(layer_of(axis[0]), axis)

    def _unless_turned(self, layer: str, axis: Tensors) -> str:
        """The layer, or the tensor along another dimension of which its class makes channels."""
        tensor, dim = axis
        own = self.parameters.get(tensor)
        is_other = own is not None and is_turned(self.modules.get(layer), own, dim)
        return tensor if is_other else layer

    @cached_property
    def _called_by(self) -> Mapping[Tensors, Sequence[str]]:
        """By axis the modules whose forward makes channels with it, in order."""
        found: dict[Tensors, list[str]] = defaultdict(list)
        for step in self.trace.steps:
            for axis in step.makes:
                found[axis].append(step.place.module)
        return found

    def arriving_at(self, layer: str) -> Labels | None:
        """Labels that arrive at a convolution, whose weight holds a part of them if it is grouped.

        None where it is not called.
        """
        for step in self.trace.steps:
            if step.place.module == layer and step.place.operator == "convolution":
                return step.arriving[0]
        return None

    def left_without(self, groups: Collection[int]) -> tuple[int, int]:
        """MACs and parameters when these groups have lost all of their channels."""
        gone = np.isin(self.group_of, list(groups))
        macs, params = (
            sum(term.left(gone) for term in terms) for terms in (self.products, self.elements)
        )
        return macs, params


def _read_by(reads: Sequence[Any]) -> list[Tensors]:
    return [(read.tensor, read.dim) for read in reads if read.tensor]


def _add_lost(lost: NDArray[np.float64], planes: Sequence[Labels], constant: int) -> None:
    """Add what is lost without each group's positions."""
    whole = constant * prod(plane.size for plane in planes)
    left = np.full(len(lost), float(constant))
    for plane in planes:
        left *= plane.size - np.bincount(plane + 1, minlength=len(lost) + 1)[1:]
    lost += whole - left
