"""Which measured cuts meet the targets together, and lose least."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.costs.accounting import Account
from analysis.costs.predicting import account_of_sets
from analysis.errors import InputError
from analysis.pruning.by_groups import scopes_of
from analysis.records import (
    QUANTITIES,
    CostTable,
    CutAlone,
    GroupSensitivity,
    Suggestion,
    Target,
)
from analysis.sensitivities.choosing import Choices, Numbers, Problem, chosen, least
from analysis.sensitivities.cuts import Cuts

__all__ = ["suggested"]


def suggested(
    cuts: Cuts,
    groups: Sequence[GroupSensitivity],
    costs: CostTable,
    targets: Sequence[Target],
) -> Suggestion | str:
    """The measured cuts that together meet the targets and lose least, or why none do.

    Args:
        cuts: of the network.
        groups: with what they lose.
        costs: of the dense network.
        targets: of MACs and parameters.
    """
    options = [_options(group) for group in groups]
    bill = _Bill.of(cuts, groups, options, costs)
    limits = {target.quantity: target.most(getattr(costs, target.quantity)) for target in targets}

    def over(choices: Choices) -> Numbers:
        left = bill.left(choices)
        parts = [np.maximum(left[name] / limit - 1, 0) for name, limit in limits.items()]
        return np.asarray(np.sum(parts, axis=0))

    problem = Problem([[0.0, *(cut.lost or 0.0 for cut in own)] for own in options], over)
    found, method = chosen(problem)
    if found is None:
        return _unmet(targets, bill.left(least(problem)))
    taken = [
        (group.name, own[option - 1])
        for group, own, option in zip(groups, options, found, strict=True)
        if option
    ]
    choice = np.array([found], np.int64)
    left = bill.left(choice)
    return Suggestion(
        ratios_by_layer=tuple((name, cut.ratio) for name, cut in taken),
        widths=tuple((name, cut.kept) for name, cut in taken),
        loss=float(problem.loss(choice)[0]),
        macs=int(left["macs"][0]),
        params=int(left["params"][0]),
        method=method,
        is_by_layer=_is_by_layer(cuts, {name: cut.ratio for name, cut in taken}),
    )


def _is_by_layer(cuts: Cuts, ratios: dict[str, float]) -> bool:
    """Whether these ratios, asked of layers of these names, are asked of these groups alone."""
    try:
        scopes = scopes_of(cuts.model, cuts.sets, cuts.config, ratios)
    except InputError:
        return False
    found = {root: each.ratio for each in scopes for root in each.roots if each.ratio is not None}
    return found == ratios


def _options(group: GroupSensitivity) -> list[CutAlone]:
    """The cuts of a group whose loss is known, each width once, from the widest."""
    known = {cut.kept: cut for cut in reversed(group.cuts) if cut.lost is not None}
    return [known[kept] for kept in sorted(known, reverse=True)]


@dataclass(frozen=True, eq=False)
class _Bill:
    """What choices cost: exact, also where a layer is cut by two groups.

    Attributes:
        account: of the network.
        lost: by group and option, what each class of channels loses.
    """

    account: Account
    lost: Sequence[Sequence[Numbers]]

    @classmethod
    def of(
        cls,
        cuts: Cuts,
        groups: Sequence[GroupSensitivity],
        options: Sequence[Sequence[CutAlone]],
        costs: CostTable,
    ) -> "_Bill":
        """The bill of the options of each group, of which the first leaves it whole."""
        account = account_of_sets(cuts.sets, costs, cuts.config)
        gone = [
            [(), *(cuts.gone(group.name, cut.ratio) for cut in own)]
            for group, own in zip(groups, options, strict=True)
        ]
        lost = [
            [account.removed({group.name: channels}) for channels in own]
            for group, own in zip(groups, gone, strict=True)
        ]
        return cls(account, lost)

    def left(self, choices: Choices) -> Mapping[str, NDArray[np.int64]]:
        """MACs and parameters of each choice, shape (choices,)."""
        starts = range(0, max(len(choices), 1), _AT_ONCE)
        parts = [self._part(choices[start : start + _AT_ONCE]) for start in starts]
        macs, params = (np.concatenate(each) for each in zip(*parts, strict=True))
        return {"macs": macs, "params": params}

    def _part(self, choices: Choices) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        removed = sum(np.stack([*own])[choices[:, place]] for place, own in enumerate(self.lost))
        return self.account.left(np.asarray(removed).T)


_AT_ONCE = 4096
"""How many choices are costed at once; more take more memory."""


def _unmet(targets: Sequence[Target], left: Mapping[str, NDArray[np.int64]]) -> str:
    asked = " and ".join(target.words for target in targets)
    fewest = " and ".join(
        f"{int(left[target.quantity][0]):,} {QUANTITIES[target.quantity]}" for target in targets
    )
    return (
        f"no choice of the measured cuts leaves {asked}: with every group cut most, {fewest} are "
        "left; give greater --ratios"
    )
