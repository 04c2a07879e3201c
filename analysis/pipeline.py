"""The order of the steps: groups, plan, surgery, verification, costs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from torch import nn

from analysis.costs.run_costs import costed_run
from analysis.dense import Dense, analyse
from analysis.errors import AnalysisError, BudgetExceededError, InputError, UnprunableError
from analysis.groups import auditing, depgraph, inspecting, policies
from analysis.network.failures import Failure, check_runs, locate_failure
from analysis.network.inference import (
    Inputs,
    aliased,
    collector_paused,
    copy_of,
    left_as_found,
    outputs_of,
    random_state_kept,
    reached_parameters,
)
from analysis.network.operators import Operators
from analysis.network.outputs import only_outputs
from analysis.network.restoring import restored
from analysis.network.usable import check_usable
from analysis.processes import budgets
from analysis.proof import comparing, exercised
from analysis.proof.stepping import Progress, Turn, accounted, each_step, stepped, verdict_of
from analysis.proof.tried_cuts import TriedCuts
from analysis.pruning import importances, planning, surgery
from analysis.pruning.asked import requested_of
from analysis.pruning.emptying import with_emptying
from analysis.pruning.group_pruner import GroupPruner
from analysis.pruning.pruners import (
    Between,
    PrunerFactory,
    as_stated,
    builder,
    check_pruner,
    rebuilder,
)
from analysis.records import (
    OWN_PRUNER,
    Audited,
    Config,
    DependencyGroup,
    PlannedGroup,
    Reach,
    Removal,
    Run,
    Thresholds,
    Verdict,
    Verification,
    excluded,
    label_of,
    merge_cuts,
)

__all__ = [
    "Dense",
    "Outcome",
    "analyse",
    "audit_groups",
    "only_pruned",
    "prune_and_prove",
    "verify",
    "verify_steps",
]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One pruning with its live networks, and the evidence that the checks judge.

    Attributes:
        dense: the network before pruning, with its groups and costs.
        pruned: the network after pruning.
        ignored: names of the ignored layers.
        planned: the channels that the recomputed importances rank lowest; None for the user's own
            pruner, whose importances are not known.
        removals: the cuts, with indices of the dense network.
        run: its record.
        rebuild: gives a copy of the dense network the structure of the pruned one, from
            torch-pruning's history of the pruning; None if the pruner keeps none.
        trained: whether the weights were trained between the steps.
        thresholds: where the checks draw the line.
        unreached: why no ratio meets the targets, if none does.
    """

    dense: Dense
    pruned: nn.Module
    ignored: tuple[str, ...]
    planned: tuple[PlannedGroup, ...] | None
    removals: tuple[Removal, ...]
    run: Run
    rebuild: Callable[[nn.Module], None] | None
    trained: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    unreached: str = ""

    @cached_property
    def failure(self) -> Failure | None:
        """Where the pruned network raises on the example inputs; None if it runs."""
        return locate_failure(self.pruned, self.dense.inputs)

    @cached_property
    def output_shapes(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Of the dense and of the pruned network."""
        before, after = (
            [tuple(tensor.shape) for tensor in outputs_of(model, self.dense.inputs)]
            for model in (self.dense.model, self.pruned)
        )
        return before, after

    @cached_property
    def changed_tensors(self) -> list[str]:
        """Parameters and buffers whose kept values differ from the dense network's."""
        cuts = merge_cuts(self.removals)
        return list(comparing.changed_tensors(self.dense.model, self.pruned, cuts))

    @cached_property
    def reached_parameters(self) -> tuple[set[str], set[str]]:
        """Parameters that a gradient reaches in the dense network and in the pruned one."""
        before, after = (
            reached_parameters(model, self.dense.inputs)
            for model in (
                self.dense.model,
                # What the pruner's run has kept is not made by the parameters any more.
                exercised.forgetting(
                    self.pruned, self.dense.model, self.dense.inputs, exercised.Held(), ()
                ),
            )
        )
        return before, after

    @cached_property
    def scores(self) -> dict[str, list[float]]:
        """Importance of each channel by group, recomputed from the dense network's weights."""
        found = importances.group_importances(
            self.dense.model, self.dense.dependency_groups, self.run.config.importance
        )
        return {root: scores.tolist() for root, scores in found.items()}


def prune_and_prove(
    dense: Dense, config: Config, policy: Any, *, pruner_factory: PrunerFactory | None = None
) -> Outcome:
    """Prune a copy of the dense network as asked, prove it, and count what it saved.

    Args:
        dense: see `analyse`.
        config: what is asked; its policy is only a name, for a function.
        policy: the layers whose output channels stay, see `analysis.records.excluded`.
        pruner_factory: the user's own pruner instead of torch-pruning's MagnitudePruner. Its
            ignored layers replace the policy, and its scope that of the config. Its ``round_to``
            and cap are used unless the config names them.

    Raises:
        InputError: an unknown policy, or a pruner function that returns something else.
    """
    ignored = policies.ignored_layers(policy, dense.model, dense.groups)
    is_users = pruner_factory is not None and config.cut != "groups"
    config = replace(config, policy=_label(None if is_users else policy, config, dense.model))
    pruned, progress, pruner = copy_of(dense.model), Progress(), None
    build = builder(config, dense.inputs, ignored, pruner_factory)
    asks_depgraph = not is_users and config.cut != "groups"
    groups, planned, error = _asked_by_us(dense, config, ignored, asks_depgraph)

    def take(operators: Operators) -> tuple[Any, Between | None]:
        nonlocal pruner, groups, planned
        pruner, between = build(pruned, operators.blamed)
        planned = planned and tuple(with_emptying(pruner, planned))
        if not asks_depgraph:
            groups = progress.cut_by(pruner, pruned, dense.inputs)
        if planned is None:
            progress.requested = requested_of(pruner)
        return pruner, between

    with random_state_kept():
        verification = error or stepped(pruned, dense.inputs, take, progress, None, dense.noted)
    if pruner is not None and is_users:
        ignored, config = depgraph.ignored_by(pruner, pruned), as_stated(config, pruner)
    config = _with_ratio(config, pruner)
    asked = progress.planned if planned is None else planned
    answer = accounted(verification, groups, progress, asked, config.ratio)
    answer = replace(answer, unseen=_unseen(dense, groups, ignored) if answer.groups else ())
    answer = _with_attributes(answer, pruner)
    before, account = (dense.costs, dense.saved_bytes), partial(dense.account, groups, pruner)
    run = costed_run(
        before, account, pruned, dense.inputs, config, answer, asked, progress.removals
    )
    return Outcome(
        dense=dense,
        pruned=pruned,
        ignored=ignored,
        planned=asked if config.cut == "groups" else planned,
        removals=tuple(progress.removals),
        run=run,
        rebuild=rebuilder(build, pruner),
        trained=progress.trained,
        unreached=_unreached(pruner),
    )


def only_pruned(
    dense: Dense, config: Config, policy: Any, pruner_factory: PrunerFactory | None = None
) -> nn.Module | None:
    """A copy pruned as asked, neither proved nor trained; None where that fails.

    For an estimate that is proved later. The arguments are those of `prune_and_prove`.
    """
    ignored = policies.ignored_layers(policy, dense.model, dense.groups)
    pruned = copy_of(dense.model)
    try:
        with random_state_kept(), budgets.step("pruning"):
            pruner, _ = builder(config, dense.inputs, ignored, pruner_factory)(pruned, None)
            while pruner.current_step < pruner.iterative_steps:
                turn = Turn.of(pruner)
                turn.check_advances(pruner, len([*surgery.step(pruner)]) > 0)
    except UnprunableError:
        return None
    return pruned if locate_failure(pruned, dense.inputs) is None else None


def _with_ratio(config: Config, pruner: Any) -> Config:
    """What was asked, with the ratio that a pruner has found to meet the targets."""
    is_found = config.sought and pruner is not None
    return replace(config, ratio=pruner.pruning_ratio) if is_found else config


def _unreached(pruner: Any) -> str:
    """Why a pruner that lands on targets could not."""
    reach = getattr(pruner, "reach", None)
    return reach.why_not if isinstance(reach, Reach) else ""


def _unseen(
    dense: Dense, groups: tuple[DependencyGroup, ...], ignored: tuple[str, ...]
) -> tuple[str, ...]:
    """Groups of which channels may go, and no layer is in a group of the pruner's."""
    seen = {layer for group in groups for layer in group.layers}
    own = policies.mark_ignored(dense.groups, ignored)
    return tuple(each.name for each in own if each.prunable and seen.isdisjoint(each.layers))


def _with_attributes(answer: Verification, pruner: Any) -> Verification:
    return replace(answer, attributes=getattr(pruner, "attributes", ()))


def _label(policy: Any, config: Config, model: nn.Module) -> str:
    """The name of the policy that was used."""
    if policy is None:
        return OWN_PRUNER
    if isinstance(policy, str):
        return label_of(excluded(policy))
    if config.policy not in policies.POLICIES:  # what the request calls a list or a function
        return config.policy
    if isinstance(policy, tuple | list):
        names = {module: name for name, module in model.named_modules()}
        return label_of([names.get(layer, layer) for layer in policy])
    return str(getattr(policy, "__qualname__", repr(policy)))


def _asked_by_us(
    dense: Dense, config: Config, ignored: tuple[str, ...], asks_depgraph: bool
) -> tuple[tuple[DependencyGroup, ...], tuple[PlannedGroup, ...] | None, Verification | None]:
    """DepGraph's groups, the plan for torch-pruning, and why there is none, if it is asked."""
    if not asks_depgraph:
        return (), None, None
    groups = policies.mark_ignored(dense.dependency_groups, ignored)
    planned = None if dense.error else _planned(dense.model, groups, config)
    return groups, planned, dense.error


def _planned(
    model: nn.Module, groups: tuple[DependencyGroup, ...], config: Config
) -> tuple[PlannedGroup, ...] | None:
    """The plan at the ratio; None if DepGraph's channel indices do not define it."""
    if any(group.untraced and group.prunable for group in groups):
        return None
    scores = importances.group_importances(model, groups, config.importance)
    return planning.plan(groups, scores, config)


def verify(
    model: nn.Module,
    example_inputs: Inputs,
    pruner: Any = None,
    *,
    widths: Mapping[str, int] | None = None,
    budget: float | None = None,
    outputs: Sequence[str] = (),
) -> Verification:
    """Step a torch-pruning pruner to its end and prove every step.

    ``model`` is pruned; its train/eval flags and the random state are left as found.

    Args:
        model: the network ``pruner`` was built on, not stepped yet.
        example_inputs: a tensor, a tuple or a dict; the proof draws random values of these shapes,
            or of smaller ones where the networks are the same operator by operator.
        pruner: any torch-pruning pruner whose ``step(interactive=True)`` yields groups, and ranks
            a step before it yields the step's first one, as torch-pruning's own do; a
            `GroupPruner`, or a `TargetPruner`, which lands on what is to be left.
        widths: in place of a pruner, what `GroupPruner` is asked to leave of layers.
        budget: seconds for pruning and proof; None is no limit.
        outputs: which outputs count, as paths of keys, places and attributes (``logits``, ``0``,
            ``out.boxes``); none lets all count. Leave out hidden states beside the logits.

    Returns:
        The verdict with its evidence; ``groups`` holds what each group lost, ``macs`` and
        ``params`` what there was and is.

    Raises:
        InputError: the pruner was built on another model, or has been stepped to its end; a width
            that a layer cannot have; the model does not run on the inputs, is random in eval mode,
            returns infinities, or nothing at one of ``outputs``; or it cannot be analysed as it is
            (see `analysis.network.usable.check_usable`).
    """
    if (pruner is None) == (widths is None):
        raise InputError("verify takes a pruner or widths, one of them")
    check_usable(model)
    # Until the end, when what was noted is free again: each collection would go through that.
    with collector_paused(), left_as_found(model), only_outputs(model, outputs):
        if widths is not None:
            pruner = GroupPruner(model, example_inputs, widths=widths, ignore="none")
        check_pruner(pruner, model)
        model.eval()
        groups: list[DependencyGroup] = []
        progress = Progress(requested=requested_of(pruner))

        def read(_: Operators) -> tuple[Any, None]:
            groups.extend(progress.cut_by(pruner, model, example_inputs))
            return pruner, None

        verification = stepped(model, example_inputs, read, progress, budget)
    ratio = pruner.pruning_ratio
    answer = accounted(verification, tuple(groups), progress, progress.planned, ratio)
    return _with_attributes(answer, pruner)


def verify_steps(
    model: nn.Module,
    example_inputs: Inputs,
    pruner: Any,
    *,
    budget: float | None = None,
    outputs: Sequence[str] = (),
) -> Iterator[Verification]:
    """Step a torch-pruning pruner and prove each step before the next: train in between.

    ``for step in verify_steps(model, inputs, pruner): train(model)``. Each step is proved against
    the network that it starts from, so training between two steps does not count as pruning.
    Between steps, train/eval flags and the random state are the caller's.

    Args:
        model: as `verify`.
        example_inputs: as `verify`.
        pruner: as `verify`.
        budget: seconds for each step and its proof; None is no limit.
        outputs: as `verify`.

    Yields:
        The verdict on the step; ``groups`` holds what was asked and went from the first step on,
        ``macs`` and ``params`` what there was before it and is now.
        The first that does not pass is the last.

    Raises:
        InputError: as `verify`.
    """
    check_usable(model)
    check_pruner(pruner, model)
    with restored(model), left_as_found(model), only_outputs(model, outputs):
        check_runs(aliased(model, requires_grad=False), example_inputs)
    return _verify_steps(model, example_inputs, pruner, budget, outputs)


def _verify_steps(
    model: nn.Module,
    inputs: Inputs,
    pruner: Any,
    budget: float | None,
    outputs: Sequence[str],
) -> Iterator[Verification]:
    progress = Progress(requested=requested_of(pruner))
    groups: tuple[DependencyGroup, ...] = ()
    steps = each_step(model, inputs, pruner, progress, Operators(model, [], inputs).blamed)
    passes = True
    while passes and pruner.current_step < pruner.iterative_steps:
        with left_as_found(model), only_outputs(model, outputs):
            model.eval()
            try:
                with budgets.limited(budget):
                    groups = groups or progress.cut_by(pruner, model, inputs)
                    step = next(steps)
            except (UnprunableError, BudgetExceededError) as failure:
                step = verdict_of(failure)
        is_last = pruner.current_step >= pruner.iterative_steps
        ratio = pruner.pruning_ratio if is_last else None
        step = _with_attributes(accounted(step, groups, progress, progress.planned, ratio), pruner)
        passes = step.verdict.passes
        yield step


def audit_groups(
    labelled: inspecting.Labelled,
    model: nn.Module,
    inputs: Inputs,
    budget: float | None = None,
) -> tuple[Audited, ...]:
    """How torch-pruning would cut each group of a network; tried on copies.

    Args:
        labelled: the labelled pass of the network.
        model: the dense network; not changed.
        inputs: example inputs.
        budget: seconds for DepGraph to read the network, and for the proof of each cut; None is no
            limit.
    """
    tried = TriedCuts(model, inputs, labelled.trace)

    def cut(channels: Mapping[str, Sequence[int]]) -> Verification:
        try:
            with budgets.limited(budget):
                return tried.proved(channels)
        except (UnprunableError, BudgetExceededError) as failure:
            return verdict_of(failure)
        except AnalysisError as failure:  # a layer that the proof knows nothing of
            return Verification(Verdict.MIXED, str(failure))

    try:
        with budgets.limited(budget), budgets.step("building the dependency graph"):
            graph = depgraph.dependency_groups(model, inputs)
    except (UnprunableError, BudgetExceededError) as failure:
        return auditing.audit(labelled, verdict_of(failure), cut)
    return auditing.audit(labelled, graph, cut)
