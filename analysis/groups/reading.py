"""DepGraph's live groups, and the records that they become."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch_pruning as tp
from torch import nn

from analysis.errors import InputError
from analysis.network import layers as kinds
from analysis.network.modules import named_modules
from analysis.network.operators import Operators
from analysis.records import DependencyGroup, DependencyMember

__all__ = ["Reading", "is_even", "is_producer"]

_UNREAD_PARTS = "DepGraph reads the sizes of the parts of a split by a list of sizes, not of this"
"""It takes them from what autograd saves; of a chunk that is something else since PyTorch 2."""

_RENUMBERING = frozenset(
    kind
    for kind in tp.ops.OPTYPE
    if kind.name in ("CONCAT", "SPLIT", "RESHAPE", "UNBIND", "EXPAND", "SLICE")
)
"""Nodes of DepGraph behind which a channel has another number; torch-pruning 1.4 has no slices."""


class Reading:
    """DepGraph's live groups, and the records that they become.

    Attributes:
        live: the groups, in the order in which torch-pruning visits them.
        order: the place of each layer in the model, by its name.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Any,
        live: list[Any],
        operators: Operators,
        leaving: set[Any],
    ) -> None:
        self.live = live
        self._graph = graph
        self._operators = operators
        self._addition_of = operators.additions()
        self._product_of = operators.products()
        self._leaving = leaving
        modules = named_modules(model)
        self._names: dict[Any, str] = {module: name for name, module in modules.items()}
        self._names |= {parameter: name for name, parameter in model.named_parameters()}
        self.order = {name: index for index, name in enumerate(self._names.values())}
        self._outputs = {
            dep.target.module for items in live if self._is_output(items) for dep, _ in items
        }

    @cached_property
    def groups(self) -> tuple[DependencyGroup, ...]:
        """The records of the live groups, as they are when this is first asked for."""
        return tuple(self.group(items, turn) for turn, items in enumerate(self.live))

    def group(self, items: Any, turn: int) -> DependencyGroup:
        """The record of a live group, the one that torch-pruning visits in this turn."""
        producers = {
            dep.target.module
            for dep, _ in items
            if is_producer(dep.target.module) and self._axis(dep) == "out"
        }
        has_depthwise = any(kinds.filters_alone(dep.target.module) for dep, _ in items)
        members = tuple(
            self._member(item, items, len(producers), has_depthwise)
            for item in items
            if item.dep.target.module in self._names and self._width(item.dep) is not None
        )
        if not members:
            name = items[0].dep.target.name.split(" ")[0]
            raise InputError(
                f"the pruner's graph has a layer `{name}` that is none of the model's: it was "
                "replaced since the pruner was built; build the pruner on the model as it is"
            )
        return DependencyGroup(
            root=members[0].layer,
            width=members[0].width,
            members=members,
            additions=self._joining(items, self._addition_of),
            products=self._joining(items, self._product_of),
            is_output=self._is_output(items),
            untraced=next(self._misfits(items), ""),
            turn=turn,
        )

    def _joining(self, items: Any, modules: Mapping[Any, str]) -> tuple[str, ...]:
        """The modules whose operators of one kind are in a group, in forward order."""
        found = [modules[dep.target.grad_fn] for dep, _ in items if dep.target.grad_fn in modules]
        return tuple(sorted(found, key=self.order.__getitem__))

    def alone(self, name: str, module: Any) -> DependencyGroup:
        """A layer that is in no group of the pruner's."""
        width = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        member = DependencyMember(
            layer=name,
            kind=kinds.name_of_kind(module),
            axis="out",
            width=width,
            coupling="root",
            via="",
            reads=(),
            roots=tuple(range(width)),
            channel_groups=kinds.blocks_cut_alike(module),
            position=self.order[name],
            pointwise=kinds.is_pointwise(module),
        )
        return DependencyGroup(name, width, (member,), (), is_output=False, ignored=True)

    def _misfits(self, items: Any) -> Iterator[str]:
        """Members that DepGraph would cut beyond their last channel, in words."""
        for item in items:
            name, width = self._names.get(item.dep.target.module), self._width(item.dep)
            last = max(item.idxs, default=-1)  # a layer may have none
            if name is not None and width is not None and last >= width:
                yield (
                    f"DepGraph couples channel {last} of `{name}`, whose "
                    f"{self._axis(item.dep)}put axis has {width} channels; it arrives there "
                    f"through {self._crossed(item, items)}"
                )

    def _member(
        self, item: Any, items: Any, producers: int, has_depthwise: bool
    ) -> DependencyMember:
        dep, module, axis = item.dep, item.dep.target.module, self._axis(item.dep)
        width = self._width(dep) or 0
        roots, further = [-1] * width, []
        for index, root in zip(item.idxs, item.root_idxs, strict=True):
            if index < width and root is not None:
                if roots[index] >= 0:
                    further.append((index, roots[index]))
                roots[index] = root
        via = self._nearest_addition(dep, items) if producers > 1 and is_producer(module) else ""
        return DependencyMember(
            layer=self._names[module],
            kind=kinds.name_of_kind(module),
            axis=axis,
            width=width,
            coupling=self._coupling(item, items, axis, via, has_depthwise),
            via=via if axis == "out" else "",
            reads=tuple(dict.fromkeys(self._reads(dep.target))),
            roots=tuple(roots),
            channel_groups=kinds.blocks_cut_alike(module),
            position=self.order[self._names[module]],
            pointwise=kinds.is_pointwise(module),
            further=tuple(further),
        )

    def _crossed(self, item: Any, items: Any) -> str:
        """The operator that renumbers channels on the way to a member of the group."""
        nodes = [item.dep.source, *(dep.target for dep, _ in items)]
        node = next((node for node in nodes if node.type in _RENUMBERING), item.dep.source)
        is_split = node.type is tp.ops.OPTYPE.SPLIT
        is_unread = is_split and not hasattr(node.grad_fn, "_saved_split_sizes")
        return self._operators.of(node) + (f" ({_UNREAD_PARTS})" if is_unread else "")

    def _coupling(self, item: Any, items: Any, axis: str, via: str, has_depthwise: bool) -> str:
        module = item.dep.target.module
        if item is items[0]:
            return "root"
        if axis == "in":
            return "classifier input" if module in self._outputs else "sequence"
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return "batch norm"
        if kinds.filters_alone(module):
            return "depthwise"
        if not is_producer(module):
            return "per-channel"
        if via:
            return "residual addition"
        # The layer feeds a depthwise convolution that was met first.
        return "depthwise" if has_depthwise else "elementwise"

    def _width(self, dep: Any) -> int | None:
        """Channels of the axis; None for a layer with one value for all channels."""
        is_out = self._axis(dep) == "out"
        count = self._graph.get_out_channels if is_out else self._graph.get_in_channels
        width: int | None = count(dep.target)
        return width

    def _is_output(self, items: Any) -> bool:
        """Whether channels of the group leave the model."""
        return any(
            self._axis(dep) == "out"
            and not self._leaving.isdisjoint((dep.target.grad_fn, dep.target.module))
            for dep, _ in items
        )

    def _axis(self, dep: Any) -> str:
        return "out" if self._graph.is_out_channel_pruning_fn(dep.handler) else "in"

    def _nearest_addition(self, dep: Any, items: Any) -> str:
        """The first addition on the way that DepGraph came, or next to the root."""
        arrived_by: dict[Any, Any] = {}
        for other, _ in items:
            arrived_by.setdefault(other.target, other.source)
        node = dep.target
        while arrived_by[node] is not node:
            node = arrived_by[node]
            if node.grad_fn in self._addition_of:
                return self._addition_of[node.grad_fn]
        return ""

    def _reads(self, node: Any) -> Iterator[str]:
        """Names of the layers upstream of a node, with only functions in between."""
        pending, seen = list(node.inputs), set()
        while pending:
            upstream = pending.pop()
            if upstream in seen:
                continue
            seen.add(upstream)
            name = self._names.get(upstream.module)
            if name is None:
                pending.extend(upstream.inputs)
            else:
                yield name


def is_producer(module: Any) -> bool:
    """Dense convolutions and linear layers make channels; everything else passes them on."""
    return isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and not kinds.filters_alone(
        module
    )


def is_even(items: Any, group: DependencyGroup) -> bool:
    """Whether of a live group any channels go once each, in layers that are all as wide.

    So it is where no operator on the way gives a channel another number.
    """
    widths = {each.width for each in group.members}
    renumbered = any(dep.target.type in _RENUMBERING for dep, _ in items)
    return widths == {group.width} and not renumbered
