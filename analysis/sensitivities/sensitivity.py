"""`analysis.sensitivity`: what the user's own metric loses by group and ratio."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from analysis.accuracy import Measure
from analysis.dense import Dense, analyse
from analysis.errors import InputError
from analysis.network.inference import Inputs, left_as_found
from analysis.network.outputs import only_outputs
from analysis.network.restoring import restored
from analysis.pruned import pruned_by_groups
from analysis.records import (
    EACH_ALONE,
    Config,
    GroupSensitivity,
    Sensitivity,
    checked_ratios,
    targets_of,
)
from analysis.sensitivities.cuts import Cuts
from analysis.sensitivities.measuring import Found, asked, costed, with_metrics
from analysis.sensitivities.suggesting import suggested

__all__ = ["sensitivity"]


def sensitivity(
    model: nn.Module,
    example_inputs: Inputs,
    evaluate: Callable[[nn.Module], Any],
    *,
    ratios: Sequence[float] = EACH_ALONE,
    targets: Any = (),
    fold_bn: bool = False,
    ignore: Any = "classifier",
    importance: str = "l1",
    round_to: int | None = None,
    max_pruning_ratio: float = 1.0,
    lower_is_better: Sequence[str] = (),
    tolerance: float | None = None,
    outputs: Sequence[str] = (),
) -> Sensitivity:
    """What a metric loses when one group alone is cut, and which ratios by group that suggests.

    Each group is cut by its own ranking, and the rest of the network stays whole. With targets,
    the measured cuts that together meet them and lose least are pruned together, proved, and
    measured. The command ``sensitivity`` does the same in several processes and can be resumed.

    Args:
        model: the dense network; not changed.
        example_inputs: as `analysis.verify`.
        evaluate: of a model; returns a number or a dict of numbers, of which the first counts.
        ratios: at which each group is cut, in [0, 1).
        targets: what is to be left at most, of MACs and parameters, as ``{"macs": 0.5}``.
        fold_bn: leave out what a device folds of batch norms, of MACs and parameters.
        ignore: layers whose output channels stay, as in `analysis.prune`.
        importance: ``l1`` or ``l2``.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: greatest share of its channels that a group loses, in (0, 1].
        lower_is_better: names of metrics of which less is better.
        tolerance: by how much two measurements of one network may differ.
        outputs: which outputs count, as in `analysis.verify`.

    Raises:
        InputError: something that cannot be asked; the metric is random or not a number; or the
            model cannot be analysed as it is.
    """
    config = Config(
        0.0,
        "local",
        importance,
        round_to=round_to,
        max_pruning_ratio=max_pruning_ratio,
        cut="groups",
        fold_bn=fold_bn,
    )
    aims, ratios = costed(targets_of(targets)), checked_ratios(ratios)
    measure = Measure(evaluate, None, tuple(lower_is_better), tolerance)
    with restored(model), left_as_found(model), only_outputs(model, outputs):
        dense = analyse(model, example_inputs)
        dense = dense.folded if fold_bn else dense
        before = measure.dense(model)
        cuts = Cuts.of(model, dense.followed_for(config.heads), config, ignore)
        answer = _scanned(cuts, cuts.groups(ratios, dense.costs), measure, before)
        return _completed(answer, cuts, dense, replace(config, targets=aims), ignore, measure)


def _scanned(
    cuts: Cuts, groups: Sequence[GroupSensitivity], measure: Measure, before: dict[str, float]
) -> Sensitivity:
    """The groups with what each cut of them costs."""
    found = {
        (name, cut.kept): _measured(measure, cuts, name, cut.ratio) for name, cut in asked(groups)
    }
    return Sensitivity(tuple(before.items()), with_metrics(groups, found, before, measure.lower))


def _measured(measure: Measure, cuts: Cuts, name: str, ratio: float) -> Found:
    try:
        return measure.metrics_of(cuts.network(name, ratio))
    except InputError as error:
        return str(error)


def _completed(
    answer: Sensitivity, cuts: Cuts, dense: Dense, config: Config, ignore: Any, measure: Measure
) -> Sensitivity:
    """The same with what meets the targets, pruned, and measured if it is proved."""
    if not config.targets:
        return answer
    suggestion = suggested(cuts, answer.groups, dense.costs, config.targets)
    if isinstance(suggestion, str):
        return replace(answer, why_not=suggestion)
    outcome = pruned_by_groups(dense, replace(config, widths=suggestion.widths), ignore).outcome
    run = outcome.run
    if run.verification.verdict.passes:
        metrics, _ = measure.of_pruned(outcome.pruned, dict(answer.dense))
        run = replace(run, metrics=metrics)
    return replace(answer, suggestion=suggestion, run=run)
