"""One model of the zoo, pruned by half and proved, in a process of its own."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch_pruning as tp
from torch import nn

from analysis import pipeline
from analysis.errors import AnalysisError, upstream
from analysis.network.operators import watched
from analysis.processes import budgets
from analysis.records import NetworkPruned, Verdict, Verification, ZooRecord
from analysis.zoo import RATIO
from analysis.zoo.by_groups import cut
from analysis.zoo.recipes import Recipe
from analysis.zoo.subjects import SUBJECTS, ZooSubject

__all__ = ["by_groups", "prove"]


def prove(name: str, with_recipe: bool = True) -> ZooRecord:
    """Build the model, prune half of each group's channels, prove the result.

    Local L1 ranking; the layers that make the output are ignored.

    Args:
        name: torchvision's.
        with_recipe: whether to use the model's recipe, if it has one.
    """
    started = time.monotonic()
    subject = SUBJECTS[name]
    recipe = subject.recipe if with_recipe else None
    with budgets.step("building the model"):
        original = subject.build()
        model = subject.wrap(original)
    before = _params(model)
    verification = _verified(subject, recipe, original, model)
    return ZooRecord(
        name=name,
        task=subject.task,
        sizes=subject.sizes,
        told=recipe.summary if recipe else "",
        verdict=verification.verdict,
        reason=verification.reason,
        max_rel_error=verification.max_rel_error,
        removed=sum(group.removed for group in verification.groups),
        params_before=before,
        params_after=_params(model),
        seconds=round(time.monotonic() - started, 1),
    )


def by_groups(name: str, scope: str) -> NetworkPruned:
    """Prune half of a model's channels by its groups.

    Args:
        name: torchvision's.
        scope: ``local`` or ``global``.
    """
    subject = SUBJECTS[name]
    with budgets.step("building the model"):
        model = subject.wrap(subject.build())
    return cut(model, subject.inputs(), scope)


def _verified(
    subject: ZooSubject, recipe: Recipe | None, original: nn.Module, model: nn.Module
) -> Verification:
    inputs = subject.inputs()
    options = recipe.options(original) if recipe else {}
    ignored = [*subject.output_layers(model), *options.pop("ignored_layers", [])]
    try:
        with (
            budgets.step("building the dependency graph"),
            watched(model) as operators,
            upstream("building the pruner", operators.blamed),
        ):
            pruner = _FinishedPruner(
                model,
                inputs if "forward_fn" not in options else inputs[0],
                importance=tp.importance.MagnitudeImportance(p=1),
                pruning_ratio=RATIO,
                ignored_layers=ignored,
                **{"out_channel_groups": {}, "in_channel_groups": {}, "num_heads": {}, **options},
            )
        if recipe:
            finish = recipe.finish
            pruner.finish = lambda: finish(original)
        return pipeline.verify(model, inputs, pruner)
    except AnalysisError as error:
        return Verification(Verdict.UNPRUNABLE, str(error))


def _params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


class _FinishedPruner(tp.pruner.MagnitudePruner):
    """torch-pruning's pruner that sets the model's attributes once a step is done."""

    finish: Callable[[], None] = staticmethod(lambda: None)

    def step(self, interactive: bool = False) -> Iterator[Any]:
        """Yield the groups, then finish."""
        yield from super().step(interactive=True)
        self.finish()
