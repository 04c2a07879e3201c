"""The one place where the order is written: groups, plan, surgery, verification, costs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from analysis.costs import counting
from analysis.costs.accounting import Account
from analysis.costs.predicting import cost_account
from analysis.errors import (
    AnalysisError,
    BudgetExceededError,
    InputError,
    UnprunableError,
    upstream,
)
from analysis.groups import auditing, depgraph, linting, naive_cuts, policies
from analysis.network.inference import (
    Inputs,
    called_modules,
    check_usable,
    copy_of,
    forward,
    left_as_found,
    locate_failure,
    map_tensors,
    names_of,
    output_tensors,
    random_state_kept,
)
from analysis.network.operators import Operators
from analysis.processes import budgets
from analysis.proof import comparing, distinct_values
from analysis.proof.proving import prove
from analysis.proof.stepping import (
    Between,
    Progress,
    accounted,
    checked,
    each_step,
    stepped,
    taken,
    verdict_of,
)
from analysis.pruning import importances, planning, surgery
from analysis.pruning.requested import Demands
from analysis.records import (
    OWN_PRUNER,
    Channels,
    Config,
    CostTable,
    Group,
    GroupAccount,
    Lint,
    Mismatch,
    PlannedGroup,
    Reason,
    Removal,
    Run,
    Saved,
    Savings,
    ScopeAccount,
    Sizes,
    Thresholds,
    Untouched,
    Verdict,
    Verification,
)

__all__ = [
    "Dense",
    "Outcome",
    "analyse",
    "count_macs",
    "inspect_groups",
    "lint_ignored_layers",
    "measure",
    "prove",
    "prune_and_prove",
    "reproduce_residual_mismatch",
    "verify",
    "verify_steps",
]

count_macs = counting.count_macs
inspect_groups = depgraph.inspect_groups

PrunerFactory = Callable[[nn.Module, Inputs, float], Any]
"""The user's own pruner: (model, example inputs, ratio) -> a torch-pruning pruner on that model,
or that and a function of the model to call between its steps."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A dense network and what is known of it before any pruning.

    ``groups`` is empty and ``error`` says why where DepGraph could not trace the network.
    """

    model: nn.Module
    inputs: Inputs
    groups: tuple[Group, ...]
    costs: CostTable
    saved_bytes: int
    error: Verification | None = None

    @cached_property
    def account(self) -> Account | None:
        """What cuts of its groups cost; None where that cannot be expressed."""
        try:
            with budgets.step("predicting costs"):
                return cost_account(self.model, self.inputs)
        except AnalysisError:
            return None


def _check_copied(model: nn.Module, inputs: Inputs) -> None:
    """Refuse a model that is another one where it is copied, as for each run."""
    outputs = []
    for network in (model.eval(), copy_of(model)):
        torch.manual_seed(0)
        try:
            with torch.no_grad():
                outputs.append(output_tensors(forward(network, inputs)))
        except Exception:
            return  # whoever runs it next says so
    if any(
        bool(pair[0].isfinite().all()) and comparing.relative_error(*pair) > _COPIED
        for pair in zip(*outputs, strict=True)
    ):
        raise InputError(
            f"a copy of the {type(model).__name__} computes something else than the model itself; "
            "expected that copy.deepcopy keeps all it holds: see its __getstate__ and __deepcopy__"
        )


_COPIED = 1e-2
"""Relative error of a copy's outputs that no rounding explains, in half precision either."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One pruning with its live networks, for the checks.

    Attributes:
        dense: the network before it, and what is known of that.
        pruned: the network after it.
        ignored: names of the layers whose outputs were to stay.
        planned: the channels that the recomputed importances rank lowest; None for a pruner of the
            user's own, whose importances are not known.
        removals: the groups that went, with the indices of the dense network.
        run: what is told of it.
        rebuild: gives a copy of the dense network the structure of the pruned one, from
            torch-pruning's history of the pruning; None if the pruner keeps none.
        trained: whether the weights were trained between the steps.
        thresholds: where the checks draw the line.
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


def measure(model: nn.Module, example_inputs: Inputs) -> tuple[CostTable, int]:
    """MACs and parameters of a network, and the size of its saved weights in bytes."""
    with budgets.step("counting MACs"):
        return counting.count_macs(model, example_inputs), counting.saved_bytes(model)


def analyse(model: nn.Module, example_inputs: Inputs) -> Dense:
    """Read the groups and count the costs of a dense network, once for all its runs.

    Raises:
        InputError: the model cannot be analysed as it is; see `analysis.network.inference.check_usable`;
            or a copy of it computes something else.
    """
    check_usable(model)
    with left_as_found(model):
        _check_copied(model, example_inputs)
        groups: tuple[Group, ...] = ()
        error = None
        try:
            with budgets.step("building the dependency graph"):
                groups = depgraph.inspect_groups(model, example_inputs)
        except UnprunableError as failure:
            error = Verification(Verdict.UNPRUNABLE, str(failure))
        costs, saved_bytes = measure(model, example_inputs)
        return Dense(model, example_inputs, groups, costs, saved_bytes, error)


def prune_and_prove(
    dense: Dense,
    config: Config,
    policy: str | Callable[[nn.Module], Iterable[Any]],
    *,
    pruner_factory: PrunerFactory | None = None,
) -> Outcome:
    """Prune a copy of the dense network as asked, prove it, and count what it saved.

    Args:
        dense: see `analyse`.
        config: what is asked; its policy is only a name, for a function.
        policy: a name of `analysis.groups.policies.POLICIES`, or a function of the model.
        pruner_factory: the user's own pruner instead of torch-pruning's MagnitudePruner; what it
            ignores then counts instead of the policy, and its scope instead of the config's.
            ``round_to`` and cap are its own, unless the config names any to hold it to.

    Raises:
        InputError: an unknown policy, or a pruner function that returns something else.
    """
    ignored = policies.ignored_layers(policy, dense.model, dense.groups)
    config = replace(config, policy=_label(policy if pruner_factory is None else None, config))
    pruned = copy_of(dense.model)
    progress = Progress()
    planned: tuple[PlannedGroup, ...] | None = None
    used: list[tuple[Any, Between | None]] = []
    build = _builder(dense, config, ignored, pruner_factory)

    def take(operators: Operators) -> tuple[Any, Between | None]:
        used.append(build(pruned, operators.blamed))
        if pruner_factory is not None:
            progress.demands = Demands(used[0][0])
        return used[0]

    if dense.error is not None:
        verification = dense.error
    else:
        if pruner_factory is None:
            planned = _planned(dense.model, depgraph.hold(dense.groups, ignored), config)
        with random_state_kept():
            verification = stepped(pruned, dense.inputs, take, progress, None)
    pruner = used[0][0] if used else None
    if pruner is not None and pruner_factory is not None:
        ignored = _ignored_by(pruner, pruned)
        config = _as_told(config, pruner)
    groups = depgraph.hold(dense.groups, ignored)
    untraced = next((group.untraced for group in groups if group.untraced), "")
    if untraced and not verification.verdict.passes:
        verification = replace(verification, reason=f"{verification.reason}; {untraced}")
    asked = planned if pruner_factory is None else progress.planned
    verification = accounted(verification, groups, progress, asked, config.ratio)
    return Outcome(
        dense,
        pruned,
        ignored,
        planned,
        tuple(progress.removals),
        _measured(dense, pruned, config, verification, asked, progress.removals),
        _rebuilder(build, pruner),
        trained=progress.trained,
    )


_Build = Callable[[nn.Module, Callable[[BaseException], str] | None], tuple[Any, Between | None]]
"""(model, who is to blame if it raises) -> a pruner on the model, what is done between its steps"""


def _builder(
    dense: Dense, config: Config, ignored: Collection[str], factory: PrunerFactory | None
) -> _Build:
    """What builds torch-pruning's own pruner as the config says, or the user's."""

    def ours(model: nn.Module, blame: Any) -> tuple[Any, Between | None]:
        return surgery.build_pruner(model, dense.inputs, config, ignored, blame), None

    def theirs(model: nn.Module, blame: Any) -> tuple[Any, Between | None]:
        assert factory is not None
        with upstream("the pruner function", blame):
            answer = factory(model, map_tensors(dense.inputs, Tensor.clone), config.ratio)
        return taken(answer, model)

    return ours if factory is None else theirs


def _rebuilder(build: _Build, pruner: Any) -> Callable[[nn.Module], None] | None:
    """What repeats a pruning on a copy of the dense network; None if there is no history of it."""
    if not hasattr(pruner, "pruning_history"):
        return None
    history = [tuple(entry) for entry in pruner.pruning_history()]

    def rebuild(model: nn.Module) -> None:
        fresh, _ = build(model, None)
        surgery.replay(fresh, history)

    return rebuild


def _label(policy: str | Callable[..., Any] | None, config: Config) -> str:
    """What the run calls its policy: the one that was used, whatever the config says."""
    if isinstance(policy, str):
        return policy
    if config.policy not in policies.POLICIES:  # the reference that a function was loaded by
        return config.policy
    return OWN_PRUNER if policy is None else str(getattr(policy, "__qualname__", repr(policy)))


def _planned(
    model: nn.Module, groups: tuple[Group, ...], config: Config
) -> tuple[PlannedGroup, ...] | None:
    """What the ratio asks; None where channels are numbered wrongly, so that it is not defined."""
    if any(group.untraced for group in groups):
        return None
    scores = importances.group_importances(model, groups, config.importance)
    return planning.plan(groups, scores, config)


def _as_told(config: Config, pruner: Any) -> Config:
    """What a pruner of the user's own was told, and is held to, as far as a config can say it."""
    cap = pruner.max_pruning_ratio
    return replace(
        config,
        scope="global" if pruner.global_pruning else "local",
        round_to=config.round_to or pruner.round_to or None,
        # torch-pruning takes any number for a cap.
        max_pruning_ratio=min(config.max_pruning_ratio, cap if 0 < cap <= 1 else 1.0),
    )


def _ignored_by(pruner: Any, model: nn.Module) -> tuple[str, ...]:
    """Names of the layers that a pruner ignores; it takes modules of other models too."""
    own = set(model.modules())
    return names_of([layer for layer in pruner.ignored_layers if layer in own], model)


def verify(
    model: nn.Module, example_inputs: Inputs, pruner: Any, *, budget: float | None = None
) -> Verification:
    """Step a torch-pruning pruner to its end and prove every step.

    ``model`` is pruned; its train/eval flags and the random state are left as found.

    Args:
        model: the network ``pruner`` was built on, not stepped yet.
        example_inputs: a tensor, a tuple or a dict; the proof draws random values of these shapes.
        pruner: any torch-pruning pruner whose ``step(interactive=True)`` yields groups, and ranks
            a step before it yields the step's first one, as torch-pruning's own do.
        budget: seconds for pruning and proof; None is no limit.

    Returns:
        The verdict with its evidence; ``groups`` holds what each group lost.

    Raises:
        InputError: the pruner was built on another model, or has been stepped to its end; the
            model does not run on the inputs, is random in eval mode or puts out infinities; or it
            cannot be analysed as it is (see `analysis.network.inference.check_usable`).
        UnsupportedLayerError: a layer was cut that the proof has no row for.
    """
    _check_runs(model, example_inputs, pruner)
    with left_as_found(model):
        model.eval()
        groups: list[Group] = []
        progress = Progress(demands=Demands(pruner))

        def read(_: Operators) -> tuple[Any, None]:
            groups.extend(_groups_of(pruner, model, example_inputs))
            return pruner, None

        verification = stepped(model, example_inputs, read, progress, budget)
    ratio = pruner.pruning_ratio
    return accounted(verification, tuple(groups), progress, progress.planned, ratio)


def verify_steps(
    model: nn.Module, example_inputs: Inputs, pruner: Any, *, budget: float | None = None
) -> Iterator[Verification]:
    """Step a torch-pruning pruner and prove each step before the next: train in between.

    ``for step in verify_steps(model, inputs, pruner): train(model)``. Each step is proved against
    the network that it starts from, so that what is done between two of them does not count as
    pruning. While the caller has the word, train/eval flags and the random state are its own.

    Args:
        model: as `verify`.
        example_inputs: as `verify`.
        pruner: as `verify`.
        budget: seconds for each step and its proof; None is no limit.

    Yields:
        The verdict on the step; ``groups`` holds what was asked and went from the first step on.
        The first that does not pass is the last.

    Raises:
        InputError: as `verify`.
        UnsupportedLayerError: as `verify`.
    """
    _check_runs(model, example_inputs, pruner)
    return _verify_steps(model, example_inputs, pruner, budget)


def _verify_steps(
    model: nn.Module, inputs: Inputs, pruner: Any, budget: float | None
) -> Iterator[Verification]:
    progress = Progress(demands=Demands(pruner))
    groups: tuple[Group, ...] = ()
    steps = each_step(model, inputs, pruner, progress, Operators(model, []).blamed)
    passes = True
    while passes and pruner.current_step < pruner.iterative_steps:
        with left_as_found(model):
            model.eval()
            try:
                with budgets.limited(budget):
                    groups = groups or _groups_of(pruner, model, inputs)
                    step = next(steps)
            except (UnprunableError, BudgetExceededError) as failure:
                step = verdict_of(failure)
        is_last = pruner.current_step >= pruner.iterative_steps
        ratio = pruner.pruning_ratio if is_last else None
        step = accounted(step, groups, progress, progress.planned, ratio)
        passes = step.verdict.passes
        yield step


def _check_runs(model: nn.Module, inputs: Inputs, pruner: Any) -> None:
    """Refuse a model that does not run, or whose pruner cannot be stepped; see `verify`."""
    check_usable(model)
    checked(pruner, model)
    with left_as_found(model):
        model.eval()
        failure = locate_failure(model, inputs)
    if failure is not None:
        raise InputError(f"the model does not run on the example inputs: {failure}")


def _groups_of(pruner: Any, model: nn.Module, inputs: Inputs) -> tuple[Group, ...]:
    """The account's rows: what the pruner's own graph holds, and what it cannot see."""
    if all(parameter.requires_grad for parameter in model.parameters()):
        return depgraph.groups_of(pruner)
    try:
        return depgraph.inspect_groups(model, inputs, _ignored_by(pruner, model))
    except UnprunableError:
        return ()


def _measured(
    dense: Dense,
    pruned: nn.Module,
    config: Config,
    verification: Verification,
    planned: tuple[PlannedGroup, ...] | None,
    removals: Collection[Removal],
) -> Run:
    runs = verification.verdict not in (Verdict.UNPRUNABLE, Verdict.TIMEOUT) and (
        locate_failure(pruned, dense.inputs) is None
    )
    costs = counting.count_macs(pruned, dense.inputs) if runs else None
    accounts = verification.groups
    requested = removed = None
    known = accounts and all(entry.requested is not None for entry in accounts)
    if planned is not None and known:
        requested = _savings(dense, {entry.root: entry.requested for entry in planned})
        removed = _savings(dense, _removed_of_roots(accounts, removals))
    left = requested.point if requested else None
    return Run(
        config=config,
        verification=verification,
        channels=_channels(accounts),
        params=Sizes(
            dense.costs.params, costs.params if costs else None, left.params if left else None
        ),
        macs=Sizes(dense.costs.macs, costs.macs if costs else None, left.macs if left else None),
        bytes_=Sizes(dense.saved_bytes, counting.saved_bytes(pruned) if costs else None),
        costs=costs,
        scopes=() if planned is None else _by_scope(accounts, requested, removed),
    )


def _removed_of_roots(
    accounts: Collection[GroupAccount], removals: Collection[Removal]
) -> dict[str, tuple[int, ...]]:
    """The channels of each group's root that went."""
    cuts = {cut.layer: cut.removed for cut in surgery.merge_cuts(removals) if cut.axis == "out"}
    return {entry.root: cuts.get(entry.root, ()) for entry in accounts}


def _savings(dense: Dense, channels: Mapping[str, Collection[int]]) -> Savings | None:
    """What these channels take along; None where that is not known."""
    if dense.account is None:
        return None
    try:
        return dense.account.savings_of(channels)
    except InputError:
        return None


def _by_scope(
    accounts: tuple[GroupAccount, ...], requested: Savings | None, removed: Savings | None
) -> tuple[ScopeAccount, ...]:
    """The account of the groups that are ranked together, in the order of the groups."""

    def saved(quantity: str, roots: Collection[str]) -> Saved:
        return Saved(
            *(
                None
                if savings is None
                else sum(getattr(row, quantity) for row in savings.groups if row.root in roots)
                for savings in (requested, removed)
            )
        )

    found = []
    for name in dict.fromkeys(entry.scope for entry in accounts if entry.scope):
        own = tuple(entry for entry in accounts if entry.scope == name)
        roots = {entry.root for entry in own}
        found.append(
            ScopeAccount(
                name=name,
                ratio=own[0].ratio,
                groups=len(own),
                channels=_channels(own),
                macs=saved("macs", roots),
                params=saved("params", roots),
            )
        )
    return tuple(found)


def _channels(accounts: tuple[GroupAccount, ...]) -> Channels:
    requested = [account.requested for account in accounts]
    return Channels(
        prunable=sum(
            entry.width for entry in accounts if entry.reason not in (Reason.IGNORED, Reason.FROZEN)
        ),
        requested=None
        if None in requested or not accounts
        else sum(count or 0 for count in requested),
        removed=sum(entry.removed for entry in accounts),
    )


def lint_ignored_layers(
    model: nn.Module, example_inputs: Inputs, ignored_layers: Iterable[Any] = ()
) -> Lint:
    """What a list of ignored layers really holds, before anything is pruned.

    Args:
        model: the dense network; not changed.
        example_inputs: a tensor, a tuple or a dict.
        ignored_layers: what torch-pruning would be given, right or wrong; names are taken too.

    Returns:
        Findings (types, strangers, layers that are never called, forgotten outputs, layers that
        need not be held, ...), what each group that is held locks, and what stays out of reach.

    Raises:
        InputError: the model cannot be analysed as it is.
        UnprunableError: as `inspect_groups`.
    """
    groups = inspect_groups(model, example_inputs)
    with left_as_found(model):
        called = called_modules(copy_of(model), example_inputs)
    misread = auditing.audit(model, example_inputs, groups)
    try:
        account = cost_account(model, example_inputs)
    except AnalysisError:
        account = None

    def locked(root: str) -> tuple[int, int] | None:
        return account.locked_by(root) if account else None

    found = linting.lint(model, ignored_layers, groups, called, misread, locked)
    if account is None:
        return found
    policies_held = {"as given": {lock.root for lock in found.locks}} | {
        name: {group.root for group in _held_by(name, model, groups)} for name in _FREER
    }
    untouched = tuple(_untouched(name, account, held) for name, held in policies_held.items())
    return replace(found, untouched=untouched)


_FREER = ("skip-channels", "classifier")
"""Policies that a list of ignored layers is compared with."""


def _held_by(policy: str, model: nn.Module, groups: tuple[Group, ...]) -> list[Group]:
    held = depgraph.hold(groups, policies.ignored_layers(policy, model, groups))
    return [group for group in held if group.ignored]


def _untouched(name: str, account: Account, held: Collection[str]) -> Untouched:
    """What is left when all channels have gone that may."""
    left = account.left_holding(held)
    return Untouched(name, left.macs / account.dense.macs, left.params / account.dense.params)


def reproduce_residual_mismatch(
    model: nn.Module, example_inputs: Inputs, *, share: float = 0.5
) -> tuple[Mismatch, ...]:
    """For each skip connection: the error when the block's projection alone is cut.

    Beside it stands the proof of DepGraph's own group for the same layer and channels. The model
    is not changed.

    Args:
        model: any network with residual additions; without one, the result is empty.
        example_inputs: a tensor, a tuple or a dict.
        share: how much of the layer is cut, the first channels.
    """
    groups = depgraph.inspect_groups(model, example_inputs)
    return tuple(
        _mismatch(model, example_inputs, naive, share)
        for naive in naive_cuts.projection_cuts(groups)
    )


def reproduce_depthwise_mismatch(
    model: nn.Module, example_inputs: Inputs, *, share: float = 0.5
) -> tuple[Mismatch, ...]:
    """The same for each depthwise convolution that is cut without the layer that feeds it."""
    groups = depgraph.inspect_groups(model, example_inputs)
    return tuple(
        _mismatch(model, example_inputs, naive, share)
        for naive in naive_cuts.depthwise_cuts(groups)
    )


def _mismatch(
    model: nn.Module, inputs: Inputs, naive: naive_cuts.NaiveCut, share: float
) -> Mismatch:
    channels = range(int(naive.width * share))
    broken = copy_of(model)
    surgery.cut_alone(broken, naive.layers, channels)
    failure = locate_failure(broken, inputs)

    dense = copy_of(model)
    distinct_values.make_distinct(dense, inputs)
    pruned = copy_of(dense)
    removal = surgery.prune_group(pruned, inputs, naive.root, channels)
    return Mismatch(
        block=naive.block,
        layers=naive.layers,
        channels=len(channels),
        raised_in=failure.module if failure else "",
        function=failure.function if failure else "",
        shapes=failure.shapes if failure else (),
        error=failure.error if failure else "",
        group=prove(dense, pruned, [removal], inputs),
    )
