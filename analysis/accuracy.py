"""What a pruning costs in the user's own metric, before and after fine-tuning."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from analysis.errors import InputError
from analysis.network.inference import copy_of, left_as_found, random_state_kept
from analysis.network.loading import load_callable
from analysis.network.measuring import check_finite, measured, trained
from analysis.processes import budgets
from analysis.records import Metric, Request

__all__ = ["Measure"]


@dataclass(frozen=True)
class Measure:
    """How a request has networks measured and fine-tuned.

    Attributes:
        evaluate: the function of a model that returns its metrics.
        finetune: trains a model in place; None where that is not asked for.
        lower: names of metrics of which less is better.
        tolerance: greatest loss of a metric that is none; None where nothing is held to one.
    """

    evaluate: Callable[[nn.Module], Any]
    finetune: Callable[[nn.Module], Any] | None
    lower: tuple[str, ...]
    tolerance: float | None

    @classmethod
    def of(cls, request: Request) -> "Measure | None":
        """What a request asks; None where it asks for no metric.

        Raises:
            InputError: there is no such function.
        """
        evaluate, finetune = (
            load_callable(given, what) if isinstance(given, str) else given
            for given, what in ((request.evaluate, "evaluate"), (request.finetune, "finetune"))
        )
        if evaluate is None:
            return None
        return cls(evaluate, finetune, request.lower_is_better, request.thresholds.metric_loss)

    def dense(self, model: nn.Module) -> dict[str, float]:
        """The metrics of a dense network, which is measured twice.

        Raises:
            InputError: they are not finite; or two measurements differ by more than is tolerated.
        """
        with random_state_kept():
            found = self.metrics_of(model)
            again = self.metrics_of(model)
        check_finite(found)
        for name, value in found.items():
            apart = abs(again.get(name, value) - value)
            if not apart <= (self.tolerance or 0.0):
                raise InputError(
                    f"evaluate is random: it returned {value:g} and then {again[name]:g} as "
                    f"{name!r} of the same network, {apart:g} apart; seed it, or tolerate as much "
                    f"with metric_loss={apart} (--metric-loss) or more"
                )
        unknown = [name for name in self.lower if name not in found]
        if unknown:
            raise InputError(
                f"lower_is_better names {unknown[0]!r}; evaluate returns {', '.join(found)}"
            )
        return found

    def of_pruned(
        self, pruned_network: nn.Module, dense: dict[str, float]
    ) -> tuple[tuple[Metric, ...], nn.Module]:
        """The metrics of what was pruned, and a copy of it, fine-tuned where that is asked.

        Raises:
            InputError: a function of the user's own raised, or does not do what it is for.
        """
        model = copy_of(pruned_network)
        pruned, tuned = self.metrics_of(model), None
        if self.finetune is not None:
            with budgets.step("fine-tuning"), left_as_found(model):
                trained(self.finetune, model, "finetune")
            tuned = self.metrics_of(model)
        for found in (pruned, tuned or pruned):
            if found.keys() != dense.keys():
                raise InputError(
                    f"evaluate returned {', '.join(dense)} of the dense network and "
                    f"{', '.join(found)} of the pruned one; expected the same metrics"
                )
        metrics = (
            Metric(name, value, pruned[name], tuned[name] if tuned else None, name in self.lower)
            for name, value in dense.items()
        )
        return tuple(metrics), model

    def metrics_of(self, model: nn.Module) -> dict[str, float]:
        """The metrics of a copy of a network.

        Raises:
            InputError: the user's own function raised, or returned no number.
        """
        with budgets.step("evaluating"):
            return measured(self.evaluate, copy_of(model))
