"""Prune a network right: by its groups, and proved."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from analysis.groups import policies
from analysis.groups.departing import cut_copy
from analysis.network.inference import Inputs, copy_of, left_as_found
from analysis.network.outputs import only_outputs
from analysis.network.usable import restored
from analysis.pipeline import Dense, Outcome, analyse, prune_and_prove
from analysis.processes import budgets
from analysis.proof.distinct_values import make_distinct
from analysis.proof.other_sizes import Noted
from analysis.proof.proving import prove
from analysis.pruning.by_groups import removals_of
from analysis.pruning.group_pruner import GroupPruner
from analysis.records import (
    IMPORTANCES,
    Attribute,
    Config,
    Verdict,
    Verification,
    checked_widths,
)

__all__ = ["Pruned", "prune", "pruned_by_groups"]


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


def prune(
    model: nn.Module,
    example_inputs: Inputs,
    ratio: float = 0.0,
    *,
    ignore: Any = "classifier",
    scope: str = "local",
    importance: str | Callable[[Any], Any] = "l1",
    round_to: int | None = None,
    max_pruning_ratio: float = 1.0,
    ratios_by_layer: Mapping[Any, float] | None = None,
    widths: Mapping[str, int] | None = None,
    heads: str = "whole",
    min_channels: int = 1,
    outputs: Sequence[str] = (),
) -> Pruned:
    """Prune a copy of a network by its groups, and prove it.

    A cut that is not proved is not made. The group stays whole, and the verification's reason says
    why.

    Args:
        model: the dense network; not changed.
        example_inputs: as `analysis.verify`.
        ratio: share of the channels to remove, in [0, 1).
        ignore: layers that keep their output channels: a policy's name, a list of layers or of
            their names, or a function of the model.
        scope: ``local`` ranks inside each group, ``global`` across groups.
        importance: ``l1``, ``l2``, or an importance of torch-pruning's.
        round_to: keep channel counts a multiple of this, or None.
        max_pruning_ratio: greatest share of its channels that a group loses, in (0, 1].
        ratios_by_layer: ratios of single layers, by layer, name, or tuple of these.
        widths: how many channels are left, by layer or group, whatever the ratio is.
        heads: whether ``whole`` heads of attention are removed, or as many channels of each
            (``alike``), if the network's code allows both.
        min_channels: fewest channels that a group keeps.
        outputs: the outputs to compare, as in `analysis.verify`.

    Raises:
        InputError: something that cannot be asked; the model does not run on the inputs, or cannot
            be analysed as it is.
    """
    norm = IMPORTANCES[0] if callable(importance) else importance
    config = Config(
        ratio,
        scope,
        norm,
        round_to=round_to,
        max_pruning_ratio=max_pruning_ratio,
        cut="groups",
        heads=heads,
        widths=tuple(checked_widths(widths or {}).items()),
    )
    options = {
        "importance": importance,
        "ratios_by_layer": ratios_by_layer,
        "min_channels": min_channels,
    }
    with left_as_found(model), only_outputs(model, outputs):
        return pruned_by_groups(analyse(model, example_inputs), config, ignore, **options)


def pruned_by_groups(dense: Dense, config: Config, ignore: Any, **options: Any) -> Pruned:
    """As `prune`, of a network that was analysed before.

    Args:
        dense: see `analysis.dense.analyse`.
        config: what is asked.
        ignore: see `GroupPruner`.
        **options: of `GroupPruner`, beyond those of the config.

    Raises:
        InputError: as `prune`.
    """
    groups, whole = dense.followed_for(config.heads).groups, dict[int, str]()
    with restored(dense.model, dense.written):
        while True:
            pruning = _Pruning(dense, config, ignore, whole, options)
            outcome = pruning.outcome()
            found = outcome.run.verification
            is_wrong = found.verdict in (Verdict.WRONG, Verdict.BROKEN)
            refuted = pruning.refuted() if is_wrong and pruning.pruner is not None else {}
            if not refuted:
                break
            whole |= refuted
    if whole:
        said = (f"`{groups[place].name}` is left whole: {why}" for place, why in whole.items())
        found = replace(found, reason="; ".join(filter(None, [found.reason, *said])))
        outcome = replace(outcome, run=replace(outcome.run, verification=found))
    for name, module in outcome.pruned.named_modules():
        module.training = dense.model.get_submodule(name).training
    axes = {} if pruning.pruner is None else pruning.pruner.axes
    return Pruned(outcome.pruned, found, axes, outcome)


class _Pruning:
    """One attempt, with some groups left whole."""

    def __init__(
        self,
        dense: Dense,
        config: Config,
        ignore: Any,
        whole: Collection[int],
        options: Mapping[str, Any],
    ) -> None:
        self._dense, self._config, self._ignore = dense, config, ignore
        self._options = options
        groups = dense.followed_for(config.heads).groups
        self._whole = [layer for place in whole for layer in groups[place].layers]
        self.pruner: GroupPruner | None = None

    def outcome(self) -> Outcome:
        """Prune and prove."""
        return prune_and_prove(self._dense, self._config, self._ignore, pruner_factory=self._built)

    def _built(self, model: nn.Module, inputs: Inputs, ratio: float) -> GroupPruner:
        self.pruner = GroupPruner.asked_by(
            self._config,
            model,
            inputs,
            ignore=policies.ignored_layers(self._ignore, self._dense.model, self._dense.groups),
            left_whole=self._whole,
            followed=self._dense.followed_for(self._config.heads),
            **self._options,
        )
        return self.pruner

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
