"""Which channels each ratio removes of each group by itself, and what that leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from analysis.costs.accounting import Account
from analysis.costs.predicting import account_of_sets
from analysis.errors import InputError
from analysis.groups import policies
from analysis.groups.departing import cut_copy
from analysis.groups.inspecting import Labelled
from analysis.pruning.by_groups import Chosen, RankedSets, choose, limits_of, ranked_sets, scopes_of
from analysis.records import (
    Config,
    CostTable,
    CutAlone,
    GroupSensitivity,
    PlannedGroup,
    Reason,
)

__all__ = ["Cuts"]


@dataclass(frozen=True, eq=False)
class Cuts:
    """The cuts of a network by one group alone.

    Groups are ranked each by itself, so that what a ratio removes of one depends on no other: a cut
    alone is a part of every pruning that asks the same of the group.

    Attributes:
        model: the dense network.
        sets: its groups, ranked.
        config: of the cut, locally ranked; its ratio is not read.
    """

    model: nn.Module
    sets: RankedSets
    config: Config

    @classmethod
    def of(cls, model: nn.Module, followed: Labelled, config: Config, ignore: object) -> "Cuts":
        """The cuts of a network whose channels were followed.

        Args:
            model: the dense network; not changed.
            followed: its labelled pass.
            config: importance, rounding and limits; of the local scope.
            ignore: layers that keep their outputs.

        Raises:
            InputError: a layer that is not part of the model.
        """
        choice = policies.choice_of(ignore, model)
        ignored = policies.ignored_layers(choice, model, followed.groups)
        return cls(model, ranked_sets(model, followed, ignored, config.importance), config)

    def chosen(self, ratio: float) -> Chosen:
        """What goes of every group at a ratio."""
        if ratio not in self._known:
            config = replace(self.config, ratio=ratio)
            scopes = scopes_of(self.model, self.sets, config, {})
            self._known[ratio] = choose(
                self.sets, config, scopes, limits_of(self.sets, self.config)
            )
        return self._known[ratio]

    @cached_property
    def _known(self) -> dict[float, Chosen]:
        return {}

    def network(self, name: str, ratio: float) -> nn.Module:
        """A copy of which one group is cut.

        Raises:
            InputError: no group is called so.
        """
        names = [each.group.root for each in self.sets.found]
        if name not in names:
            raise InputError(f"no group is called {name!r}")
        followed = self.sets.followed
        own = self.chosen(ratio).gone & (followed.group_of == names.index(name))
        return cut_copy(self.model, followed.trace, own, followed.repeated)

    def groups(self, ratios: Sequence[float], costs: CostTable) -> tuple[GroupSensitivity, ...]:
        """Every group with what each ratio leaves of the network, not measured yet."""
        account = account_of_sets(self.sets, costs, self.config)
        return tuple(
            GroupSensitivity(
                each.group.root,
                group.layers,
                each.group.width,
                tuple(
                    _alone(self.chosen(ratio).planned[place], ratio, account) for ratio in ratios
                ),
            )
            for place, (each, group) in enumerate(
                zip(self.sets.found, self.sets.followed.groups, strict=True)
            )
        )

    def gone(self, name: str, ratio: float) -> tuple[int, ...]:
        """The channels of a group that go at a ratio."""
        planned = self.chosen(ratio).planned
        return next(each.expected for each in planned if each.root == name)


def _alone(planned: PlannedGroup, ratio: float, account: Account) -> CutAlone:
    removed = account.removed({planned.root: planned.expected})[:, None]
    macs, params = account.left(removed)
    why = "" if planned.expected else planned.why or _WHOLE[planned.reason]
    kept = planned.width - len(planned.expected)
    return CutAlone(ratio, kept, not planned.expected, int(macs[0]), int(params[0]), why=why)


_WHOLE = {
    Reason.PRUNED: "this ratio removes none of its channels",
    Reason.KEPT: "this ratio removes none of its channels",
    Reason.WOULD_EMPTY: "the cut would leave it no channel",
    Reason.ROUNDED_AWAY: "rounding leaves it all of its channels",
    Reason.IGNORED: "it is excluded",
    Reason.CAPPED: "its greatest ratio removes none of its channels",
    Reason.SINGLE_CHANNEL: "it has one channel",
    Reason.FROZEN: "its weights are frozen",
    Reason.UNTRACED: "how its channels are used is not known",
}
"""Why a ratio leaves a group whole."""
