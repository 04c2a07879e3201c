"""Apply torch-pruning's importances to the true groups of a network."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.dependency import Dependency, Group, Node
from torch_pruning.pruner import function

from analysis.errors import InputError, upstream
from analysis.pruning.by_groups import Importance
from analysis.pruning.expected import Expected

__all__ = ["scored_by"]


def scored_by(importance: Callable[[Any], Any], model: nn.Module) -> Importance:
    """The scores that an importance of torch-pruning gives the channels of a group.

    It gets a `torch_pruning.Group` with every layer that torch-pruning knows, all of their
    positions and the channel of each.

    Args:
        importance: a function of such a group, as ``torch_pruning.importance`` has.
        model: the network as it is.
    """
    modules = dict(model.named_modules())

    def scores(each: Expected) -> Tensor | None:
        group = _group(each, modules)
        if not len(group):
            return None
        with upstream(f"the importance of the group of `{each.group.root}`"):
            found = importance(group)
        if found is None:
            return None
        if not isinstance(found, Tensor) or tuple(found.shape) != (each.group.width,):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"the importance returned {what} for the group of `{each.group.root}`; expected a "
                f"tensor of shape ({each.group.width},), a score for each channel"
            )
        if found.isnan().any():
            raise InputError(
                f"the importance returned NaN for the group of `{each.group.root}`, which ranks "
                "no channel; expected a number for each"
            )
        return found.detach().cpu().double()

    return scores


def _group(each: Expected, modules: dict[str, nn.Module]) -> Group:
    group = Group()
    for member in each.group.members:
        module = modules.get(member.layer)
        kind = ops.module2type(module)
        if module is None or kind not in function.PrunerBox:
            continue
        pruner = function.PrunerBox[kind]
        cut = pruner.prune_out_channels if member.axis == "out" else pruner.prune_in_channels
        node = Node(module, member.layer)
        places = [place for place, root in enumerate(member.roots) if root >= 0]
        group.add_dep(Dependency(cut, cut, node, node), places)
        group[len(group) - 1].root_idxs = [member.roots[place] for place in places]
    return group
