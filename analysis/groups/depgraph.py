"""Read the dependency groups out of torch-pruning's DepGraph.

DepGraph (https://arxiv.org/abs/2301.12900) couples layers whose channels must go together. This
module turns its live groups into records, and adds what it does not keep: which module's forward
executes each addition, and why each layer belongs to its group.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis.errors import BudgetExceededError, InputError, UnprunableError, upstream
from analysis.groups import inspecting, policies
from analysis.groups.reading import Reading, is_producer
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
from analysis.network.modules import named_modules
from analysis.network.operators import Operators, watched
from analysis.network.outputs import counted
from analysis.network.usable import check_usable
from analysis.processes import budgets
from analysis.records import DependencyGroup

__all__ = [
    "dependency_groups",
    "groups_cut_by",
    "ignored_by",
    "live_groups_of",
    "read",
]


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
    reading = _traced(model, example_inputs)
    seen = tuple(_as_seen(model, example_inputs, reading.groups))
    # Policies read the true groups, not DepGraph's.
    found = inspecting.labelled(model, example_inputs).groups if isinstance(chosen, str) else ()
    marked = policies.mark_ignored(seen, policies.ignored_layers(chosen, model, found))
    order = reading.order
    return tuple(sorted(marked, key=lambda group: min(order[layer] for layer in group.layers)))


def _traced(model: nn.Module, inputs: Inputs) -> Reading:
    """DepGraph's groups of a copy."""
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
    return Reading(traced, graph, live, operators, leaving)


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
    pruner: Any, model: nn.Module, inputs: Inputs, reading: Reading
) -> tuple[DependencyGroup, ...]:
    """What the pruner's own graph holds, and the frozen layers that it cannot see.

    These come from the labelled pass: a graph of our own might be another one than
    the pruner's, and may not end where that one does.
    """
    found = _of_own_graph(pruner, reading)
    if all(parameter.requires_grad for parameter in model.parameters()):
        return found
    frozen: list[DependencyGroup] = []
    makers = {name: module for name, module in model.named_modules() if is_producer(module)}
    ignored = set(ignored_by(pruner, model))
    unseen: dict[str, list[str]] = {}
    for group in inspecting.labelled(model, inputs).groups:
        made = [name for name in group.layers if name in makers]
        missing = [name for name in made if makers[name] not in pruner.DG.module2node]
        if missing and len(missing) == len(made):
            alone = reading.alone(missing[0], makers[missing[0]])
            frozen.append(replace(alone, frozen=True, ignored=not ignored.isdisjoint(made)))
        unseen |= dict.fromkeys(made, missing)
    seen = [_beside(group, unseen.get(group.root, [])) for group in found]
    return tuple(sorted([*seen, *frozen], key=lambda group: reading.order[group.root]))


def _beside(group: DependencyGroup, missing: Sequence[str]) -> DependencyGroup:
    """The group, whose channels go with those of layers that a pruner does not see."""
    if not missing or group.untraced:
        return group
    why = f"`{missing[0]}` is frozen, so that a pruner does not see what it is coupled with"
    return replace(group, untraced=why)


def _of_own_graph(pruner: Any, reading: Reading) -> tuple[DependencyGroup, ...]:
    """The groups that a pruner cuts, as its own graph has them, and the layers it excludes.

    Additions and outputs are not known of a graph that somebody else built. A layer in none of the
    pruner's groups is ignored, or coupled with one that is, and is listed alone.
    """
    graph, model = pruner.DG, pruner.model
    groups = [*reading.groups]
    seen = {layer for group in groups for layer in group.layers}
    for name, module in named_modules(model).items():
        if module in graph.module2node and is_producer(module) and name not in seen:
            groups.append(reading.alone(name, module))
    return tuple(sorted(groups, key=lambda group: reading.order[group.root]))


def live_groups_of(
    pruner: Any, ranked_as: Callable[[Any], Any], reading: Reading | None = None
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
    reading = reading or read(pruner)
    found: list[tuple[DependencyGroup, Any, DependencyGroup | None]] = []
    for items, group in zip(reading.live, reading.groups, strict=True):
        ranked = ranked_as(items)
        if ranked is None or ranked is items:
            found.append((group, ranked, None if ranked is None else group))
        else:
            record = replace(reading.group(ranked, group.turn), root=group.root)
            found.append((group, ranked, record))
    return found


def read(pruner: Any, inputs: Inputs | None = None) -> Reading:
    """The groups that a pruner's own graph yields.

    Args:
        pruner: any torch-pruning pruner.
        inputs: of the model, to name operators by its lines where a channel is misread.
    """
    operators = Operators(pruner.model, [], inputs)
    # Groups of ignored layers are not asked for: where an output is flattened they may be huge.
    live = list(_live_groups(pruner.DG, operators, pruner.ignored_layers, pruner.root_module_types))
    return Reading(pruner.model, pruner.DG, live, operators, set())


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
    model: nn.Module, inputs: Inputs, groups: Sequence[DependencyGroup]
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
        if is_producer(module):
            made_by.update(dict.fromkeys(nodes, module))
        if module is model:
            leaving.update(nodes, (made_by[node] for node in nodes & made_by.keys()))

    handles = [
        module.register_forward_hook(note)
        for module in model.modules()
        if module is model or is_producer(module)
    ]
    try:
        yield leaving
    finally:
        for handle in handles:
            handle.remove()
