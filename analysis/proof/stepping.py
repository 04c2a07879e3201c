"""Step a pruner to its end, prove every step, and compare requested and removed channels.

The chain of steps proves the whole, since each starts from the network that the last one left.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from analysis.errors import BudgetExceededError, InputError, UnprunableError
from analysis.groups import depgraph
from analysis.groups.reading import Reading
from analysis.network.failures import check_runs
from analysis.network.inference import Inputs, collector_paused, copy_of, left_as_found
from analysis.network.measuring import trained
from analysis.network.operators import Operators, watched
from analysis.processes import budgets
from analysis.proof import comparing, distinct_values
from analysis.proof.attributes import written_tensors
from analysis.proof.exercised import Held, forgetful
from analysis.proof.other_sizes import Noted
from analysis.proof.proving import prove
from analysis.pruning import planning, surgery
from analysis.pruning.asked import OfLayers, Requested
from analysis.pruning.group_pruner import GroupPruner
from analysis.pruning.pruners import Between
from analysis.records import (
    STRENGTH,
    DependencyGroup,
    PlannedGroup,
    Reason,
    Removal,
    Sizes,
    Verdict,
    Verification,
    merge_cuts,
)

__all__ = [
    "Progress",
    "Turn",
    "accounted",
    "each_step",
    "stepped",
    "verdict_of",
]


@dataclass
class Progress:
    """The cuts of a pruner's steps so far, and their requests.

    ``reading`` is of its groups before the first step, which is asked for no more after that;
    ``macs`` and ``params`` are the network's before it.
    """

    removals: list[Removal] = field(default_factory=list)
    requested: Requested | None = None
    trained: bool = False
    reading: Reading | None = None
    macs: int | None = None
    params: int | None = None

    def costed(self, step: Verification, model: nn.Module) -> Verification:
        """The verdict on a step, with what there was before the first and is now."""
        if self.macs is None and step.macs is not None:
            self.macs = step.macs.before
        macs = None if self.macs is None or step.macs is None else step.macs.after
        return replace(
            step,
            macs=None if self.macs is None else Sizes(self.macs, macs),
            params=None if self.params is None else Sizes(self.params, parameters_of(model)),
        )

    def cut_by(self, pruner: Any, model: nn.Module, inputs: Inputs) -> tuple[DependencyGroup, ...]:
        """The groups that a pruner cuts, as its own graph has them.

        A graph of ours might be another one: its forward_fn, its layers, its roots.
        """
        if isinstance(pruner, GroupPruner):
            return pruner.groups
        with collector_paused():
            self.reading = depgraph.read(pruner, inputs)
            return depgraph.groups_cut_by(pruner, model, inputs, self.reading)

    @property
    def unknown(self) -> str:
        """Why what the pruner was asked for is not known; empty if it is."""
        if self.requested is None:
            return ""
        return self.requested.unknown or self.requested.refuted_by(self.removals)

    @property
    def planned(self) -> tuple[PlannedGroup, ...] | None:
        """What the pruner was asked for; None where that is not known."""
        return None if self.requested is None or self.unknown else self.requested.planned


def stepped(
    model: nn.Module,
    inputs: Inputs,
    build: Callable[[Operators], tuple[Any, Between | None]],
    progress: Progress,
    budget: float | None,
    noted: Noted | None = None,
) -> Verification:
    """Build a pruner, step it to its end and prove; errors and time-outs become verdicts.

    Each step is proved against the network that it starts from; the chain proves the whole.

    Args:
        model: the network that is pruned.
        inputs: a tensor, a tuple or a dict.
        build: what builds the pruner on the model, or only returns it, and what is done between
            its steps.
        progress: gets what went, with the indices of the first step's network.
        budget: seconds for all of it; None is no limit.
        noted: what the model does, noted before anybody's code has seen it; None notes it.
    """
    steps = []
    try:
        with budgets.limited(budget):
            start = _Start.of(model, inputs, noted)
            with budgets.step("building the pruner"), watched(model, inputs=inputs) as operators:
                pruner, between = build(operators)
            for step in each_step(model, inputs, pruner, progress, operators.blamed, start):
                steps.append(step)
                if not step.verdict.passes:
                    return step
                if between is not None and pruner.current_step < pruner.iterative_steps:
                    progress.trained = True
                    _train(between, model)
    except (UnprunableError, BudgetExceededError) as failure:
        return verdict_of(failure)
    # Of several steps the weakest claim counts, and what the last one left.
    weakest = min(
        steps, key=lambda step: (STRENGTH.index(step.verdict), -(step.max_rel_error or 0.0))
    )
    return replace(weakest, macs=steps[-1].macs, params=steps[-1].params)


def _train(between: Between, model: nn.Module) -> None:
    """What is done between two steps; it may leave the model in train mode.

    Raises:
        InputError: it raised, or its optimizer holds the parameters of another network.
    """
    with budgets.step("training"):
        trained(between, model, "the function between steps")
    model.eval()


def each_step(
    model: nn.Module,
    inputs: Inputs,
    pruner: Any,
    progress: Progress,
    blame: Callable[[BaseException], str],
    start: "_Start | None" = None,
) -> Iterator[Verification]:
    """Step a pruner, and prove each step against the network that it starts from.

    Arguments as `stepped`; ``blame`` as `analysis.errors.upstream`; ``start`` is what the first
    step starts from, None the model as it is then.

    Raises:
        UnprunableError: the pruner raised.
    """
    history = surgery.Ledger(getattr(pruner, "DG", None))
    progress.params = parameters_of(model)
    while pruner.current_step < pruner.iterative_steps:
        start, before = start or _Start.of(model, inputs), Turn.of(pruner)
        cut = len(progress.removals)
        try:
            proved = _prove_step(start, model, inputs, pruner, history, progress, blame)
        except UnprunableError as error:
            if before.step == 0:
                raise
            step = f"step {before.step + 1} of {pruner.iterative_steps}"
            raise UnprunableError(f"{error}, in {step}; the steps before went through") from error
        yield progress.costed(proved, model)
        before.check_advances(pruner, len(progress.removals) > cut)
        start = None


@dataclass(frozen=True)
class Turn:
    """Where a pruner is before a step: which one is next, and of how many."""

    step: int
    steps: int

    @classmethod
    def of(cls, pruner: Any) -> "Turn":
        """Where a pruner is now."""
        return cls(pruner.current_step, pruner.iterative_steps)

    def check_advances(self, pruner: Any, has_cut: bool) -> None:
        """Refuse a pruner whose steps would have no end.

        Args:
            pruner: after the step.
            has_cut: whether it cut anything. Steps that do come to an end, as channels do.

        Raises:
            InputError: it is where it was, or has cut nothing and put its end off.
        """
        kind, steps = type(pruner).__name__, pruner.iterative_steps
        if pruner.current_step <= self.step:
            raise InputError(
                f"step() of the {kind} leaves current_step at {self.step} of {steps}; "
                "expected it to advance, as torch-pruning's own do"
            )
        if steps > self.steps and not has_cut:
            raise InputError(
                f"step() of the {kind} cuts nothing and raises iterative_steps from {self.steps} "
                f"to {steps}, so that no step is the last; expected the number of steps to stay"
            )


@dataclass(frozen=True, eq=False)
class _Start:
    """The network that a step starts from: a copy, what it does, and what it has forgotten."""

    dense: nn.Module
    noted: Noted
    held: Held

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs, noted: Noted | None = None) -> "_Start":
        with (
            left_as_found(model),
            collector_paused(),
            budgets.step("following the channels"),
        ):
            dense = copy_of(model)
            held = Held.of(dense)
            dense = forgetful(dense, inputs)
            noted = noted or Noted.of(dense, inputs)
            if not noted.recording.trace.left:
                check_runs(dense, inputs)
            return cls(dense, noted, held)


def _prove_step(
    start: _Start,
    model: nn.Module,
    inputs: Inputs,
    pruner: Any,
    history: surgery.Ledger,
    progress: Progress,
    blame: Callable[[BaseException], str],
) -> Verification:
    """Prove one step, noting before it what it asks and while it runs what goes."""
    done: list[Removal] = []
    altered: str | None = None
    dense = start.dense
    if progress.requested is not None:
        # The random state is put back, so that a random importance answers the pruner the same.
        with left_as_found(model), collector_paused(), budgets.step("ranking"):
            progress.requested.look_ahead(pruner, progress.removals, progress.reading)
    progress.reading = None
    with ExitStack() as until_proved:
        with budgets.step("pruning"):
            for removal, since_start in surgery.step(pruner, history, blame):
                if not done:
                    # Every importance of the step is ranked by now and nothing is cut yet.
                    altered = _altered(start, model, inputs)
                    if altered is None:
                        fewer = start.noted.fewer(inputs)
                        until_proved.enter_context(distinct_values.distinct_values(model, fewer))
                        distinct_values.copy_values(model, dense)
                done.append(removal)
                progress.removals.append(since_start)
        if not done:
            altered = _altered(start, model, inputs)
        if altered is not None:
            return Verification(
                Verdict.WRONG,
                f"`{altered}` was changed before a group was yielded: the pruner may rank weights, "
                "not write them",
                first_divergence=altered.rpartition(".")[0],
            )
        with budgets.step("proving"):
            return prove(dense, model, done, inputs, start.noted, start.held)


def _altered(start: _Start, model: nn.Module, inputs: Inputs) -> str | None:
    """A tensor that is not the one that the step starts from, though nothing is cut yet."""
    found = [*comparing.changed_tensors(start.dense, model, ())]
    if found:
        written = written_tensors(start.dense, start.held, inputs)
        found = [name for name in found if name not in written]  # it may have run the network
    return next(iter(found), None)


def parameters_of(model: nn.Module) -> int:
    """How many parameters a network has; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def verdict_of(failure: UnprunableError | BudgetExceededError) -> Verification:
    """The verdict on a pruner that raised, or did not end."""
    if isinstance(failure, BudgetExceededError):
        return Verification(Verdict.TIMEOUT, failure.reason)
    return Verification(Verdict.UNPRUNABLE, str(failure))


def _explained(
    verification: Verification, removals: Collection[Removal], ratio: float
) -> Verification:
    """Say `unchanged`, and why, of a run that was asked for something and removed nothing."""
    asked = (
        ratio
        or verification.heads
        or verification.unmet_heads
        or verification.unmet
        or any(group.requested for group in verification.groups)
    )
    if not verification.verdict.passes or removals or not asked:
        return verification
    found = {group.reason for group in verification.groups}
    counts = ", ".join(
        f"{sum(group.reason is reason for group in verification.groups)} {reason}"
        for reason in Reason
        if reason in found
    )
    return replace(
        verification,
        verdict=Verdict.UNCHANGED,
        reason="; ".join(
            [
                f"ratio {ratio:g} was asked and no channel was removed",
                *_short_of(verification),
                f"groups: {counts or 'none'}",
            ]
        ),
    )


def _cause_first(raised: str, groups: Collection[DependencyGroup]) -> str:
    """Why torch-pruning raised: where it numbers channels wrongly, that, before the symptom.

    A group is left whole where any layer is excluded whose outputs it cuts.
    """
    misread = [group for group in groups if group.untraced]
    named = [(group, name) for group in misread for name in group.layers if f"`{name}`" in raised]
    group, layer = next(iter(named or [(group, group.root) for group in misread]), (None, ""))
    if group is not None:
        return f"{group.untraced}; so, {raised}; a way out: exclude `{layer}`"
    cut = _CUT.search(raised)
    return raised if cut is None else f"{raised}; a way out: exclude `{cut[1]}`"


_CUT = re.compile(r"pruning the group of `([^`]+)` raised")
"""What a group is called whose cut torch-pruning could not make; see `surgery.step`."""


def accounted(
    verification: Verification,
    groups: tuple[DependencyGroup, ...],
    progress: Progress,
    planned: tuple[PlannedGroup, ...] | None,
    ratio: float | None,
) -> Verification:
    """The answer with requested and removed channels; a run that did not end has none.

    Args:
        verification: of all steps.
        groups: the dependency groups before the first, excluded ones marked.
        progress: what went.
        planned: what was asked; None where that is not known.
        ratio: what was asked of the whole, to tell an unchanged network from one left alone; None
            while steps are to come, so that nothing is missing yet.
    """
    untraced = next((group.untraced for group in groups if group.untraced), "")
    if verification.verdict is Verdict.UNPRUNABLE:
        verification = replace(verification, reason=_cause_first(verification.reason, groups))
    elif untraced and not verification.verdict.passes:
        verification = replace(verification, reason=f"{verification.reason}; {untraced}")
    if verification.verdict in (Verdict.UNPRUNABLE, Verdict.TIMEOUT):
        return verification
    unknown = progress.unknown or ("" if planned is not None else untraced)
    accounts = planning.account(groups, progress.removals, planned)
    open_ones = [f"`{entry.root}`" for entry in accounts if entry.requested is None]
    if open_ones and not unknown:
        unknown = f"of {', '.join(open_ones)} the ranking does not say which channels go"
    cuts = tuple(cut for cut in merge_cuts(progress.removals) if cut.removed)
    verification = replace(verification, groups=accounts, requested_unknown=unknown, cuts=cuts)
    if ratio is None:
        return verification
    if progress.requested is not None and progress.requested.of_layers is not None:
        verification = _with_layers(verification, groups, progress, progress.requested.of_layers)
    return _explained(verification, progress.removals, ratio)


def _with_layers(
    verification: Verification,
    groups: tuple[DependencyGroup, ...],
    progress: Progress,
    asked: OfLayers,
) -> Verification:
    """The answer with requests for single layers; unmet requests are reported."""
    verification = replace(
        verification,
        heads=asked.head_accounts(groups, progress.removals),
        unmet_heads=asked.unmet_heads(groups),
        unmet=tuple(asked.unmet(groups)),
    )
    if not verification.verdict.passes:
        return verification
    reasons = "; ".join(filter(None, [verification.reason, *_short_of(verification)]))
    return replace(verification, reason=reasons)


def _short_of(verification: Verification) -> list[str]:
    """What was asked of single layers and did not happen."""
    amiss = [str(each) for each in verification.heads if not each.is_as_asked]
    return [*filter(None, [verification.unmet_heads]), *verification.unmet, *amiss]
