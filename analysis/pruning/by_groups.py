"""The right cut: rank the sets of channels that are removed together, and choose some."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from analysis.errors import InputError, an
from analysis.groups.inspecting import Labelled
from analysis.network.inference import names_of
from analysis.network.labels.origins import Origins
from analysis.network.labels.tracing import state_of
from analysis.network.layers import axis_of
from analysis.pruning.channel_classes import classes_of
from analysis.pruning.expected import Expected, expected, gone_labels, owned
from analysis.pruning.importances import group_importances, set_importances
from analysis.pruning.ranked import Counts, Limits, Outlook
from analysis.pruning.rules import Ranking, Scope
from analysis.pruning.widths import widths_of
from analysis.records import Config, Cut, Group, Member, PlannedGroup, Reason, Removal

__all__ = [
    "Chosen",
    "Importance",
    "RankedSets",
    "choose",
    "limits_of",
    "ranked_sets",
    "removals_of",
    "scopes_of",
]

Importance = Callable[[Expected], Tensor | None]
"""The score of each channel of a group, shape (width,); None leaves the group whole."""


@dataclass(frozen=True, eq=False)
class RankedSets:
    """The groups of a network, with scores of their sets of channels.

    Attributes:
        followed: the labelled pass of the network.
        found: for each group, the sets that are ranked, and the channels of each.
        scores: by root, the score of each set, shape (sets,); none for a group that is left whole.
    """

    followed: Labelled
    found: tuple[Expected, ...]
    scores: Mapping[str, Tensor]

    @property
    def ranked(self) -> list[str]:
        """Roots of the groups that are ranked."""
        groups = (each.group for each in self.found)
        return [group.root for group in groups if group.prunable and group.root in self.scores]

    def widths(self, asked: Mapping[str, int]) -> dict[str, int]:
        """How many channels are kept for these widths, by root; see `widths_of`."""
        return widths_of(self.found, self.followed.groups, asked) if asked else {}


def ranked_sets(
    model: nn.Module,
    followed: Labelled,
    ignored: Collection[str],
    importance: str | Importance,
    names: Collection[str] = (),
) -> RankedSets:
    """Score the sets of channels that are removed together, each by the mean of its channels.

    Args:
        model: the dense network.
        followed: it with its channels followed.
        ignored: layers whose outputs stay.
        importance: ``l1`` or ``l2``, as torch-pruning's, or a function.
        names: a group of which one of these layers makes the channels is called by it.
    """
    found = tuple(_by_sets(expected(followed, ignored, names), followed))
    norm = importance if isinstance(importance, str) else "l1"
    by_channel: Mapping[str, Tensor | None] = (
        group_importances(model, tuple(each.group for each in found), importance)
        if isinstance(importance, str)
        else {
            each.group.root: importance(each)
            for each in found
            if each.going and each.group.prunable
        }
    )
    scores = {
        each.group.root: set_importances(group, followed.parameters, own, norm)
        for each, group in zip(found, followed.groups, strict=True)
        for own in [by_channel.get(each.group.root)]
        # A group without scores of this importance is not ranked by another one.
        if group.together and (own is not None or isinstance(importance, str))
    }
    return RankedSets(followed, found, scores)


def _by_sets(found: Sequence[Expected], followed: Labelled) -> Iterator[Expected]:
    """The groups with sets of channels that are removed together."""
    for each, group in zip(found, followed.groups, strict=True):
        members = tuple(replace(member, channel_groups=1) for member in each.group.members)
        yield replace(
            each,
            group=replace(each.group, members=members),
            going=tuple(map(np.array, group.together)),
            otherwise="",
            several=False,
        )


def limits_of(
    sets: RankedSets,
    config: Config,
    least: int = 1,
    before: Mapping[str, int] | None = None,
) -> dict[str, Limits]:
    """How many channels of each group can be removed.

    Args:
        sets: of the network as it is.
        config: with the greatest ratio.
        least: fewest channels that a group keeps.
        before: by root, how many channels it had before the first step; by default those of now.
    """
    found = {}
    for group in (each.group for each in sets.found):
        width = (before or {}).get(group.root, group.width)
        # At 0.8, 8 of 10 can be removed, whatever 10 * 0.8 is in floating point.
        most = floor(width * config.max_pruning_ratio + _ROUNDING)
        found[group.root] = Limits(max(most - width + group.width, 0), max(group.width - least, 0))
    return found


_ROUNDING = 1e-9


def scopes_of(
    model: nn.Module, sets: RankedSets, config: Config, ratios: Mapping[Any, float]
) -> list[Scope]:
    """Which groups are ranked together, and at which ratio.

    Args:
        model: the dense network.
        sets: of it.
        config: the scope, and the ratio of all groups that have none of their own.
        ratios: by layer, name of one, or tuple of these, which are ranked together where the scope
            is global.

    Raises:
        InputError: a layer is not part of the model or has no prunable channels; or not a ratio.
    """
    if not isinstance(ratios, Mapping):
        raise InputError(
            f"ratios_by_layer is {an(type(ratios).__name__)}; expected a dict of ratios by layer"
        )
    layers = {each.group.root: set(each.group.layers) for each in sets.found}
    rest = dict.fromkeys(sets.ranked)
    scopes: list[Scope] = []
    for place, (given, ratio) in enumerate(ratios.items()):
        names = names_of(
            given if isinstance(given, tuple) else (given,), model, "layer of a ratio of its own"
        )
        own = tuple(root for root in rest if not layers[root].isdisjoint(names))
        if not own:
            said = given if isinstance(given, str) else names[0]
            raise InputError(
                f"ratio {ratio!r} is asked of `{said}`, and none of its channels may go, "
                "or another ratio is asked of them"
            )
        scopes += _scopes(own, config, f"layers {place}", replace(config, ratio=ratio).ratio)
        for root in own:
            del rest[root]
    return [*scopes, *_scopes(tuple(rest), config, "global", None)]


def _scopes(
    roots: tuple[str, ...], config: Config, name: str, ratio: float | None
) -> Iterator[Scope]:
    if config.scope == "local":
        yield from (Scope(root, (root,), ratio) for root in roots)
    elif roots:
        yield Scope(name, roots, ratio)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The channels that are removed at one ratio.

    Attributes:
        planned: by group, how many channels are requested and removed, with the reason.
        gone: for each label of the pass, whether its position is removed.
    """

    planned: tuple[PlannedGroup, ...]
    gone: NDArray[np.bool_]


def choose(
    sets: RankedSets, config: Config, scopes: Sequence[Scope], limits: Mapping[str, Limits]
) -> Chosen:
    """Choose the channels that are removed at a ratio.

    Args:
        sets: see `ranked_sets`.
        config: ratio, scope, ``round_to`` and widths.
        scopes: see `scopes_of`.
        limits: see `limits_of`.

    Raises:
        InputError: a group cannot have the requested width.
    """
    groups = [each.group for each in sets.found]
    classes = {group.root: classes_of(group) for group in groups}
    going = {each.group.root: each.going for each in sets.found}
    ranking = Ranking(groups, classes, sets.scores, config, scopes, going=going, limits=limits)
    outlooks = ranking.outlooks([config.ratio], sets.widths(dict(config.widths)))
    planned = tuple(
        _planned(each, group, outlooks[each.group.root], ranking.scope_of, config.ratio)
        for each, group in zip(sets.found, sets.followed.groups, strict=True)
    )
    return Chosen(planned, gone_labels(sets.followed, sets.found, outlooks, 0))


def _planned(
    each: Expected, group: Group, outlook: Outlook, scopes: Mapping[str, Scope], ratio: float
) -> PlannedGroup:
    scope = scopes.get(each.group.root)
    asked, going = (
        _channels(each, outlook.lowest(int(count[0]))) for count in (outlook.asked, outlook.going)
    )
    reason, why = outlook.reason(0), ""
    if not group.together and not each.group.ignored:
        reason, why = Reason.IGNORED if group.is_output else Reason.UNTRACED, group.held
    return PlannedGroup(
        root=each.group.root,
        width=each.group.width,
        requested=asked,
        expected=going,
        reason=reason,
        scope=scope.name if scope else "",
        ratio=0.0 if scope is None else ratio if scope.ratio is None else scope.ratio,
        why=why,
    )


def _channels(each: Expected, positions: Counts) -> tuple[int, ...]:
    return tuple(sorted(int(channel) for place in positions for channel in each.going[place]))


def removals_of(sets: RankedSets, gone: NDArray[np.bool_]) -> list[Removal]:
    """The groups that lose channels, and every axis that is cut with them.

    Args:
        sets: of the network that is cut.
        gone: for each label of the pass over it, whether its position is removed.
    """
    followed, found = sets.followed, []
    odd, origins = _used_otherwise(followed), Origins(followed.trace)
    for place, (each, group) in enumerate(zip(sets.found, followed.groups, strict=True)):
        own = gone & (followed.group_of == place)
        channels = np.unique(each.numbers[own & (each.numbers > 0)]) - 1
        if channels.size:
            cuts: dict[tuple[str, str, int | None], Cut] = {}
            for member in _members(followed, group):
                cut = _cut(followed, origins, member, own, alone=member.layer in odd)
                cuts.setdefault((cut.layer, cut.axis, cut.dim), cut)
            own_cuts = tuple(cuts.values())
            found.append(
                Removal(each.group.root, tuple(channels.tolist()), own_cuts, by_group=True)
            )
    return found


def _members(followed: Labelled, group: Group) -> Iterator[Member]:
    """The axes of a group, once for each layer that has the tensor."""
    return (one for member in group.members for one in owned(followed, member))


def _used_otherwise(followed: Labelled) -> set[str]:
    """Layers with a tensor that is not used as their class uses it.

    Examples are an embedding whose table is multiplied, and an `nn.MultiheadAttention`, whose
    queries have other channels than its inputs.
    """
    tensors = state_of(followed.modules[""])
    return {
        member.layer
        for group in followed.groups
        for member in _members(followed, group)
        for layer in [followed.modules.get(member.layer)]
        if axis_of(layer, tensors[member.tensor], member.dim) != member.axis
    }


def _cut(
    followed: Labelled, origins: Origins, member: Member, gone: NDArray[np.bool_], *, alone: bool
) -> Cut:
    """The cut of a member: of an axis of its layer, or of its tensor alone."""
    labels = followed.trace.labels(member.tensor, member.dim)
    if alone:
        # What is masked in a tensor is what it multiplies; a norm of weights is not that of a part.
        reads = member.axis == "in" and origins.multiplies_inputs(member.tensor, member.dim)
        axis = "in" if reads else "out"
        return Cut(member.tensor, axis, len(labels), _places(gone[labels]), member.dim)
    layer = followed.modules.get(member.layer)
    if member.axis == "in" and getattr(layer, "groups", 1) > 1:
        arriving = followed.arriving_at(member.layer)
        labels = labels if arriving is None else arriving
    elif isinstance(layer, _ConvTransposeNd) and layer.groups > 1 and member.dim == 1:
        labels = np.tile(labels, layer.groups)  # each block makes as many, and loses the same
    return Cut(member.layer, member.axis, len(labels), _places(gone[labels]))


def _places(gone: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(gone).tolist())
