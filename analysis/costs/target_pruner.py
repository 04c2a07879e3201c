"""A pruner that lands on targets: before each step it asks for what is left to them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from analysis.costs.accounting import Account
from analysis.costs.folding import folded, folds_of
from analysis.costs.followed import count_macs
from analysis.costs.predicting import reach_of
from analysis.costs.saved_size import saved_bytes
from analysis.network.inference import Inputs
from analysis.pruning.by_groups import Chosen, choose
from analysis.pruning.group_pruner import GroupPruner, Numbers
from analysis.pruning.rules import Scope
from analysis.records import Config, CostTable, CurvePoint, Reach, Target, predictable, targets_of

__all__ = ["TargetPruner"]


class TargetPruner(GroupPruner):
    """A `GroupPruner` whose request is what is left, in place of a ratio.

    Before each step the network is ranked, counted and asked anew, as training since the last one
    has left it. The last step takes the smallest ratio that meets the targets; those before take
    equal parts of the way, and stop short of them by a channel rather than go too far.

    Args:
        model: the network that is pruned, in place.
        example_inputs: a tensor, a tuple or a dict.
        targets: as ``{"macs": 0.45, "params": 1.2e6}``, see `analysis.ratio_for`.
        fold_bn: leave out what a device folds of batch norms.
        costs: of the model, if it was counted before, and how; ``fold_bn`` is not read then.
        **options: of `GroupPruner`.

    Attributes:
        targets: what is to be left at most.
        reach: how the last step found its ratio, or what no ratio reaches; None before the first.

    Raises:
        InputError: what is no target, or is of latency; as `GroupPruner`; or the costs cannot be
            expressed in the widths of the groups.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Inputs,
        targets: Any,
        *,
        fold_bn: bool = False,
        costs: CostTable | None = None,
        **options: Any,
    ) -> None:
        self.targets: tuple[Target, ...] = predictable(targets_of(targets))
        self.reach: Reach | None = None
        super().__init__(model, example_inputs, 0.0, **options)
        self._folds = costs.folded if costs else folds_of(model, example_inputs) if fold_bn else ()
        self._table = costs or self._counted()
        of_bytes = any(target.quantity == "bytes" for target in self.targets)
        size = saved_bytes(model) if of_bytes else None
        self._dense = CurvePoint(0.0, self._table.macs, self._table.params, size)

    @classmethod
    def asked_by(
        cls, config: Config, model: nn.Module, example_inputs: Inputs, **options: Any
    ) -> "TargetPruner":
        """One that is asked for the targets of a config, and further ``options`` of its own."""
        return cls(model, example_inputs, config.targets, **(cls.options_of(config) | options))

    def _counted(self) -> CostTable:
        table = count_macs(self.model, self._inputs)
        return folded(table, self._folds) if self._folds else table

    def _chosen(self, numbers: Numbers) -> Chosen:
        """Which channels go at the ratio that brings this step's part of the way."""
        if self.current_step > 1:
            self._table = self._counted()
        share = self.current_step / self.iterative_steps
        sets, limits = self._sets, self._limits(numbers)
        scopes = [*self._asked_anew(numbers, share)]
        account = Account(
            self._table, sets.followed, sets.found, sets.scores, self._config, limits, scopes
        )
        wanted = [*self._on_the_way(share)]
        self.reach = reach_of(account, wanted, self.model, self._inputs, self._dense)
        ratio = self.reach.nearest.ratio
        if share < 1 and self.reach.point:
            ratio = max(ratio - _LESS, 0.0)
        self.pruning_ratio = 1 - (1 - self.pruning_ratio) * (1 - ratio)
        return choose(sets, replace(self._config, ratio=ratio), scopes, limits)

    def _asked_anew(self, numbers: Numbers, share: float) -> Iterator[Scope]:
        """What is ranked together; a ratio is of what is left, but for one of a layer's own."""
        for scope in self._scopes_now(numbers, share):
            yield scope if scope.ratio is not None else replace(scope, initial=None)

    def _on_the_way(self, share: float) -> Iterator[Target]:
        """The targets of a step that goes this share of the way."""
        for target in self.targets:
            dense = getattr(self._dense, target.quantity)
            left = min(target.most(dense) / dense, 1.0)
            yield target if share == 1 else replace(target, limit=1 - (1 - left) * share)


_LESS = 1e-9
"""Nothing is between a ratio and one that is so much smaller but the last channel that it asks."""
