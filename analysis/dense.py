"""A dense network, and what is known of it before any pruning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import nn

from analysis.costs.accounting import Account
from analysis.costs.folding import folded, folds_of
from analysis.costs.predicting import account_of, account_of_sets, reach_of
from analysis.costs.run_costs import measure
from analysis.errors import AnalysisError, BudgetExceededError, UnprunableError
from analysis.groups import depgraph, inspecting
from analysis.groups.heads import preferred
from analysis.network.inference import (
    Inputs,
    left_as_found,
)
from analysis.network.reached import Reached, reached_layers
from analysis.network.usable import check_copied, check_usable
from analysis.processes import budgets
from analysis.proof.other_sizes import Noted
from analysis.proof.stepping import verdict_of
from analysis.pruning.group_pruner import GroupPruner
from analysis.records import (
    Config,
    CostTable,
    DependencyGroup,
    Group,
    Reach,
    Verdict,
    Verification,
)

__all__ = ["Dense", "analyse"]


@dataclass(frozen=True, eq=False)
class Dense:
    """A dense network and what is known of it before any pruning."""

    model: nn.Module
    inputs: Inputs

    @cached_property
    def _measured(self) -> tuple[CostTable, int]:
        return measure(self.model, self.inputs, vars(self).get("followed"))

    @property
    def costs(self) -> CostTable:
        """Its MACs and parameters."""
        return self._measured[0]

    @property
    def saved_bytes(self) -> int:
        """The size of its saved weights."""
        return self._measured[1]

    @cached_property
    def _graph(self) -> tuple[DependencyGroup, ...] | Verification:
        try:
            with left_as_found(self.model), budgets.step("building the dependency graph"):
                return depgraph.dependency_groups(self.model, self.inputs)
        except UnprunableError as failure:
            return Verification(Verdict.UNPRUNABLE, str(failure))

    def ask_depgraph(self, budget: float | None) -> None:
        """Let DepGraph trace the network now and keep the result.

        Args:
            budget: time limit in seconds; a time-out is kept as the result. None is no limit.
        """
        try:
            with budgets.limited(budget):
                self._graph  # noqa: B018
        except BudgetExceededError as failure:
            vars(self)["_graph"] = verdict_of(failure)

    @property
    def dependency_groups(self) -> tuple[DependencyGroup, ...]:
        """torch-pruning's groups, traced on first use; none if it cannot trace the network."""
        return () if isinstance(self._graph, Verification) else self._graph

    @property
    def error(self) -> Verification | None:
        """Why DepGraph could not trace the network; None where it could."""
        return self._graph if isinstance(self._graph, Verification) else None

    @cached_property
    def followed(self) -> inspecting.Labelled:
        """The labelled pass of the network, run once."""
        with budgets.step("following the channels"):
            return inspecting.labelled(self.model, self.inputs)

    @cached_property
    def noted(self) -> Noted:
        """The operators of the network, recorded once and before any pruner has seen it."""
        with left_as_found(self.model), budgets.step("following the channels"):
            return Noted.of(self.model, self.inputs, self.followed.trace)

    def followed_for(self, heads: str) -> inspecting.Labelled:
        """The same for a cut of attention in this way, see `inspecting.labelled`."""
        if not preferred(self.followed.trace, heads):
            return self.followed
        if heads not in self._followed:
            self._followed[heads] = inspecting.labelled(self.model, self.inputs, heads)
        return self._followed[heads]

    @cached_property
    def _followed(self) -> dict[str, inspecting.Labelled]:
        return {}

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of the network, independent of torch-pruning."""
        return self.followed.groups

    @cached_property
    def folded(self) -> "Dense":
        """The same, counted with batch norms folded into the layers before them."""
        with budgets.step("looking for batch norms that fold"):
            costs = folded(self.costs, folds_of(self.model, self.inputs))
        found = replace(self)
        vars(found)["_measured"] = costs, self.saved_bytes
        known = ("_graph", "followed", "noted", "_followed", "reached")  # what costs nothing of
        vars(found).update({name: vars(self)[name] for name in known if name in vars(self)})
        return found

    @cached_property
    def reached(self) -> Reached:
        """The layers that DepGraph reaches."""
        return reached_layers(self.model, self.inputs)

    def account_of(
        self,
        ignored_layers: Any,
        config: Config,
        groups: Sequence[DependencyGroup],
        reached: Reached | None = None,
    ) -> Account:
        """What cuts of its groups cost under a policy, named as torch-pruning's ``groups`` are.

        Raises:
            InputError: that cannot be expressed.
        """
        names = [group.root for group in groups]
        return account_of(
            self.model, self.followed, self.costs, ignored_layers, config, names, reached
        )

    def reach(self, config: Config, ignored_layers: Any) -> Reach:
        """The smallest ratio at which torch-pruning's cut meets a config's targets.

        Raises:
            InputError: the costs cannot be expressed.
        """
        account = self.account_of(ignored_layers, config, self.dependency_groups, self.reached)
        return reach_of(account, config.targets, self.model, self.inputs)

    def account(self, groups: Sequence[DependencyGroup], pruner: Any = None) -> Account | None:
        """What a pruner's cuts of its groups cost; None where that cannot be expressed."""
        if isinstance(pruner, GroupPruner):
            return _priced(lambda: account_of_sets(pruner.sets, self.costs, Config(0.0)))
        key = tuple(group.root for group in groups)
        if key not in self._accounts:
            self._accounts[key] = _priced(lambda: self.account_of((), Config(0.0), groups))
        return self._accounts[key]

    @cached_property
    def _accounts(self) -> dict[tuple[str, ...], Account | None]:
        return {}


def _priced(account: Callable[[], Account]) -> Account | None:
    try:
        with budgets.step("predicting costs"):
            return account()
    except AnalysisError:
        return None


def analyse(model: nn.Module, example_inputs: Inputs) -> Dense:
    """Check a dense network, whose runs share what is found of it.

    Raises:
        InputError: the model cannot be analysed as it is (see
            `analysis.network.usable.check_usable`), or a copy of it computes something else.
    """
    check_usable(model)
    with left_as_found(model):
        check_copied(model, example_inputs)
    return Dense(model, example_inputs)
