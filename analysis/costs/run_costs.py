"""The costs of one pruning: dense, pruned, and as requested; also by scope."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from torch import nn

from analysis.costs.accounting import Account
from analysis.costs.folding import folded
from analysis.costs.followed import count_macs, counted
from analysis.costs.saved_size import saved_bytes
from analysis.errors import InputError
from analysis.network.failures import locate_failure
from analysis.network.inference import Inputs
from analysis.network.passed import Passed
from analysis.processes import budgets
from analysis.pruning.planning import removed_channels
from analysis.records import (
    Channels,
    Config,
    CostTable,
    GroupAccount,
    PlannedGroup,
    Reason,
    Removal,
    Run,
    Saved,
    Savings,
    ScopeAccount,
    Sizes,
    Verdict,
    Verification,
)

__all__ = ["costed_run", "measure"]


def measure(
    model: nn.Module, example_inputs: Inputs, network: Passed | None = None
) -> tuple[CostTable, int]:
    """MACs and parameters of a network, and the size of its saved weights in bytes.

    ``network`` is a pass over it on these inputs; None makes one.
    """
    with budgets.step("counting MACs"):
        table = counted(network) if network else count_macs(model, example_inputs)
        return table, saved_bytes(model)


def costed_run(
    dense: tuple[CostTable, int],
    account_of: Callable[[], Account | None],
    pruned: nn.Module,
    inputs: Inputs,
    config: Config,
    verification: Verification,
    planned: tuple[PlannedGroup, ...] | None,
    removals: Collection[Removal],
) -> Run:
    """The run of one pruning, with what it left and what was requested.

    Args:
        dense: see `measure`.
        account_of: returns the account of costs, which takes time; None if it cannot be expressed.
        pruned: the network after the pruning.
        inputs: a tensor, a tuple or a dict.
        config: the request.
        verification: the proof, with requested and removed channels.
        planned: the requested channels; None if they are not known.
        removals: the cuts.
    """
    table, saved_bytes = dense
    # A proved network has been run.
    runs = verification.verdict.passes or (
        verification.verdict not in (Verdict.UNPRUNABLE, Verdict.TIMEOUT)
        and locate_failure(pruned, inputs) is None
    )
    costs, bytes_left = measure(pruned, inputs) if runs else (None, None)
    if costs is not None and table.folded:
        costs = folded(costs, table.folded)
    accounts = verification.groups
    requested = removed = None
    known = accounts and all(entry.requested is not None for entry in accounts)
    account = account_of() if planned is not None and known else None
    if account is not None and planned is not None:
        requested = _savings(account, {entry.root: entry.requested for entry in planned})
        went = removed_channels(removals)
        removed = _savings(account, {each.root: went.get(each.root, ()) for each in accounts})
    left = requested.point if requested else None
    params = Sizes(table.params, costs.params if costs else None, left.params if left else None)
    macs = Sizes(table.macs, costs.macs if costs else None, left.macs if left else None)
    return Run(
        config=config,
        verification=replace(verification, macs=macs, params=params),
        channels=_channels(accounts),
        params=params,
        macs=macs,
        bytes_=Sizes(saved_bytes, bytes_left),
        costs=costs,
        scopes=() if planned is None else _by_scope(accounts, requested, removed),
    )


def _savings(account: Account, channels: Mapping[str, Collection[int]]) -> Savings | None:
    """The saving of removing these channels; None if it is not known."""
    try:
        return account.savings_of(channels)
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
