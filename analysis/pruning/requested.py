"""The request of a pruner's next step: its scopes, ratios and importances.

These are the rules of torch-pruning's ``BasePruner._prune`` (``base_pruner.py``) written again:
scopes of the user's own come before isomorphic ones, these before the global one; each step asks
for what is missing of its share of the channels that the scope had before the first. This reads
only the pruner's options and the network, never what the pruner does.
"""

import copy
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.groups import depgraph
from analysis.groups.reading import Reading, is_even
from analysis.network.inference import one_line
from analysis.network.restoring import restored_around
from analysis.pruning import planning
from analysis.pruning.asked_of_layers import AskedOfLayers, prunes_heads
from analysis.pruning.emptying import with_emptying
from analysis.pruning.rules import Scope
from analysis.records import Config, DependencyGroup, PlannedGroup, Reason, Removal, merge_cuts

__all__ = ["RequestedChannels"]

_RULES = (
    "_prune",
    "_check_pruning_ratio",
    "_downstream_node_as_root_if_attention",
    "_get_channel_groups",
    "_is_atten_group",
    "_round_to",
    "estimate_importance",
    "get_target_pruning_ratio",
)
"""The methods that decide what is removed."""


class RequestedChannels:
    """The requests of one pruner's steps, with indices of the network before the first step.

    Args:
        pruner: any torch-pruning pruner.

    Attributes:
        unknown: why its request is not known; empty if it is.
        of_layers: the requests for single layers and heads.
        planned: the plan up to the last step. A
            group whose request is not known (one layer makes its q, k and v) is left out.
    """

    def __init__(self, pruner: Any) -> None:
        self.unknown = _why_unknown(pruner)
        self.of_layers = AskedOfLayers.of(pruner)
        self.planned: tuple[PlannedGroup, ...] = ()
        self._initial: dict[Any, int] = {}

    def look_ahead(
        self,
        pruner: Any,
        removals: Collection[Removal],
        reading: Reading | None = None,
    ) -> None:
        """Record the request of the next step.

        The pruner's importance is called once for each group, as the step itself will.

        Args:
            pruner: before the step.
            removals: what earlier steps removed.
            reading: of the pruner as it is; None reads it.
        """
        if self.unknown:
            return
        random_states = random.getstate(), np.random.get_state()
        gradients = [(each, each.grad) for each in pruner.model.parameters()]
        importance = pruner.importance
        pruner.current_step += 1  # as the step will find it
        try:
            # A copy is asked: what it draws or uses up is the pruner's own.
            pruner.importance = copy.deepcopy(importance, _as_they_are(pruner.model))
            with restored_around(importance, pruner.model), torch.no_grad():
                found = _asked(pruner, _gone(removals), self._initial, reading)
                asked = {each.root: each for each in found}
            # A later step passes over groups that have become something else (depthwise).
            self.planned = tuple(({each.root: each for each in self.planned} | asked).values())
        except Exception as error:
            # What the pruner does with it is its own to say; the account must not touch that.
            self.unknown = f"the ranking cannot be repeated: {_words(error)}"
        finally:
            pruner.current_step -= 1
            pruner.importance = importance
            for parameter, gradient in gradients:
                parameter.grad = gradient
            random.setstate(random_states[0])
            np.random.set_state(random_states[1])

    def refuted_by(self, removals: Collection[Removal]) -> str:
        """Why the pruner did not ask for what is planned; empty if it may have.

        Its step may be its own, or its importance answer otherwise the second time.
        """
        gone = _gone(removals)
        differs = any(
            len(planned.expected) != len(gone.get(planned.root, ()))
            for planned in self.planned
            if planned.reason is not Reason.UNTRACED
        )
        return "the pruner cut more or less than its ranking, repeated, leaves" if differs else ""


def _as_they_are(model: Any) -> dict[int, Any]:
    """The memo of a copy that leaves out the model and its tensors."""
    return {id(each): each for each in (*model.modules(), *model.parameters(), *model.buffers())}


class _UndefinedError(Exception):
    """The request cannot be defined."""


def _words(error: Exception) -> str:
    text = one_line(error)
    return text if isinstance(error, _UndefinedError) else f"{type(error).__name__}: {text}"


def _gone(removals: Collection[Removal]) -> dict[str, set[int]]:
    """By layer, the removed output channels."""
    cuts = merge_cuts(removals)
    return {cut.layer: set(cut.removed) for cut in cuts if cut.axis == "out"}


def _why_unknown(pruner: Any) -> str:
    own = [name for name in _RULES if not _is_upstream(getattr(pruner, name, None))]
    if own:
        kind = type(pruner).__name__
        return f"{kind} has its own `{own[0]}`, and only torch-pruning's rules are known"
    if pruner.isomorphic and not pruner.global_pruning:
        return (
            "it ranks isomorphic groups without global_pruning=True, and torch-pruning then takes "
            "the numbers of the lowest channels of all groups for those of each"
        )
    return ""


def _is_upstream(method: Any) -> bool:
    return str(getattr(method, "__module__", "")).startswith("torch_pruning.")


@dataclass(frozen=True, eq=False)
class _Contender:
    """A group that the next step ranks.

    Attributes:
        group: as it is.
        ranked: as it is ranked; for attention, numbered by the layer that reads it.
        scores: importance of each channel of ``ranked``.
        scope: the one it is ranked in, as if alone there.
        key: identifies the scope.
        spent: why torch-pruning does not rank it any more, or None.
    """

    group: DependencyGroup
    ranked: DependencyGroup
    scores: Tensor
    scope: Scope
    key: Any
    spent: Reason | None


def _asked(
    pruner: Any,
    gone: dict[str, set[int]],
    initial: dict[Any, int],
    reading: Reading | None,
) -> Iterator[PlannedGroup]:
    """The plan of the next step, added to what earlier ones removed.

    ``initial`` keeps for each scope how many positions it ranked first; a group that has dropped
    out since still counts.
    """
    contenders: list[_Contender] = []
    is_first = pruner.current_step == 1 or bool(initial)
    live = depgraph.live_groups_of(pruner, partial(_ranked_as, pruner), reading)
    for group, items, ranked in live:
        before = tuple(sorted(gone.get(group.root, ())))
        if ranked is None:
            continue  # a layer of attention that torch-pruning passes over
        spent = _why_spent(pruner, group, items)
        scores = None
        if group.prunable or before:
            scores = _importance(pruner, items, ranked, spent)
        if scores is not None:
            # An importance may score fewer channels than there are (batch norms of one branch).
            positions = len(scores) if is_first else _first_width(pruner, items)
            contenders.append(_contender(pruner, group, items, ranked, scores, spent, positions))
        elif spent is not Reason.CAPPED and not before:
            reason = spent or Reason.KEPT
            yield PlannedGroup(group.root, group.width, (), (), reason)
    if not pruner.global_pruning:
        contenders = _each_alone(contenders)
    scopes = _scopes(contenders, initial)
    turns = {root: turn for turn, root in enumerate(r for scope in scopes for r in scope.roots)}
    plans = planning.plan(
        tuple(replace(each.ranked, turn=turns[each.group.root]) for each in contenders),
        {each.group.root: each.scores for each in contenders},
        Config(0.0, _ranking(pruner), round_to=pruner.round_to or None),
        scopes,
        {each.group.root: each.spent for each in contenders if each.spent},
    )
    widths = {
        group.root: group.width for group, items, _ in live if items and is_even(items, group)
    }
    found = with_emptying(pruner, plans, widths)
    for contender, planned in zip(contenders, found, strict=True):
        numbered = _as_numbered(pruner, contender, planned)
        if numbered is not None:
            all_asked = None if pruner.global_pruning else _share(contender, initial)
            yield _since_start(numbered, gone.get(planned.root, set()), all_asked)


def _each_alone(contenders: list[_Contender]) -> list[_Contender]:
    """The groups that are ranked alone, with those marked that torch-pruning loses.

    torch-pruning stores local rankings by the name of their first layer. Attention is ranked from
    the layer that reads it, so one of the two groups overwrites the other.

    Raises:
        _UndefinedError: several share one ratio of the user's.
    """
    last = {each.key: each for each in contenders}
    alone = []
    for each in contenders:
        if last[each.key] is not each:
            if each.key[0] == "given":
                raise _UndefinedError(
                    f"`pruning_ratio_dict` gives several groups one local ranking, as "
                    f"`{each.group.root}`, and torch-pruning then takes the numbers of the lowest "
                    "channels of all for those of each"
                )
            lost = replace(each, key=("lost", each.group.root), spent=Reason.UNTRACED)
            alone.append(lost)
        else:
            alone.append(each)
    return alone


def _ranking(pruner: Any) -> str:
    return "global" if pruner.global_pruning else "local"


def _importance(
    pruner: Any, items: Any, ranked: DependencyGroup, spent: Reason | None
) -> Tensor | None:
    """The importance of each channel; None where there is none."""
    try:
        scores = pruner.estimate_importance(items)
    except Exception:
        # torch-pruning never asks for that of a group that is spent, and cannot always answer.
        if spent is None:
            raise
        scores = None
    if scores is None and spent is not None and not pruner.global_pruning:
        return torch.zeros(ranked.width)  # ranked alone, only the number of channels counts
    if scores is None:
        return None
    scores = scores.detach().cpu()
    return scores if scores.dtype in (torch.float32, torch.float64) else scores.float()


def _contender(
    pruner: Any,
    group: DependencyGroup,
    items: Any,
    ranked: DependencyGroup,
    scores: Tensor,
    spent: Reason | None,
    positions: int,
) -> _Contender:
    root, *others = ranked.members
    blocks = _blocks(pruner, items)
    ranked = replace(ranked, members=(replace(root, channel_groups=blocks), *others))
    key, name, ratio, bound = _scope_of(pruner, items, group.root)
    scope = Scope(name, (group.root,), ratio, bound, positions // blocks)
    return _Contender(group, ranked, scores, scope, key, spent)


def _first_width(pruner: Any, items: Any) -> int:
    """Channels of the group's root when the pruner was built."""
    dep = items[0].dep
    is_out = pruner.DG.is_out_channel_pruning_fn(dep.handler)
    widths = pruner.layer_init_out_ch if is_out else pruner.layer_init_in_ch
    return int(widths[dep.target.module])


def _ranked_as(pruner: Any, items: Any) -> Any:
    """The group that is ranked: attention is, from the layer that reads it; None if nothing can."""
    graph, heads = pruner.DG, pruner.num_heads
    made = [dep for dep, _ in items if graph.is_out_channel_pruning_fn(dep.handler)]
    if not any(dep.target.module in heads for dep in made):
        return items
    if not any(dep.source.module in heads for dep in made):
        return None
    readers = [
        (dep, idxs)
        for dep, idxs in items
        if isinstance(dep.target.module, tuple(pruner.root_module_types))
        and graph.is_in_channel_pruning_fn(dep.handler)
    ]
    if not readers:
        return None
    dep, idxs = readers[-1]
    return graph.get_pruning_group(dep.target.module, dep.handler, idxs)


def _blocks(pruner: Any, items: Any) -> int:
    """Blocks of channels that are cut alike."""
    return max(
        (pruner.out_channel_groups if is_out else pruner.in_channel_groups).get(
            dep.target.module, 1
        )
        for dep, _ in items
        for is_out in [pruner.DG.is_out_channel_pruning_fn(dep.handler)]
    )


def _why_spent(pruner: Any, group: DependencyGroup, items: Any) -> Reason | None:
    """Why a group is not ranked any more: a single channel, or the cap is reached."""
    if not group.prunable:
        return Reason.SINGLE_CHANNEL
    graph, stays = pruner.DG, 1 - pruner.max_pruning_ratio
    for dep, _ in items:
        layer = dep.target.module
        if graph.is_out_channel_pruning_fn(dep.handler):
            width, initial = graph.get_out_channels(layer), pruner.layer_init_out_ch.get(layer)
        else:
            width, initial = graph.get_in_channels(layer), pruner.layer_init_in_ch.get(layer)
        if initial is not None and width < initial * stays:
            return Reason.CAPPED
    return None


def _scope_of(pruner: Any, items: Any, root: str) -> tuple[Any, str, float, float]:
    """A group's scope: its key, its name, its ratio and its cap."""
    step = pruner.current_step
    given = _given_scope(pruner, items)
    if given is not None:
        layer, key, modules = given
        ratio = pruner.pruning_ratio_dict.get(layer, pruner.per_step_pruning_ratio)[step]
        names = {module: name for name, module in pruner.model.named_modules()}
        joined = ", ".join(names.get(each, type(each).__name__) for each in modules)
        name = joined if pruner.global_pruning else root
        return ("given", key), name, ratio, pruner.max_pruning_ratio
    ratio = pruner.per_step_pruning_ratio[step]
    if pruner.isomorphic:
        return _pattern(pruner, items), f"isomorphic to {root}", ratio, 1.0
    if pruner.global_pruning:
        return "global", "global", ratio, 1.0
    return ("local", items[0].dep.source.module), root, ratio, 1.0


def _given_scope(pruner: Any, items: Any) -> tuple[Any, str, Any] | None:
    """The first layer of the group that ``pruning_ratio_dict`` names, and the scope it is in."""
    for dep, _ in items:
        for node, function in ((dep.source, dep.trigger), (dep.target, dep.handler)):
            found = pruner._layer_to_scope.get(node.module)
            if found is not None and pruner.DG.is_out_channel_pruning_fn(function):
                return node.module, *found
    return None


def _pattern(pruner: Any, items: Any) -> Any:
    """The key of isomorphic groups: the kinds of their layers and of their cuts."""
    return tuple(
        (
            type(dep.source.module),
            type(dep.target.module),
            pruner.DG.is_out_channel_pruning_fn(dep.handler),
        )
        for dep, _ in items
    )


def _scopes(contenders: Collection[_Contender], initial: dict[Any, int]) -> list[Scope]:
    """Those of the contenders joined, in the order in which torch-pruning visits them."""
    joined: dict[Any, Scope] = {}
    for each in contenders:
        before = joined.get(each.key)
        joined[each.key] = each.scope if before is None else _with(before, each.scope)
    for key, scope in joined.items():
        joined[key] = replace(scope, initial=initial.setdefault(key, scope.initial or 0))
    return sorted(joined.values(), key=lambda scope: scope.name != "global")


def _with(scope: Scope, other: Scope) -> Scope:
    """Both scopes as one; the first group's ratio counts for all."""
    initial = (scope.initial or 0) + (other.initial or 0)
    return replace(scope, roots=(*scope.roots, *other.roots), initial=initial)


def _as_numbered(pruner: Any, contender: _Contender, planned: PlannedGroup) -> PlannedGroup | None:
    """The plan in the group's own numbers; None where DepGraph does not give them.

    Attention is ranked from the layer that reads it.
    """
    group, reader = contender.group, contender.ranked.members[0]
    if reader.axis == "out":
        return planned
    if prunes_heads(pruner):
        return None  # which heads go is not ranked here
    if not pruner.prune_head_dims:
        return replace(planned, requested=(), expected=(), reason=Reason.IGNORED)
    place = (reader.layer, "in")
    roots = next(each.roots for each in group.members if (each.layer, each.axis) == place)
    if len(roots) != group.width or min(roots) < 0:
        return None
    requested, expected = (
        tuple(sorted(roots[place] for place in places))
        for places in (planned.requested, planned.expected)
    )
    return replace(planned, requested=requested, expected=expected)


def _share(contender: _Contender, initial: Mapping[Any, int]) -> int:
    """Channels requested of a group that is ranked alone, since the first step."""
    blocks = contender.ranked.channel_groups
    positions, ratio = initial[contender.key], contender.scope.ratio or 0.0
    return (positions - int(positions * (1 - ratio))) * blocks


def _since_start(planned: PlannedGroup, gone: set[int], all_asked: int | None) -> PlannedGroup:
    """The plan of a step and earlier ones, with indices of the first network."""
    width = planned.width + len(gone)
    alive = [channel for channel in range(width) if channel not in gone]
    before = sorted(gone)
    requested = (*before, *(alive[channel] for channel in planned.requested))[:all_asked]
    expected = (*before, *(alive[channel] for channel in planned.expected))
    reason = planned.reason
    if requested and len(expected) >= len(requested):
        reason = Reason.PRUNED
    return replace(
        planned,
        width=width,
        requested=tuple(sorted(requested)),
        expected=tuple(sorted(expected)),
        reason=reason,
    )
