"""`ratio_curve` and the other doors that predict what a ratio leaves; nothing is pruned."""

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

from torch import nn

from analysis.costs import counting
from analysis.costs.accounting import Account
from analysis.groups import depgraph
from analysis.network.inference import Inputs
from analysis.pruning import surgery
from analysis.records import Config, CurvePoint, RatioCurve, Reach, checked_ratios

__all__ = ["PruningOptions", "cost_account", "ratio_curve", "ratio_for_macs", "ratio_for_params"]


class PruningOptions(TypedDict, total=False):
    """How torch-pruning's MagnitudePruner is told to prune; see `cost_account`."""

    ignored_layers: Any
    scope: str
    importance: str
    round_to: int | None


def ratio_curve(
    model: nn.Module,
    example_inputs: Inputs,
    ratios: Iterable[float],
    **options: Unpack[PruningOptions],
) -> RatioCurve:
    """MACs and parameters left at each ratio, as pruning a copy and counting it would give them.

    Nothing is pruned: the widths follow from one pass of torch-pruning's importance, the costs
    from one count and the groups. A few seconds for any number of ratios.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        ratios: in [0, 1).
        **options: ``ignored_layers``, ``scope``, ``importance`` and ``round_to``, see
            `cost_account`.

    Raises:
        InputError: a ratio outside [0, 1); the model cannot be analysed as it is; or its cost
            cannot be expressed in the widths of its groups, the layer is named.
        UnprunableError: torch-pruning cannot trace the model.
    """
    ratios = checked_ratios(ratios)
    return cost_account(model, example_inputs, **options).curve(ratios)


def ratio_for_macs(
    model: nn.Module, example_inputs: Inputs, target: float, **options: Unpack[PruningOptions]
) -> Reach:
    """The smallest pruning ratio that leaves at most ``target`` of the MACs, or why none does.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        target: share of the dense MACs that may stay, in (0, 1].
        **options: as in `ratio_curve`.

    Raises:
        InputError: a target outside (0, 1]; and as `ratio_curve`.
        UnprunableError: as `ratio_curve`.
    """
    return cost_account(model, example_inputs, **options).reach(target, "macs")


def ratio_for_params(
    model: nn.Module, example_inputs: Inputs, target: float, **options: Unpack[PruningOptions]
) -> Reach:
    """The smallest pruning ratio that leaves at most ``target`` of the parameters.

    Arguments and errors are those of `ratio_for_macs`.
    """
    return cost_account(model, example_inputs, **options).reach(target, "params")


def cost_account(
    model: nn.Module,
    example_inputs: Inputs,
    ignored_layers: Any = (),
    *,
    scope: str = "global",
    importance: str = "l1",
    round_to: int | None = None,
) -> Account:
    """What every ratio costs, from one count, one reading of the groups and one importance pass.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        ignored_layers: whose output channels must stay: modules or names, a policy's name, or a
            function of the model.
        scope: ``global`` or ``local``.
        importance: ``l1`` or ``l2``.
        round_to: keep channel counts a multiple of this.

    Raises:
        InputError: the model cannot be analysed as it is; or its cost cannot be expressed in the
            widths of its groups, the layer is named.
        UnprunableError: torch-pruning cannot trace the model.
    """
    config = Config(0.0, scope, importance, round_to=round_to)
    counts = []

    def run(copy: nn.Module, inputs: Inputs) -> Any:
        """The forward pass that the groups are traced from is counted as well."""
        counts.append(counting.Count(copy, follow=True))
        return counts[-1].run(inputs)

    groups, scores = depgraph.ranked_groups(
        model, example_inputs, ignored_layers, surgery.IMPORTANCES[importance](), run
    )
    table = counts[0].table()
    dense = CurvePoint(0.0, table.macs, table.params)
    return Account(dense, counts[0].products(), groups, scores, config)
