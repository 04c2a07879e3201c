"""Read the dependency groups out of torch-pruning's DepGraph.

DepGraph (https://arxiv.org/abs/2301.12900) couples layers whose channels must go together. This
module turns its live groups into records, and adds what it does not keep: which module's forward
executes each addition, and why each layer belongs to its group.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis.errors import BudgetExceededError, InputError, UnprunableError, upstream
from analysis.groups import inspecting, policies
from analysis.network import layers as kinds
from analysis.network.failures import locate_failure
from analysis.network.gradients import NO_GRADIENT, differentiable_outputs
from analysis.network.inference import (
    Inputs,
    aliased,
    as_arguments,
    copy_of,
    left_as_found,
    names_of,
    tensors_of,
)
from analysis.network.operators import Operators, watched
from analysis.network.outputs import counted
from analysis.network.usable import check_usable
from analysis.processes import budgets
from analysis.records import DependencyGroup, DependencyMember

__all__ = [
    "dependency_groups",
    "groups_cut_by",
    "ignored_by",
    "live_groups_of",
    "read",
]

_UNREAD_PARTS = "DepGraph reads the sizes of the parts of a split by a list of sizes, not of this"
"""It takes them from what autograd saves; of a chunk that is something else since PyTorch 2."""

_RENUMBERING = frozenset(
    kind
    for kind in tp.ops.OPTYPE
    if kind.name in ("CONCAT", "SPLIT", "RESHAPE", "UNBIND", "EXPAND", "SLICE")
)
"""Nodes of DepGraph behind which a channel has another number; torch-pruning 1.4 has no slices."""


def dependency_groups(
    model: nn.Module, example_inputs: Inputs, ignored_layers: Any = ()
) -> tuple[DependencyGroup, ...]:
    """The dependency groups of a model, in the order the model defines them.

    The model is not changed: DepGraph traces a copy. Frozen layers are traced too.

    Args:
        model: any module that torch-pruning can trace.
        example_inputs: a tensor, a tuple or a dict.
        ignored_layers: whose output channels must stay: modules or names, a policy's name or a
            function of the model; the groups of these are listed all the same, with ``ignored``
            set.

    Raises:
        InputError: an ignored layer is not part of the model, or it does not run on the inputs.
        UnprunableError: torch-pruning raised while it traced the model.
    """
    check_usable(model)
    # A wrong name is refused before the model is traced.
    chosen = policies.choice_of(ignored_layers, model)
    reader, live, _ = _traced(model, example_inputs)
    groups = [reader.group(items, turn) for turn, items in enumerate(live)]
    seen = tuple(_as_seen(model, example_inputs, groups))
    # Policies read the true groups, not DepGraph's.
    found = inspecting.labelled(model, example_inputs).groups if isinstance(chosen, str) else ()
    marked = policies.mark_ignored(seen, policies.ignored_layers(chosen, model, found))
    order = reader.order
    return tuple(sorted(marked, key=lambda group: min(order[layer] for layer in group.layers)))


def _traced(model: nn.Module, inputs: Inputs) -> tuple["_Reader", list[Any], Operators]:
    """DepGraph's live groups of a copy, what turns them into records, and the operators called."""
    traced = aliased(model, requires_grad=True)
    args, kwargs = as_arguments(inputs)
    try:
        with (
            left_as_found(model),
            torch.enable_grad(),
            watched(traced) as operators,
            _outputs(traced) as leaving,
            upstream("building the dependency graph", operators.blamed),
        ):
            graph = tp.DependencyGraph().build_dependency(
                # A bare tensor would be unpacked along its batch axis and tried unbatched first.
                traced,
                example_inputs=kwargs or args,
                output_transform=_differentiable,
                ignored_params=[],  # torch-pruning 1.4 iterates over its default, None
                verbose=False,
            )
    except UnprunableError:
        with left_as_found(model):
            failure = locate_failure(traced, inputs)
        if failure is not None:
            raise InputError(f"the model does not run on the example inputs: {failure}") from None
        raise
    live = list(_live_groups(graph, operators))
    return _Reader(traced, graph, live, operators, leaving), live, operators


def _differentiable(output: Any) -> list[Tensor]:
    """The outputs that DepGraph traces backward from, of a network all of whose weights could.

    Raises:
        UnprunableError: there is none.
    """
    found = differentiable_outputs(output)
    if not found:
        raise UnprunableError(NO_GRADIENT)
    return found


def ignored_by(pruner: Any, model: nn.Module) -> tuple[str, ...]:
    """Names of the layers that a pruner ignores; it takes modules of other models too."""
    own = set(model.modules())
    return names_of([layer for layer in pruner.ignored_layers if layer in own], model)


def groups_cut_by(
    pruner: Any, model: nn.Module, inputs: Inputs, reading: "Reading"
) -> tuple[DependencyGroup, ...]:
    """What the pruner's own graph holds, and the frozen layers that it cannot see.

    These come from the labelled pass: a graph of our own might be another one than
    the pruner's, and may not end where that one does.
    """
    found = _of_own_graph(pruner, *reading)
    if all(parameter.requires_grad for parameter in model.parameters()):
        return found
    reader, frozen = _Reader(model, pruner.DG, [], Operators(model, []), set()), []
    makers = {name: module for name, module in model.named_modules() if _is_producer(module)}
    ignored = set(ignored_by(pruner, model))
    unseen: dict[str, list[str]] = {}
    for group in inspecting.labelled(model, inputs).groups:
        made = [name for name in group.layers if name in makers]
        missing = [name for name in made if makers[name] not in pruner.DG.module2node]
        if missing and len(missing) == len(made):
            alone = reader.alone(missing[0], makers[missing[0]])
            frozen.append(replace(alone, frozen=True, ignored=not ignored.isdisjoint(made)))
        unseen |= dict.fromkeys(made, missing)
    seen = [_beside(group, unseen.get(group.root, [])) for group in found]
    return tuple(sorted([*seen, *frozen], key=lambda group: reader.order[group.root]))


def _beside(group: DependencyGroup, missing: Sequence[str]) -> DependencyGroup:
    """The group, whose channels go with those of layers that a pruner does not see."""
    if not missing or group.untraced:
        return group
    why = f"`{missing[0]}` is frozen, so that a pruner does not see what it is coupled with"
    return replace(group, untraced=why)


def _of_own_graph(pruner: Any, reader: "_Reader", live: list[Any]) -> tuple[DependencyGroup, ...]:
    """The groups that a pruner cuts, as its own graph has them, and the layers it excludes.

    Additions and outputs are not known of a graph that somebody else built. A layer in none of the
    pruner's groups is ignored, or coupled with one that is, and is listed alone.
    """
    graph, model = pruner.DG, pruner.model
    groups = [reader.group(items, turn) for turn, items in enumerate(live)]
    seen = {layer for group in groups for layer in group.layers}
    for name, module in model.named_modules():
        if module in graph.module2node and _is_producer(module) and name not in seen:
            groups.append(reader.alone(name, module))
    return tuple(sorted(groups, key=lambda group: reader.order[group.root]))


def live_groups_of(
    pruner: Any, ranked_as: Callable[[Any], Any], reading: "Reading | None" = None
) -> list[tuple[DependencyGroup, Any, DependencyGroup | None]]:
    """The groups that a pruner may cut in its next step, in the order in which it visits them.

    Args:
        pruner: any torch-pruning pruner.
        ranked_as: live group -> the live group that is ranked in its place, or None.
        reading: of the pruner as it is; None reads it.

    Returns:
        For each group its record, the live group that is ranked, and that one's record under the
        name of the first; the last two are None where none is ranked.
    """
    reader, live = reading or read(pruner)
    found: list[tuple[DependencyGroup, Any, DependencyGroup | None]] = []
    for turn, items in enumerate(live):
        group, ranked = reader.group(items, turn), ranked_as(items)
        if ranked is None or ranked is items:
            found.append((group, ranked, None if ranked is None else group))
        else:
            found.append((group, ranked, replace(reader.group(ranked, turn), root=group.root)))
    return found


def read(pruner: Any, inputs: Inputs | None = None) -> "Reading":
    """The live groups that a pruner's own graph yields, and what turns them into records.

    Args:
        pruner: any torch-pruning pruner.
        inputs: of the model, to name operators by its lines where a channel is misread.
    """
    operators = Operators(pruner.model, [], inputs)
    # Groups of ignored layers are not asked for: where an output is flattened they may be huge.
    live = list(_live_groups(pruner.DG, operators, pruner.ignored_layers, pruner.root_module_types))
    return _Reader(pruner.model, pruner.DG, live, operators, set()), live


def _live_groups(
    graph: Any,
    operators: Operators,
    ignored: Sequence[nn.Module] = (),
    roots: Sequence[type] = kinds.ROOTS,
) -> Iterator[Any]:
    """All groups, one budgeted step each: on some networks a group takes for ever."""
    groups = graph.get_all_groups(list(ignored), roots)
    after = "the first dependency group"
    while True:
        with (
            budgets.step(f"reading {after}"),
            upstream("reading the dependency groups", operators.blamed),
            _looping_at(operators),
        ):
            group = next(groups, None)
        if group is None:
            return
        after = f"the dependency group after that of {operators.of(group[0].dep.target)}"
        yield group


@contextmanager
def _looping_at(operators: Operators) -> Iterator[None]:
    """Name what DepGraph was looking at when the time ended."""
    try:
        yield
    except BudgetExceededError as error:
        with budgets.undisturbed():
            place = operators.blamed(error)
        error.at = f", at {place}" if place else ""
        raise


def _as_seen(
    model: nn.Module, inputs: Inputs, groups: list[DependencyGroup]
) -> Iterator[DependencyGroup]:
    """The groups with what a pruner built on the model as it is would not find marked."""
    if all(parameter.requires_grad for parameter in model.parameters()):
        yield from groups
        return
    traced = copy_of(model)
    args, kwargs = as_arguments(inputs)
    with left_as_found(model), torch.enable_grad(), upstream("building the dependency graph"):
        graph = tp.DependencyGraph().build_dependency(
            traced,
            example_inputs=kwargs or args,
            output_transform=differentiable_outputs,
            ignored_params=[],
            verbose=False,
        )
    names = {module: name for name, module in traced.named_modules()}
    seen = {names.get(module) for module in graph.module2node}
    for group in groups:
        made = [each.layer for each in group.members if each.axis == "out"]
        layers = [name for name in made if name in names.values()]
        missing = [name for name in layers if name not in seen]
        if len(missing) == len(layers):
            yield replace(group, frozen=True)
        else:
            yield _beside(group, missing)


@contextmanager
def _outputs(model: nn.Module) -> Iterator[set[Any]]:
    """Collect the autograd nodes of the model's outputs, and the layers that made them.

    DepGraph keeps one node for a layer that is called several times, so the layer is kept too.
    """
    made_by: dict[Any, nn.Module] = {}
    leaving: set[Any] = set()

    def note(module: nn.Module, _args: Any, output: Any) -> None:
        # Only the model has outputs that do not count.
        nodes = {tensor.grad_fn for tensor in tensors_of(counted(module, output))}
        if _is_producer(module):
            made_by.update(dict.fromkeys(nodes, module))
        if module is model:
            leaving.update(nodes, (made_by[node] for node in nodes & made_by.keys()))

    handles = [
        module.register_forward_hook(note)
        for module in model.modules()
        if module is model or _is_producer(module)
    ]
    try:
        yield leaving
    finally:
        for handle in handles:
            handle.remove()


class _Reader:
    """Turns DepGraph's live groups into records."""

    def __init__(
        self,
        model: nn.Module,
        graph: Any,
        live: list[Any],
        operators: Operators,
        leaving: set[Any],
    ) -> None:
        self._graph = graph
        self._operators = operators
        self._addition_of = operators.additions()
        self._product_of = operators.products()
        self._leaving = leaving
        self._names: dict[Any, str] = {module: name for name, module in model.named_modules()}
        self._names |= {parameter: name for name, parameter in model.named_parameters()}
        self.order = {name: index for index, name in enumerate(self._names.values())}
        self._outputs = {
            dep.target.module for items in live if self._is_output(items) for dep, _ in items
        }

    def group(self, items: Any, turn: int) -> DependencyGroup:
        """The record of a live group, the one that torch-pruning visits in this turn."""
        producers = {
            dep.target.module
            for dep, _ in items
            if _is_producer(dep.target.module) and self._axis(dep) == "out"
        }
        has_depthwise = any(kinds.filters_alone(dep.target.module) for dep, _ in items)
        members = tuple(
            self._member(item, items, len(producers), has_depthwise)
            for item in items
            if item.dep.target.module in self._names and self._width(item.dep) is not None
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
        via = self._nearest_addition(dep, items) if producers > 1 and _is_producer(module) else ""
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
        if not _is_producer(module):
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


def _is_producer(module: Any) -> bool:
    """Dense convolutions and linear layers make channels; everything else passes them on."""
    return isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and not kinds.filters_alone(
        module
    )


Reading = tuple[_Reader, list[Any]]
