"""torch-pruning's rules: which channels a ratio requests, and why a cut is dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.pruning.channel_classes import ChannelClasses, roots_of
from analysis.pruning.ranked import Counts, Guarded, Limits, Outlook, Ranked, scores_of
from analysis.records import (
    Config,
    DependencyGroup,
    Reason,
)

__all__ = [
    "Counts",
    "Limits",
    "Outlook",
    "Ranking",
    "Scope",
    "cut_across",
    "is_followed",
    "kept_of",
    "scores_of",
]


@dataclass(frozen=True)
class Scope:
    """Groups that are ranked together.

    Attributes:
        name: ``global``, the root of a group that is ranked alone, or a name that distinguishes the
            scope.
        roots: its groups.
        ratio: the ratio requested of it; None is that of the network.
        bound: the greatest ratio that the pruner uses.
        initial: how many positions it had before the first step; None is its present number.
    """

    name: str
    roots: tuple[str, ...]
    ratio: float | None = None
    bound: float = 1.0
    initial: int | None = None


class Ranking:
    """The channels of all groups in the order of removal.

    The rules are torch-pruning's for a single step: a scope of n channels loses
    n - int(n (1 - ratio)) of them; ties with the threshold go too; ``round_to`` floors what is
    left; a cut that would empty any axis it touches is dropped whole. (``max_pruning_ratio`` is
    tested by torch-pruning against what earlier steps removed, so it binds nothing in the first.)

    Args:
        groups: the dependency groups, excluded ones marked ``ignored``.
        classes: by root, see `analysis.pruning.channel_classes.classes_of`.
        importances: by root, shape (width,).
        config: scope and ``round_to``; its ratio is not read.
        scopes: which groups are ranked together; None is what ``config`` says: all, or none.
        spent: groups that can lose nothing more after earlier steps, and why; they are ranked
            against the threshold of the others.
        going: by root, for each ranked position, the channels that are removed with it; by default
            those in the same place of each block.
        limits: by root, how many channels can be removed, see `Guarded`; None is torch-pruning's
            rule.
    """

    def __init__(
        self,
        groups: Sequence[DependencyGroup],
        classes: Mapping[str, ChannelClasses],
        importances: Mapping[str, Tensor],
        config: Config,
        scopes: Sequence[Scope] | None = None,
        spent: Mapping[str, Reason] | None = None,
        going: Mapping[str, Sequence[Counts]] | None = None,
        limits: Mapping[str, Limits] | None = None,
    ) -> None:
        spent = spent or {}
        going = going or {}
        ranked: dict[str, Ranked] = {}
        self._held: dict[str, tuple[Reason, int]] = {}
        widths = {(each.layer, each.axis): each.width for group in groups for each in group.members}
        axes = {axis: row for row, axis in enumerate(widths)}
        self._widths = np.array(list(widths.values()), dtype=np.int64)
        # Axes that several groups share are emptied in the order in which the pruner visits the
        # groups.
        for group in sorted(groups, key=lambda group: group.turn):
            found, scores = classes[group.root], scores_of(group, importances, spent)
            if len(scores):
                rows = [axes[axis] for axis in found.taken]
                excluded = spent.get(group.root)
                own = going.get(group.root)
                if own is None and not is_followed(group):
                    excluded = Reason.UNTRACED
                ranked[group.root] = (
                    Ranked(group, found, scores, config, rows, excluded, own)
                    if limits is None or own is None
                    else Guarded(group, found, scores, config, rows, own, limits[group.root])
                )
            else:
                self._held[group.root] = (_why_held(group), len(found.widths))
        if scopes is None:
            scopes = _scopes(config.scope, tuple(ranked))
        with_ties = config.scope == "global"
        self._ranked = ranked
        self._pools = [
            _Pool(scope, [ranked[root] for root in scope.roots], with_ties)
            for scope in scopes
            if scope.roots
        ]
        self.scope_of = {root: scope for scope in scopes for root in scope.roots}

    def outlooks(
        self, ratios: Sequence[float], widths: Mapping[str, int] | None = None
    ) -> dict[str, Outlook]:
        """The effect of these ratios, each in [0, 1), on every group, by root.

        Args:
            ratios: the requested ratios.
            widths: of groups with `Limits`, how many channels are kept at every ratio.

        Raises:
            InputError: a group cannot have this width; names the nearest ones.
        """
        widths = widths or {}
        asked: dict[str, Counts] = {}
        allowed: dict[str, Counts] = {}
        for pool in self._pools:
            pool.rank(np.asarray(ratios, dtype=float), asked, allowed)
        left = np.repeat(self._widths[:, None], len(ratios), 1)
        found = {
            root: group.leaving(widths[root], len(ratios))
            if root in widths and isinstance(group, Guarded)
            else group.outlook(asked[root], allowed[root], left)
            for root, group in self._ranked.items()
        }
        none = np.zeros(len(ratios), dtype=np.int64)
        for root, (reason, classes) in self._held.items():
            lost = none[None].repeat(classes, 0)
            found[root] = Outlook(
                none, none, none, none, lost, none.astype(bool), lambda _: none[:0], False, reason
            )
        return found

    def first_ratios(self) -> list[float]:
        """Every ratio at which a further channel is requested, and 0, in order.

        Between two of them nothing changes.
        """
        found = [np.zeros(1)]
        for pool in {len(pool.scores) for pool in self._pools}:
            stays = np.arange(pool)
            # The largest float share whose product with the pool still falls below one more.
            share = (stays + 1) / pool
            while (more := (pool * share).astype(np.int64) > stays).any():
                share = np.where(more, np.nextafter(share, 0.0), share)
            ratios = 1 - share
            while (more := 1 - ratios > share).any():
                ratios = np.where(more, np.nextafter(ratios, 1.0), ratios)
            found.append(ratios)
        return np.unique(np.concatenate(found)).tolist()


def _scopes(scope: str, roots: tuple[str, ...]) -> list[Scope]:
    """Every group alone, or all of them together."""
    if scope == "local":
        return [Scope(root, (root,)) for root in roots]
    return [Scope("global", roots)]


class _Pool:
    """The channels of one scope, and the threshold below which they are requested."""

    def __init__(self, scope: Scope, groups: Sequence["Ranked"], with_ties: bool) -> None:
        self._scope = scope
        self._groups = groups
        self._with_ties = with_ties
        # With all of its groups spent there is no threshold but their own.
        counting = [
            group for group in groups if group.excluded in (None, Reason.UNTRACED)
        ] or groups
        self.scores = np.sort(np.concatenate([group.sorted for group in counting]))

    def rank(
        self, ratios: NDArray[np.float64], asked: dict[str, Counts], allowed: dict[str, Counts]
    ) -> None:
        """Set how many positions of each group are requested and allowed at each ratio."""
        if self._scope.ratio is not None:
            ratios = np.full_like(ratios, self._scope.ratio)
        bounded = np.minimum(ratios, self._scope.bound)
        is_bound = (bounded < ratios).any()
        for group in self._groups:
            root = group.group.root
            asked[root] = self._below(group, ratios)
            allowed[root] = self._below(group, bounded) if is_bound else asked[root]

    def _below(self, group: "Ranked", ratios: NDArray[np.float64]) -> Counts:
        counts = self._count(ratios)
        if not self._with_ties:
            return counts
        thresholds = self.scores[np.maximum(counts, 1) - 1]
        below = np.searchsorted(group.sorted, thresholds, side="right")
        return np.where(counts, below, 0)

    def _count(self, ratios: NDArray[np.float64]) -> Counts:
        """How many positions a ratio requests, with torch-pruning's rounding."""
        initial = self._scope.initial or len(self.scores)
        return np.maximum(len(self.scores) - kept_of(initial, ratios), 0)


def kept_of(count: int, ratios: NDArray[np.float64]) -> Counts:
    """How many of these positions a ratio leaves."""
    return (count * (1 - ratios)).astype(np.int64)


def _why_held(group: DependencyGroup) -> Reason:
    """Why a group is not ranked."""
    if group.ignored:
        return Reason.IGNORED
    if group.frozen:
        return Reason.UNTRACED if group.untraced else Reason.FROZEN
    return Reason.KEPT if group.prunable else Reason.SINGLE_CHANNEL


def is_followed(group: DependencyGroup) -> bool:
    """Whether every root channel is one that some layer reads.

    If one layer makes q, k and v, DepGraph couples three of its channels with each that is read and
    keeps the index of one. Then the extent of a cut is not known before it is made.
    """
    reads = [roots_of(member) for member in group.members if member.axis == "in"]
    if group.is_output or not reads:
        return True
    read = np.concatenate(reads)
    return len(np.unique(read[read >= 0])) >= group.width


def cut_across(group: DependencyGroup) -> str:
    """A grouped convolution whose blocks would no longer read the same channels; else empty.

    After a concatenation torch-pruning removes channels at different places of each block.
    """
    for member in group.members:
        if member.axis == "in" and member.channel_groups > 1:
            size = group.width // group.channel_groups
            roots = roots_of(member).reshape(member.channel_groups, -1)
            positions = np.where(roots >= 0, roots % size, -1)
            if (positions != positions[0]).any():
                return member.layer
    return ""
