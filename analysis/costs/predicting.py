"""`ratio_curve` and the other functions that predict costs without pruning."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.costs.accounting import Account
from analysis.costs.followed import count_macs, counted
from analysis.groups import inspecting, policies
from analysis.groups.departing import cut_copy
from analysis.network.failures import locate_failure
from analysis.network.inference import Inputs, collector_paused, left_as_found
from analysis.network.outputs import only_outputs
from analysis.network.reached import Reached, reached_layers
from analysis.network.usable import check_usable
from analysis.pruning.by_groups import RankedSets, limits_of, ranked_sets
from analysis.pruning.expected import expected
from analysis.pruning.importances import group_importances
from analysis.records import (
    CUTS,
    Config,
    CostTable,
    CurvePoint,
    RatioCurve,
    Reach,
    check_convention,
    checked_ratios,
)

__all__ = [
    "PruningOptions",
    "account_of",
    "account_of_sets",
    "cost_account",
    "cost_of",
    "failing",
    "ratio_curve",
    "ratio_for_macs",
    "ratio_for_params",
]


class PruningOptions(TypedDict, total=False):
    """Options of a prediction; see `cost_account`."""

    ignored_layers: Any
    scope: str
    importance: str
    round_to: int | None
    cut: str
    outputs: Sequence[str]
    convention: str


def ratio_curve(
    model: nn.Module,
    example_inputs: Inputs,
    ratios: Iterable[float],
    **options: Unpack[PruningOptions],
) -> RatioCurve:
    """MACs and parameters left at each ratio, as counted after pruning a copy.

    Nothing is pruned. The widths follow from torch-pruning's importance, recomputed from the
    weights, and the costs from one count and the groups. This takes a few seconds for any number of
    ratios. A ratio at which torch-pruning's own cut would not be right has no cost; with
    ``cut="groups"`` it has that of the right cut.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        ratios: in [0, 1).
        **options: ``ignored_layers``, ``scope``, ``importance``, ``round_to``, ``cut``,
            ``outputs`` and ``convention``, see `cost_account`.

    Raises:
        InputError: a ratio outside [0, 1); the model cannot be analysed as it is; or its cost
            cannot be expressed in the widths of its groups, the layer is named.
    """
    ratios = checked_ratios(ratios)
    return cost_account(model, example_inputs, **options).curve(ratios).complete()


def cost_of(
    model: nn.Module,
    example_inputs: Inputs,
    widths: Mapping[str, int],
    *,
    convention: str = "fvcore",
    heads: str = "whole",
    outputs: Sequence[str] = (),
) -> CurvePoint:
    """MACs and parameters left if layers keep these numbers of channels.

    Like `ratio_curve`, for widths in place of ratios: nothing is pruned. All layers of a group keep
    the same number of channels; groups that are not named are left whole.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        widths: how many channels are left, by layer or group.
        convention: the counting convention, see `analysis.count_macs`.
        heads: how attention is cut if its code allows several ways, see `analysis.prune`.
        outputs: the outputs to compare, as in `analysis.verify`.

    Raises:
        InputError: a layer is not known, or cannot have this width; names the possible widths.
    """
    account = cost_account(
        model, example_inputs, cut="groups", convention=convention, heads=heads, outputs=outputs
    )
    return account.point_at(widths)


def ratio_for_macs(
    model: nn.Module, example_inputs: Inputs, target: float, **options: Unpack[PruningOptions]
) -> Reach:
    """The smallest pruning ratio that leaves at most ``target`` of the MACs, or why none does.

    Ratios whose cost is not known are in ``unknown`` of the result: one of them may meet the
    target, too. A copy is cut at the ratio found and run once; a ratio at which it does not run is
    not returned.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        target: greatest share of the dense MACs that may be left, in (0, 1].
        **options: as in `ratio_curve`.

    Raises:
        InputError: a target outside (0, 1]; and as `ratio_curve`.
    """
    account = cost_account(model, example_inputs, **options)
    return account.reach(target, "macs", failing(account, model, example_inputs))


def ratio_for_params(
    model: nn.Module, example_inputs: Inputs, target: float, **options: Unpack[PruningOptions]
) -> Reach:
    """The smallest pruning ratio that leaves at most ``target`` of the parameters.

    Arguments and errors are those of `ratio_for_macs`.
    """
    account = cost_account(model, example_inputs, **options)
    return account.reach(target, "params", failing(account, model, example_inputs))


def failing(
    account: Account, model: nn.Module, example_inputs: Inputs
) -> Callable[[NDArray[np.bool_]], str]:
    """A function that says why a network does not run without the positions of some labels."""

    def run(removed: NDArray[np.bool_]) -> str:
        with left_as_found(model):
            pruned = cut_copy(
                model.eval(), account.followed.trace, removed, account.followed.repeated
            )
            return str(locate_failure(pruned, example_inputs) or "")

    return run


@collector_paused()
def cost_account(
    model: nn.Module,
    example_inputs: Inputs,
    ignored_layers: Any = (),
    *,
    scope: str = "global",
    importance: str = "l1",
    round_to: int | None = None,
    cut: str = "torch-pruning",
    names: Collection[str] = (),
    outputs: Sequence[str] = (),
    convention: str = "fvcore",
    heads: str | None = None,
) -> Account:
    """The costs of every ratio, from one count, one set of groups and one pass of importances.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        ignored_layers: layers that keep their output channels: modules or names, a policy's name,
            or a function of the model.
        scope: ``global`` or ``local``.
        importance: ``l1`` or ``l2``.
        round_to: keep channel counts a multiple of this.
        cut: who cuts: ``torch-pruning``, which has no cost where its cut would not be right, or
            ``groups``, with the same rules applied to the sets of channels that are removed
            together (see `Group.together`), which is right everywhere.
        names: layers after which groups are named, if they make their channels.
        outputs: the outputs to compare, as in `analysis.verify`; empty is all.
        convention: the counting convention, see `analysis.count_macs`.
        heads: how attention is cut if its code allows several ways, see `analysis.prune`.

    Raises:
        InputError: another scope, importance or cut; the model cannot be analysed as it is; or its
            cost cannot be expressed in the widths of its groups, the layer is named.
    """
    config = Config(0.0, scope, importance, round_to=round_to, cut=cut)
    check_convention(convention)
    check_usable(model)
    # A wrong name is refused before the model is run.
    choice = policies.choice_of(ignored_layers, model)
    with only_outputs(model, outputs):
        table = count_macs(model, example_inputs, outputs=outputs)
        followed = inspecting.labelled(model, example_inputs, heads)
        reached = reached_layers(model, example_inputs) if cut == CUTS[0] else None
        if convention != table.convention:
            table = counted(followed, "", convention)
    return account_of(model, followed, table, choice, config, names, reached)


def account_of(
    model: nn.Module,
    followed: inspecting.Labelled,
    table: CostTable,
    ignored_layers: Any,
    config: Config,
    names: Collection[str] = (),
    reached: Reached | None = None,
) -> Account:
    """As `cost_account`, of a network that was counted and followed before.

    Args:
        model: the dense network; not changed.
        followed: its labelled pass.
        table: its count.
        ignored_layers: as `cost_account`.
        config: scope, importance, ``round_to`` and who cuts; its ratio is not read.
        names: as `cost_account`.
        reached: the layers that DepGraph reaches, for the cost of torch-pruning's cut; None is all.

    Raises:
        InputError: as `cost_account`.
    """
    ignored = policies.ignored_layers(ignored_layers, model, followed.groups)
    if config.cut == "groups":
        sets = ranked_sets(model, followed, ignored, config.importance, names)
        return account_of_sets(sets, table, config)
    found = expected(followed, ignored, names, reached)
    scores = group_importances(model, tuple(each.group for each in found), config.importance)
    return Account(table, followed, found, scores, config)


def account_of_sets(sets: RankedSets, table: CostTable, config: Config) -> Account:
    """The same for cuts of sets of channels that were ranked before."""
    limits = limits_of(sets, config)
    return Account(table, sets.followed, sets.found, sets.scores, config, limits)
