"""Prune a network right: by its groups, and proved."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from analysis.costs.target_pruner import TargetPruner
from analysis.errors import InputError
from analysis.groups import policies
from analysis.groups.departing import cut_copy
from analysis.latencies.measuring import decided
from analysis.latencies.reaching import in_time
from analysis.network.inference import Inputs, copy_of, left_as_found
from analysis.network.outputs import only_outputs
from analysis.network.restoring import restored
from analysis.pipeline import Dense, Outcome, analyse, only_pruned, prune_and_prove
from analysis.processes import budgets
from analysis.proof.distinct_values import make_distinct
from analysis.proof.other_sizes import Noted
from analysis.proof.proving import prove
from analysis.pruning.by_groups import removals_of
from analysis.pruning.group_pruner import GroupPruner
from analysis.pruning.pruners import Between
from analysis.records import (
    IMPORTANCES,
    Attribute,
    Config,
    Latency,
    Timing,
    Verdict,
    Verification,
    checked_widths,
    targets_of,
)

__all__ = ["Pruned", "prune", "pruned_by_groups", "sketched_by_groups"]


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned copy of a network.

    Attributes:
        model: the copy, in the train or eval mode of the network that it was made of.
        verification: the proof; ``groups`` holds the requested and removed channels, and why they
            differ.
        axes: for each axis that lost positions, by tensor and dimension, those that are left.
        outcome: the evidence that checks judge.
    """

    model: nn.Module
    verification: Verification
    axes: Mapping[tuple[str, int], Sequence[int]]
    outcome: Outcome

    @property
    def kept(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The dense index of each channel, by layer and axis (``out``, ``in``)."""
        return self.verification.kept

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes of modules that hold sizes and were set."""
        return self.verification.attributes

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of the copy on the example inputs; None if it does not run."""
        return self.outcome.run.macs.after

    @property
    def params(self) -> int | None:
        """Parameters of the copy; None if it does not run."""
        return self.outcome.run.params.after

    @property
    def latency(self) -> Latency | None:
        """Beside the dense network; None where no target is of it."""
        return self.outcome.run.latency


def prune(
    model: nn.Module,
    example_inputs: Inputs,
    ratio: float = 0.0,
    *,
    targets: Any = (),
    fold_bn: bool = False,
    ignore: Any = "classifier",
    scope: str = "local",
    importance: str | Callable[[Any], Any] = "l1",
    round_to: int | None = None,
    max_pruning_ratio: float = 1.0,
    ratios_by_layer: Mapping[Any, float] | None = None,
    widths: Mapping[str, int] | None = None,
    heads: str = "whole",
    min_channels: int = 1,
    iterative_steps: int = 1,
    between: Between | None = None,
    outputs: Sequence[str] = (),
) -> Pruned:
    """Prune a copy of a network by its groups, and prove it.

    A cut that is not proved is not made. The group stays whole, and the verification's reason says
    why.

    Args:
        model: the dense network; not changed.
        example_inputs: as `analysis.verify`.
        ratio: share of the channels that go, in [0, 1).
        targets: what is to be left at most, in place of a ratio, see `analysis.ratio_for`; also
            ``{"latency": 0.6}``, for which ratios are tried and measured. Where no ratio meets
            them, that is taken which leaves least, and the verification's reason says so.
        fold_bn: leave out what a device folds of batch norms, of MACs and parameters.
        ignore: layers whose output channels stay: a policy's name, a list of layers or of their
            names, or a function of the model.
        scope: ``local`` ranks inside each group, ``global`` across groups.
        importance: ``l1``, ``l2``, or an importance of torch-pruning's.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: greatest share of its channels that a group loses, in (0, 1].
        ratios_by_layer: by layer, name of one, or tuple of these, a ratio of its own.
        widths: by layer, or group, the channels that are left of it, whatever the ratio.
        heads: whether ``whole`` heads of attention go, or as many channels of each (``alike``),
            where the network's code takes either.
        min_channels: channels that each group keeps at the least.
        iterative_steps: steps in which the ratio, or the targets, are reached.
        between: called with the copy between two steps, to train it.
        outputs: which outputs count, as in `analysis.verify`.

    Raises:
        InputError: something that cannot be asked; the model does not run on the inputs, or cannot
            be analysed as it is.
    """
    norm, asked = IMPORTANCES[0] if callable(importance) else importance, targets_of(targets)
    if between is not None and any(target.is_measured for target in asked):
        raise InputError(
            "latency is sought by pruning several times, without training; leave out between, and "
            "prune at the ratio that is found"
        )
    if asked and ratio:
        raise InputError(f"ratio {ratio!r} and targets; expected one of them")
    config = Config(
        ratio,
        scope,
        norm,
        round_to=round_to,
        max_pruning_ratio=max_pruning_ratio,
        cut="groups",
        heads=heads,
        widths=tuple(checked_widths(widths or {}).items()),
        targets=asked,
        sought=bool(asked),
        fold_bn=fold_bn,
    )
    options = {
        "importance": importance,
        "ratios_by_layer": ratios_by_layer,
        "min_channels": min_channels,
        "iterative_steps": iterative_steps,
    }
    with restored(model), left_as_found(model), only_outputs(model, outputs):
        dense = analyse(model, example_inputs)
        dense = dense.folded if fold_bn else dense
        if any(target.is_measured for target in asked):
            pruned = _in_time(dense, config, ignore, options)
        else:
            pruned = _pruned_by_groups(dense, config, ignore, between, options)
    # A command says so in a check.
    return replace(pruned, verification=_told(pruned.verification, pruned.outcome.unreached))


def _told(verification: Verification, *more: str) -> Verification:
    """The answer with further reasons."""
    reason = "; ".join(filter(None, [verification.reason, *more]))
    return replace(verification, reason=reason)


def _in_time(dense: Dense, config: Config, ignore: Any, options: Mapping[str, Any]) -> Pruned:
    """What meets targets of latency, which is measured; its record has the latency."""

    def attempt(asked: Config) -> tuple[Outcome, Pruned]:
        made = pruned_by_groups(dense, asked, ignore, **options)
        return made.outcome, made

    def sketch(asked: Config) -> nn.Module | None:
        return sketched_by_groups(dense, asked, ignore, **options)

    timing = Timing(layers=False)
    outcome, pruned = in_time(dense, config, sketch, attempt, timing)
    if outcome.run.verification.verdict.passes:
        latency = decided(dense.model, outcome.pruned, dense.inputs, timing, config.targets)
        outcome = replace(outcome, run=replace(outcome.run, latency=latency))
    return replace(pruned, outcome=outcome)


def pruned_by_groups(
    dense: Dense, config: Config, ignore: Any, between: Between | None = None, **options: Any
) -> Pruned:
    """As `prune`, of a network that was analysed before.

    Args:
        dense: see `analysis.dense.analyse`.
        config: what is asked.
        ignore: see `GroupPruner`.
        between: see `prune`.
        **options: of `GroupPruner`, beside those that the config says.

    Raises:
        InputError: as `prune`.
    """
    with restored(dense.model):
        return _pruned_by_groups(dense, config, ignore, between, options)


def _pruned_by_groups(
    dense: Dense,
    config: Config,
    ignore: Any,
    between: Between | None,
    options: Mapping[str, Any],
) -> Pruned:
    """As `pruned_by_groups`, of a network that the caller restores."""
    groups, whole = dense.followed_for(config.heads).groups, dict[int, str]()
    while True:
        pruning = _Pruning(dense, config, ignore, between, whole, options)
        outcome = pruning.outcome()
        found = outcome.run.verification
        is_wrong = found.verdict in (Verdict.WRONG, Verdict.BROKEN)
        refuted = pruning.refuted() if is_wrong and pruning.pruner is not None else {}
        if not refuted:
            break
        whole |= refuted
    if whole:
        said = (f"`{groups[place].name}` is left whole: {why}" for place, why in whole.items())
        found = _told(found, *said)
        outcome = replace(outcome, run=replace(outcome.run, verification=found))
    for name, module in outcome.pruned.named_modules():
        module.training = dense.model.get_submodule(name).training
    axes = {} if pruning.pruner is None else pruning.pruner.axes
    return Pruned(outcome.pruned, found, axes, outcome)


def sketched_by_groups(
    dense: Dense, config: Config, ignore: Any, **options: Any
) -> nn.Module | None:
    """The network of `pruned_by_groups` without its proof; None where it cannot be pruned."""
    pruning = _Pruning(dense, config, ignore, None, (), options)
    return only_pruned(dense, config, ignore, pruning.built)


class _Pruning:
    """One attempt, with some groups left whole."""

    def __init__(
        self,
        dense: Dense,
        config: Config,
        ignore: Any,
        between: Between | None,
        whole: Collection[int],
        options: Mapping[str, Any],
    ) -> None:
        self._dense, self._config, self._ignore = dense, config, ignore
        self._between, self._options = between, options
        groups = dense.followed_for(config.heads).groups
        self._whole = [layer for place in whole for layer in groups[place].layers]
        self.pruner: GroupPruner | None = None

    def outcome(self) -> Outcome:
        """Prune and prove."""
        return prune_and_prove(self._dense, self._config, self._ignore, pruner_factory=self.built)

    def built(self, model: nn.Module, inputs: Inputs, _: Any) -> tuple[GroupPruner, Any]:
        """The pruner on a copy of the network, and what is done between its steps."""
        asked = {
            "ignore": policies.ignored_layers(self._ignore, self._dense.model, self._dense.groups),
            "left_whole": self._whole,
            "followed": self._dense.followed_for(self._config.heads),
            **self._options,
        }
        self.pruner = (
            TargetPruner.asked_by(self._config, model, inputs, costs=self._dense.costs, **asked)
            if self._config.sought
            else GroupPruner.asked_by(self._config, model, inputs, **asked)
        )
        return self.pruner, self._between

    def refuted(self) -> dict[int, str]:
        """Indices of the groups whose cut is not proved by itself, and why."""
        assert self.pruner is not None
        sets, gone = self.pruner.sets, self.pruner.gone
        inputs, followed = self._dense.inputs, sets.followed
        network = copy_of(self._dense.model)
        make_distinct(network, inputs)
        noted = Noted.of(network, inputs)

        def proved(places: Sequence[int]) -> Verification:
            own = gone & np.isin(followed.group_of, places)
            cut = cut_copy(network, followed.trace, own, followed.repeated)
            return prove(network, cut, removals_of(sets, own), inputs, noted)

        def among(places: Sequence[int]) -> dict[int, str]:
            found = proved(places)
            if found.verdict.passes or not places:
                return {}
            if len(places) == 1:
                return {places[0]: found.reason}
            half = len(places) // 2
            # A cut that fails only together with others depends on later layers.
            return among(places[:half]) | among(places[half:]) or dict.fromkeys(
                places[half:], found.reason
            )

        with budgets.step("looking for the group whose cut is not right"):
            return among([n for n, own in enumerate(followed.labels) if gone[own].any()])
