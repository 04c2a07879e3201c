"""MACs and parameters by ratio, layer and group, computed from widths alone."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress, groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.costs.cost_model import CostModel, refined
from analysis.costs.products import counts_of
from analysis.costs.reaching import Candidates
from analysis.errors import InputError, several
from analysis.groups.inspecting import Labelled
from analysis.pruning.channel_classes import classes_of
from analysis.pruning.expected import Expected, gone_labels
from analysis.pruning.ranked import Limits, Outlook
from analysis.pruning.rules import Ranking, Scope
from analysis.pruning.widths import widths_of
from analysis.records import (
    Config,
    CostTable,
    CurvePoint,
    DependencyGroup,
    GroupAccount,
    GroupSaving,
    Holder,
    Quantity,
    RatioCurve,
    Reach,
    Reason,
    Savings,
    Scaling,
    Turn,
    Unknown,
    targets_of,
)

__all__ = ["Account"]

Removed = NDArray[np.float64]

_AT_ONCE = 512
"""How many ratios are computed at once; more take more memory."""

_HOLDERS = 8
"""How many layers are named as holding most of what is left."""


class Account:
    """MACs and parameters as functions of the pruning ratio.

    Args:
        table: the dense network's count.
        followed: the labelled pass of the network.
        found: its groups as torch-pruning is expected to cut them, with excluded ones marked.
        importances: by root, shape (width,).
        config: scope and ``round_to``; its ratio is not read.
        limits: of the cut by the groups, see `analysis.pruning.rules.Ranking`; None is
            torch-pruning's own, which makes tensors of their own of tied ones.
        scopes: what is ranked together; None is as the config says.

    Raises:
        InputError: the costs cannot be expressed in the widths of the groups; names the layer.

    A method raises InputError, with the place, if a ratio is not in [0, 1), the pruned network does
    not run at it, or the extent of a cut is not known before it is made.
    """

    def __init__(
        self,
        table: CostTable,
        followed: Labelled,
        found: Sequence[Expected],
        importances: Mapping[str, Tensor],
        config: Config,
        limits: Mapping[str, Limits] | None = None,
        scopes: Sequence[Scope] | None = None,
    ) -> None:
        groups = self._groups = tuple(each.group for each in found)
        macs, params, copies = counts_of(followed, found, table)
        self._segments = {
            group.root: refined(classes_of(group), footprints)
            for group in groups
            for footprints in [
                [
                    footprint[group.root]
                    for count in (*macs, *params)
                    for _, footprint in count.sizes
                    if group.root in footprint
                ]
            ]
        }
        going = {each.group.root: each.going for each in found}
        self._ranking = Ranking(
            groups, self._segments, importances, config, scopes, going=going, limits=limits
        )
        self._unknown = {
            each.group.root: each.otherwise
            for each in found
            if each.otherwise and each.group.prunable
        }
        self._several = {each.group.root for each in found if each.several}
        # torch-pruning cuts an output that is not ignored.
        moving = {
            each.group.root
            for each, group in zip(found, followed.groups, strict=True)
            if each.group.prunable and (group.together or group.is_output)
        }
        self.model = CostModel(
            macs, params, groups, moving, self._segments, copies if limits is None else ()
        )
        self._owner = {
            layer: each
            for each, group in zip(found, followed.groups, strict=True)
            for layer in group.layers
        }
        # A layer that shares its tensor is none of those that the tensor is named after.
        self._owner |= {each.group.root: each for each in found}
        self.followed = followed
        self._found = found
        self.dense = CurvePoint(0.0, table.macs, table.params)
        self._convention = table.convention

    def curve(self, ratios: Sequence[float]) -> RatioCurve:
        """MACs and parameters left at each ratio, with non-monotonic points and dropped groups."""
        points: list[CurvePoint] = []
        dropped: list[tuple[GroupAccount, ...]] = []
        unknown: list[tuple[float, str]] = []
        _check_ratios(ratios)
        for part, removed, found, obstacles in self._ahead(ratios):
            known = [not obstacle for obstacle in obstacles]
            points += compress(self._points(part, removed), known)
            dropped += compress(self._dropped(part, found), known)
            unknown += [each for each in zip(part, obstacles, strict=True) if each[1]]
        return RatioCurve(
            dense_macs=self.dense.macs,
            dense_params=self.dense.params,
            points=tuple(points),
            turns=tuple(self._turns(points)),
            dropped=tuple(dropped),
            unknown=tuple(unknown),
            convention=self._convention,
        )

    def reach(
        self,
        targets: Any,
        failing: Callable[[NDArray[np.bool_]], str] | None = None,
        saved: Callable[[NDArray[np.bool_]], int] | None = None,
        dense: CurvePoint | None = None,
    ) -> Reach:
        """The smallest ratio that leaves at most so much of MACs, parameters and bytes.

        Ratios at which the pruned network does not run, or whose cost is not known, are listed.

        Args:
            targets: see `analysis.records.targets_of`; all of them are to be met.
            failing: why the network without these labels does not run, empty if it does; asked
                once, of the ratio that would be the answer. None asks nothing.
            saved: bytes of the network without these labels, for a target of them.
            dense: what shares are of; None is the account's own network.

        Raises:
            InputError: no target, or one of bytes that nothing measures.
        """
        ratios, left, unknown = self._every
        measure = (lambda ratio: saved(self._gone(ratio))) if saved else None
        found = Candidates(targets_of(targets), ratios, left, dense or self.dense, measure)
        place, until = found.first, None
        point = None if place is None else found.at(place)
        why = failing(self._gone(point.ratio)) if failing and point and point.ratio else ""
        if point and why:
            unknown = (
                *(each for each in unknown if each.first < point.ratio),
                Unknown(point.ratio, 1.0, f"the pruned network does not run: {why}"),
            )
            point, until = None, place
        least = found.least(until)
        return Reach(
            targets=found.targets,
            dense=found.dense,
            point=point,
            least=least,
            holders=self._holders(least.ratio, found.targets[0].quantity),
            scaling=self.scaling(found.targets[0].quantity),
            unknown=unknown,
        )

    def _gone(self, ratio: float) -> NDArray[np.bool_]:
        """The labels of the pass that are removed at a ratio."""
        ((_, _, found),) = self._expected([ratio])
        return gone_labels(self.followed, self._found, found, 0)

    def savings(self, ratio: float) -> Savings:
        """Each group's share of the saving at a ratio."""
        ((_, removed, _),) = self._expected([ratio])
        return self._shared_out(ratio, removed)

    def savings_of(self, channels: Mapping[str, Collection[int]]) -> Savings:
        """Each group's share of the saving if these channels of the roots are removed.

        A layer may be left empty. The ratio of the result is 0.

        Raises:
            InputError: no group has this root, or the cost is not known.
        """
        return self._shared_out(0.0, self.removed(channels)[:, None])

    def removed(self, channels: Mapping[str, Collection[int]]) -> Removed:
        """What each class loses if these channels of the roots are removed, shape (classes,).

        Raises:
            InputError: no group has this root, or the cost is not known.
        """
        channels = self._own(channels)
        for root in channels:
            if channels[root] and root in self._unknown:
                raise InputError(_not_known(root, self._unknown[root]))
            beyond = max(channels[root], default=0) - len(self._segments[root].of_channel) + 1
            if beyond > 0:
                raise InputError(f"`{root}` has {beyond} channels less than are to be numbered")
        parts = [
            np.bincount(found.of_channel[list(channels.get(root, ()))], minlength=len(found.widths))
            for root in self.model.roots
            for found in [self._segments[root]]
        ]
        return np.concatenate([np.zeros(0), *parts])

    def left(self, removed: Removed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs and parameters left for each column of what the classes lose, see `removed`."""
        return self.model.macs.at(removed), self.model.params_at(removed)

    def point_at(self, widths: Mapping[str, int]) -> CurvePoint:
        """MACs and parameters left if groups, or layers of them, keep these numbers of channels.

        Groups that are not named are left whole. The ratio of the result is 0.

        Args:
            widths: see `analysis.cost_of`; of an account of the cut by the groups.

        Raises:
            InputError: a group cannot have this width; names the layer and the possible widths.
        """
        asked = widths_of(self._found, self.followed.groups, widths)
        found = self._ranking.outlooks([0.0], asked)
        lost = [found[root].removed for root in self.model.roots]
        (point,) = self._points([0.0], np.concatenate([np.zeros((0, 1)), *lost]))
        return point

    def _own(self, channels: Mapping[str, Collection[int]]) -> dict[str, Collection[int]]:
        """The channels by group; torch-pruning may name a group by another layer."""
        own: dict[str, Collection[int]] = {}
        for layer, removed in channels.items():
            if layer not in self._owner:
                raise InputError(f"no group has the root {layer!r}")
            owner = self._owner[layer]
            if layer == owner.group.root:
                own[layer] = removed
                continue
            roots = next(
                member.roots
                for member in owner.group.members
                if (member.layer, member.axis) == (layer, "out")
            )
            own[owner.group.root] = [roots[channel] for channel in removed]
        return own

    def _shared_out(self, ratio: float, removed: Removed) -> Savings:
        (point,) = self._points([ratio], removed)
        gone = removed[:, 0]
        model = self.model
        macs, params = (form.shares(gone) for form in (model.macs, model.params))
        copied = np.zeros(len(self._groups))
        for _, left, groups in model.copies(gone):
            copied[groups] += left / len(groups)
        first = [form.of_one for form in (model.macs, model.params)]
        rows = []
        for place, group in enumerate(self._groups):
            own = model.group_of == place
            channels = self._segments[group.root].widths
            rows.append(
                GroupSaving(
                    root=group.root,
                    width=group.width,
                    removed=round(gone[own].sum()),
                    macs=float(macs[own].sum()),
                    params=float(params[own].sum() - copied[place]),
                    macs_of_one=float(first[0][own] @ channels / channels.sum()),
                    params_of_one=float(first[1][own] @ channels / channels.sum()),
                )
            )
        return Savings(point, tuple(rows))

    def scaling(self, quantity: Quantity = "macs") -> Scaling | None:
        """a, b and c of the quadratic that explains the curve's bend; None where it is none."""
        if quantity == "bytes":
            return None
        terms = getattr(self.model, quantity).scaled(self.model.widths)
        return terms and Scaling(*terms)

    def by_layer(self, ratio: float) -> dict[str, tuple[int, int]]:
        """MACs and parameters of each layer at a ratio."""
        ((_, removed, _),) = self._expected([ratio])
        return self.model.by_layer(removed[:, 0])

    def _expected(
        self, ratios: Sequence[float]
    ) -> Iterator[tuple[Sequence[float], Removed, Mapping[str, Outlook]]]:
        """Like `_ahead`, for ratios whose cost must be known."""
        _check_ratios(ratios)
        for part, removed, found, obstacles in self._ahead(ratios):
            for ratio, obstacle in zip(part, obstacles, strict=True):
                if obstacle:
                    raise InputError(f"ratio {ratio:g} has no cost: {obstacle}")
            yield part, removed, found

    def _ahead(
        self, ratios: Sequence[float]
    ) -> Iterator[tuple[Sequence[float], Removed, Mapping[str, Outlook], list[str]]]:
        """The channels lost, shape (classes, ratios), and why a ratio has no cost."""
        for start in range(0, len(ratios), _AT_ONCE):
            part = ratios[start : start + _AT_ONCE]
            found = self._ranking.outlooks(part)
            lost = [found[root].removed for root in self.model.roots]
            removed = np.concatenate([np.zeros((0, len(part))), *lost])
            obstacles = [""] * len(part)
            for root, why in self._unknown.items():
                for place in np.flatnonzero(self._is_cut(root, found[root], part)):
                    obstacles[place] = _not_known(root, why)
            yield part, removed, found, obstacles

    def _is_cut(self, root: str, outlook: Outlook, ratios: Sequence[float]) -> NDArray[np.bool_]:
        """The ratios that request channels of a group whose cut is not known."""
        if not outlook.is_ranked or root in self._several:
            return np.array(ratios) > 0  # not even its rank is known
        return outlook.asked > 0

    def _points(self, ratios: Sequence[float], removed: Removed) -> list[CurvePoint]:
        macs, params = self.model.macs.at(removed), self.model.params_at(removed)
        return [
            CurvePoint(*values)
            for values in zip(ratios, macs.tolist(), params.tolist(), strict=True)
        ]

    def _dropped(
        self, ratios: Sequence[float], found: Mapping[str, Outlook]
    ) -> list[tuple[GroupAccount, ...]]:
        """For each ratio, the groups that lose none of the requested channels."""
        dropped: list[list[GroupAccount]] = [[] for _ in ratios]
        for group in self._groups:
            outlook = found[group.root]
            for place in np.flatnonzero((outlook.asked > 0) & (outlook.going == 0)).tolist():
                dropped[place].append(
                    GroupAccount(
                        root=group.root,
                        width=group.width,
                        requested=int(outlook.requested[place]),
                        removed=0,
                        reason=outlook.reason(place),
                        scope=self._ranking.scope_of[group.root].name,
                        ratio=ratios[place],
                    )
                )
        return [tuple(groups) for groups in dropped]

    def _turns(self, points: Sequence[CurvePoint]) -> Iterator[Turn]:
        """Neighbouring ratios of which the larger one leaves more MACs."""
        order = sorted(range(len(points)), key=lambda place: points[place].ratio)
        pairs = [
            (points[low], points[high])
            for low, high in pairwise(order)
            if points[high].macs > points[low].macs
        ]
        for before, after in pairs:
            ((_, removed, found),) = self._expected([before.ratio, after.ratio])
            more = removed[:, 0] - removed[:, 1]
            by_group = np.bincount(self.model.group_of, more, len(self._groups))
            causes = (
                (root, round(count), found[root].reason(1))
                for root, count in zip(self.model.roots, by_group, strict=True)
                if count > 0
            )
            yield Turn(before, after, tuple(causes))

    @cached_property
    def _every(
        self,
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]], tuple[Unknown, ...]]:
        """The ratios at which a width changes, what they leave, and where that is not known."""
        ratios = self._ranking.first_ratios()
        left: dict[str, list[NDArray[np.int64]]] = {"macs": [], "params": []}
        obstacles: list[str] = []
        for _, removed, _, why in self._ahead(ratios):
            obstacles += why
            left["macs"].append(self.model.macs.at(removed))
            left["params"].append(self.model.params_at(removed))
        known = np.array([not obstacle for obstacle in obstacles])
        return (
            np.array(ratios)[known],
            {name: np.concatenate(parts)[known] for name, parts in left.items()},
            tuple(_ranges(ratios, obstacles)),
        )

    def _holders(self, ratio: float, quantity: Quantity) -> tuple[Holder, ...]:
        """The layers that keep the most at a ratio."""
        ((_, removed, found),) = self._expected([ratio])
        costs = self.model.by_layer(removed[:, 0])
        place = 0 if quantity == "macs" else 1
        most = sorted(costs, key=lambda layer: -costs[layer][place])[:_HOLDERS]
        total = sum(cost[place] for cost in costs.values())
        makers = {layer: group for group in self._groups for layer in group.layers}
        return tuple(
            Holder(
                layer=layer,
                left=costs[layer][place],
                share=costs[layer][place] / max(total, 1),
                why=self._why(makers[layer], found) if layer in makers else "",
            )
            for layer in most
        )

    def _why(self, group: DependencyGroup, found: Mapping[str, Outlook]) -> str:
        outlook = found[group.root]
        kept = group.width - int(outlook.removed.sum())
        reason = outlook.reason(0)
        told = f" ({group.untraced})" if reason is Reason.UNTRACED and group.untraced else ""
        return f"{reason}: {kept} of {several(group.width, 'channel')} of `{group.root}` stay{told}"


def _check_ratios(ratios: Sequence[float]) -> None:
    for ratio in ratios:
        if not 0 <= ratio < 1:
            raise InputError(f"pruning ratio {ratio!r}; expected a number in [0, 1)")


def _ranges(ratios: Sequence[float], obstacles: Sequence[str]) -> Iterator[Unknown]:
    """Neighbouring ratios of unknown cost; each ratio represents those up to the next."""
    starts = groupby(zip(ratios, obstacles, strict=True), lambda each: bool(each[1]))
    runs = [(is_unknown, list(each)) for is_unknown, each in starts]
    for (is_unknown, run), (_, following) in pairwise([*runs, (False, [(1.0, "")])]):
        if is_unknown:
            yield Unknown(float(run[0][0]), float(following[0][0]), run[0][1])


def _not_known(root: str, why: str) -> str:
    return (
        f"what torch-pruning's cut of group `{root}` leaves is not known: {why}; the right cut has "
        "one (cut='groups', --cut groups)"
    )
