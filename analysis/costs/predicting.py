"""`ratio_curve` and the other functions that predict costs without pruning."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import nn

from analysis.costs.accounting import Account
from analysis.costs.followed import counted
from analysis.costs.saved_size import saved_bytes
from analysis.groups import inspecting, policies
from analysis.groups.departing import cut_copy
from analysis.network.failures import locate_failure
from analysis.network.inference import Inputs, collector_paused, left_as_found
from analysis.network.outputs import only_outputs
from analysis.network.reached import Reached, reached_layers
from analysis.network.restoring import restored
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
    "ratio_for",
    "ratio_for_macs",
    "ratio_for_params",
    "reach_of",
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
    weights, and the costs from the pass that follows channels. This takes about a second for any
    number of ratios. A ratio at which torch-pruning's own cut would not be right has no cost; with
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


def ratio_for(
    model: nn.Module, example_inputs: Inputs, targets: Any, **options: Unpack[PruningOptions]
) -> Reach:
    """The smallest pruning ratio that meets all targets, or why none does.

    Ratios whose cost is not known are in the answer's ``unknown``: one of them may meet them too. A
    copy is cut as the answer says and run once; if it does not run, it is no answer.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        targets: what is to be left at most, as ``{"macs": 0.45, "params": 1.2e6}``: in (0, 1] a
            share of the dense network's, a number above; of ``macs``, ``params`` or ``bytes``.
        **options: as in `ratio_curve`.

    Raises:
        InputError: what is no target; and as `ratio_curve`.
    """
    account = cost_account(model, example_inputs, **options)
    return reach_of(account, targets, model, example_inputs)


def reach_of(
    account: Account,
    targets: Any,
    model: nn.Module,
    example_inputs: Inputs,
    dense: CurvePoint | None = None,
) -> Reach:
    """The same of an account that was made before; shares are of ``dense``, if it is given."""

    def saved(removed: NDArray[np.bool_]) -> int:
        followed = account.followed
        return saved_bytes(cut_copy(model, followed.trace, removed, followed.repeated))

    return account.reach(targets, failing(account, model, example_inputs), saved, dense)


def ratio_for_macs(
    model: nn.Module, example_inputs: Inputs, target: float, **options: Unpack[PruningOptions]
) -> Reach:
    """The smallest pruning ratio that leaves at most ``target`` of the MACs: `ratio_for` of one."""
    return ratio_for(model, example_inputs, {"macs": target}, **options)


def ratio_for_params(
    model: nn.Module, example_inputs: Inputs, target: float, **options: Unpack[PruningOptions]
) -> Reach:
    """The smallest ratio that leaves at most ``target`` of the parameters: `ratio_for` of one."""
    return ratio_for(model, example_inputs, {"params": target}, **options)


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
    heads: str = "whole",
) -> Account:
    """The costs of every ratio, from one pass that follows channels, and one of importances.

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
        heads: how the cut by groups cuts attention whose code allows several ways, see
            `analysis.prune`.

    Raises:
        InputError: another scope, importance or cut; the model cannot be analysed as it is; or its
            cost cannot be expressed in the widths of its groups, the layer is named.
    """
    config = Config(0.0, scope, importance, round_to=round_to, cut=cut)
    check_convention(convention)
    check_usable(model)
    # A wrong name is refused before the model is run.
    choice = policies.choice_of(ignored_layers, model)
    with restored(model), only_outputs(model, outputs):
        way = None if cut == CUTS[0] else heads
        followed = inspecting.labelled(model, example_inputs, way)
        reached = reached_layers(model, example_inputs) if cut == CUTS[0] else None
        table = counted(followed, convention)
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
