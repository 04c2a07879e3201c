"""Cuts by torch-pruning's pruners and groups, and the naive cut."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from numpy.typing import NDArray
from torch import nn

from analysis.errors import InputError, an, upstream
from analysis.network.gradients import differentiable_outputs
from analysis.network.inference import Inputs, as_arguments, copy_of, named_tensors
from analysis.network.layers import kind_of
from analysis.network.modules import named_modules
from analysis.processes import budgets
from analysis.pruning.group_pruner import GroupCut
from analysis.records import Config, Cut, Removal

__all__ = [
    "IMPORTANCES",
    "Ledger",
    "build_pruner",
    "cut_alone",
    "prune_groups",
    "replay",
    "step",
]

Blame = Callable[[BaseException], str]

IMPORTANCES = {
    "l1": lambda: tp.importance.MagnitudeImportance(p=1),
    "l2": lambda: tp.importance.MagnitudeImportance(p=2),
}
"""torch-pruning's importance for each name."""


def build_pruner(
    model: nn.Module,
    example_inputs: Inputs,
    config: Config,
    ignored: Collection[str],
    blame: Blame | None = None,
) -> Any:
    """torch-pruning's MagnitudePruner on ``model``, ready to step.

    Args:
        model: the network that will be pruned.
        example_inputs: a tensor, a tuple or a dict.
        config: the request.
        ignored: names of the ignored layers.
        blame: see `analysis.errors.upstream`.

    Raises:
        UnprunableError: torch-pruning raised.
    """
    args, kwargs = as_arguments(example_inputs)
    modules = dict(model.named_modules())
    with upstream("building the pruner", blame):
        return tp.pruner.MagnitudePruner(
            model,
            example_inputs=kwargs or args,
            output_transform=differentiable_outputs,
            importance=IMPORTANCES[config.importance](),
            global_pruning=config.scope == "global",
            pruning_ratio=config.ratio,
            max_pruning_ratio=config.max_pruning_ratio,
            ignored_layers=[modules[name] for name in ignored],
            round_to=config.round_to,
            # Its default is one dict shared by every pruner of the process (torch-pruning 1.6).
            out_channel_groups={},
            in_channel_groups={},
            num_heads={},
        )


def step(
    pruner: Any, history: "Ledger | None" = None, blame: Blame | None = None
) -> Iterator[tuple[Removal, Removal]]:
    """Run one step of any torch-pruning pruner, yielding each group just before it is cut.

    All importances of a step are ranked before torch-pruning's pruners yield its first group.

    Args:
        pruner: any torch-pruning pruner.
        history: the ledger of a run of several steps; None for a single step.
        blame: see `analysis.errors.upstream`.

    Yields:
        The group with indices of the network before the step, and of the network that ``history``
        started from.

    Raises:
        InputError: the pruner's step cannot be run group by group.
        UnprunableError: the pruner raised.
    """
    graph = getattr(pruner, "DG", None)
    since_start = history or Ledger(graph)
    # Before anything has gone both number channels alike.
    own = Ledger(graph) if since_start.has_cuts else since_start
    with upstream("ranking", blame):
        groups = pruner.step(interactive=True)
    if groups is None:
        raise InputError(
            f"{type(pruner).__name__}.step(interactive=True) returned None; expected it to yield "
            "groups, as torch-pruning's own pruners do"
        )
    for group in _ranked(groups, blame):
        if isinstance(group, GroupCut):
            removal = group.removal
            yield removal, group.since_start
        elif any(idxs for _, idxs in group):
            removal = own.removal(group)
            yield removal, removal if own is since_start else since_start.removal(group)
        else:
            continue  # torch-pruning also yields groups of which nothing ranks low enough
        pruning = f"pruning the group of `{removal.root}`"
        with budgets.step(pruning), upstream(pruning, blame):
            group.prune()


def _ranked(groups: Iterator[Any], blame: Blame | None) -> Iterator[Any]:
    """The generator's groups; it ranks when the first is asked for."""
    after = ""
    while True:
        # The code behind its last group is no ranking.
        doing = f"the step{after}," if after else "ranking"
        with budgets.step(f"ranking{after}"), upstream(doing, blame):
            group = next(groups, None)
        if group is None:
            return
        is_own = isinstance(group, GroupCut)
        root = group.removal.root if is_own else group[0].dep.target.name.split(" ")[0]
        after = f", after the group of `{root}` was cut"
        yield group


def replay(pruner: Any, history: Iterable[tuple[Any, ...]]) -> None:
    """Repeat a pruning on the pruner's model.

    Args:
        pruner: a fresh one of torch-pruning's on a model of the dense structure.
        history: what ``pruner.pruning_history()`` said of the first one.

    Raises:
        UnprunableError: torch-pruning raised.
    """
    with upstream("repeating the pruning from its history"):
        pruner.load_pruning_history([list(entry) for entry in history])


def prune_groups(
    model: nn.Module, example_inputs: Inputs, channels: Mapping[str, Collection[int]]
) -> list[Removal]:
    """Cut channels of some layers together with DepGraph's whole groups for them.

    Args:
        model: the network that is pruned, in place.
        example_inputs: a tensor, a tuple or a dict.
        channels: by layer, the indices of the output channels to remove.

    Raises:
        UnprunableError: torch-pruning raised.
    """
    args, kwargs = as_arguments(example_inputs)
    with upstream("building the dependency graph"):
        graph = tp.DependencyGraph().build_dependency(
            model,
            example_inputs=kwargs or args,
            output_transform=differentiable_outputs,
            ignored_params=[],
            verbose=False,
        )
    modules, ledger = dict(model.named_modules()), Ledger(graph)
    removals = []
    for root, going in channels.items():
        with upstream(f"pruning the group of `{root}`"):
            prune = graph.get_pruner_of_module(modules[root]).prune_out_channels
            group = graph.get_pruning_group(modules[root], prune, list(going))
        removals.append(ledger.removal(group))
        with upstream(f"pruning the group of `{root}`"):
            group.prune()
    return removals


class Ledger:
    """Keeps, for each axis cut so far, the original indices that are left."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._alive: dict[tuple[str, str, int | None], NDArray[np.int64]] = {}
        self._width: dict[tuple[str, str, int | None], int] = {}

    @property
    def has_cuts(self) -> bool:
        """Whether any group was cut."""
        return bool(self._alive)

    def removal(self, group: Any) -> Removal:
        """Record a group that is about to be cut."""
        cuts = tuple(cut for dep, idxs in group for cut in self._cuts(dep, idxs))
        return Removal(root=cuts[0].layer, removed=cuts[0].removed, cuts=cuts)

    @cached_property
    def _names(self) -> dict[nn.Module, str]:
        return {module: name for name, module in named_modules(self._graph.model).items()}

    def _name(self, node: Any) -> str | None:
        if isinstance(node.module, nn.Parameter):
            return self._graph._param_to_name[node.module]
        return self._names.get(node.module)

    def _cuts(self, dep: Any, idxs: list[int]) -> Iterator[Cut]:
        """The cut of one axis; of a layer of no known kind, the cuts of its tensors as well.

        There is none for a function, and for a layer with one value for all channels.
        """
        is_out = self._graph.is_out_channel_pruning_fn(dep.handler)
        count = self._graph.get_out_channels if is_out else self._graph.get_in_channels
        name = self._name(dep.target)
        width = None if name is None else count(dep.target)
        if name is None or width is None:
            return
        axis = "out" if is_out else "in"
        layer = dep.target.module
        is_parameter = isinstance(layer, nn.Parameter)
        yield self._noted(name, axis, width, idxs, dep.target.pruning_dim if is_parameter else None)
        if not is_parameter and kind_of(layer) is None:
            for tensor, dim, size, going in _cut_of_tensors(layer, dep.handler, idxs):
                yield self._noted(f"{name}.{tensor}", axis, size, going, dim)

    def _noted(
        self, name: str, axis: str, width: int, idxs: Collection[int], dim: int | None
    ) -> Cut:
        key = name, axis, dim
        if key not in self._alive:
            self._width[key] = width
            self._alive[key] = np.arange(width)
        alive, going = self._alive[key], np.array(idxs, np.int64)
        stays = np.ones(len(alive), bool)
        # torch-pruning also passes indices beyond the last channel, and cuts nothing there.
        stays[going[(going >= 0) & (going < len(alive))]] = False
        self._alive[key] = alive[stays]
        return Cut(name, axis, self._width[key], tuple(alive[~stays].tolist()), dim)


def _cut_of_tensors(
    layer: nn.Module, prune: Callable[[nn.Module, list[int]], Any], idxs: list[int]
) -> Iterator[tuple[str, int, int, list[int]]]:
    """What the user's own pruner removes of a layer's tensors: name, dimension, size, indices.

    It cuts a copy whose elements are numbered. The proof judges whether that is right.
    """
    trial = copy_of(layer)
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(trial).items()}
    for tensor in named_tensors(trial).values():
        numbered = torch.arange(tensor.numel(), dtype=torch.float64, device=tensor.device)
        tensor.data = numbered.view(tensor.shape)
    with suppress(Exception):  # the cut itself raises as well, and is reported
        prune(trial, list(idxs))
    for name, tensor in named_tensors(trial).items():
        if name in shapes and tuple(tensor.shape) != shapes[name]:
            numbers = tensor.detach().long().cpu().numpy().ravel()
            left = np.unravel_index(numbers.clip(0, prod(shapes[name]) - 1), shapes[name])
            for dim, (size, places) in enumerate(zip(shapes[name], left, strict=True)):
                if going := sorted({*range(size)} - {*places.tolist()}):
                    yield name, dim, size, going


@torch.no_grad()
def cut_alone(model: nn.Module, layers: Collection[str], channels: Collection[int]) -> None:
    """Cut output channels of these layers and nothing else, as a naive script does.

    Convolutions (depthwise ones with their channel groups), linear layers and batch norms are
    cut; the layers that read them are not.

    Raises:
        InputError: a layer of another kind.
    """
    modules = dict(model.named_modules())
    for name in layers:
        module = modules[name]
        if isinstance(module, nn.modules.conv._ConvNd):
            prune = (
                tp.prune_depthwise_conv_out_channels
                if module.groups == module.out_channels > 1
                else tp.prune_conv_out_channels
            )
        elif isinstance(module, nn.Linear):
            prune = tp.prune_linear_out_channels
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            prune = tp.prune_batchnorm_out_channels
        else:
            raise InputError(
                f"cannot cut {name!r} alone: it is {an(type(module).__name__)}; expected a "
                "convolution, a linear layer or a batch norm"
            )
        prune(module, list(channels))
