"""Examine one network of another package part by part, in a process of its own.

Each part runs by itself, so that one that does not end does not affect the others.
"""

import time
from collections import Counter
from functools import lru_cache

from torch import nn

from analysis import count_macs, ratio_curve
from analysis.errors import AnalysisError
from analysis.groups.inspecting import Labelled, labelled
from analysis.network.inference import Inputs
from analysis.pipeline import analyse, audit_groups, prune_and_prove
from analysis.processes import budgets
from analysis.records import (
    Config,
    NetworkAudit,
    NetworkCosts,
    NetworkGroups,
    NetworkPruned,
)
from analysis.zoo import RATIO, SCOPE
from analysis.zoo.by_groups import cut, record_of
from analysis.zoo.networks import NETWORKS

__all__ = ["audit", "by_groups", "costs", "groups", "pruned"]

_POLICY = "classifier"
_SHOWN = 5
"""Groups that differ are listed one by one up to this many."""


def groups(name: str) -> NetworkGroups:
    """How many groups it has, and how many are prunable."""
    _opened(name)  # building it is not timed
    started = time.monotonic()
    found = _followed(name).groups
    seconds = time.monotonic() - started
    return NetworkGroups(
        groups=len(found),
        prunable=sum(group.prunable for group in found),
        channels=sum(group.width for group in found),
        sets=sum(len(group.together) for group in found),
        seconds=round(seconds, 1),
    )


def audit(name: str, budget: float) -> NetworkAudit:
    """How torch-pruning would cut each group.

    Args:
        name: the network.
        budget: seconds for DepGraph to read it, and for each cut that is proved.
    """
    model, inputs = _opened(name)
    followed = _followed(name)
    with budgets.step("auditing the groups"):
        found = audit_groups(followed, model, inputs, budget)
    differing = [(each.name, each.audit, each.why) for each in found if each.audit != "same"]
    return NetworkAudit(
        dict(sorted(Counter(each.audit for each in found).items())), tuple(differing[:_SHOWN])
    )


def costs(name: str) -> NetworkCosts:
    """MACs and parameters, and what the ratio leaves of them."""
    model, inputs = _opened(name)
    with budgets.step("counting costs"):
        table = count_macs(model, inputs)
    left, reason = None, ""
    try:
        with budgets.step("predicting costs"):
            curve = ratio_curve(model, inputs, [RATIO], ignored_layers=_POLICY, scope=SCOPE)
        left = curve.points[0]
    except AnalysisError as error:
        reason = str(error)
    return NetworkCosts(
        table.macs,
        table.params,
        left.macs if left else None,
        left.params if left else None,
        reason,
    )


def pruned(name: str) -> NetworkPruned:
    """The verdict on torch-pruning's own pruner, with only the output layers ignored."""
    with budgets.step("pruning and proving"):
        dense = analyse(*_opened(name))
        run = prune_and_prove(dense, Config(RATIO, SCOPE), _POLICY).run
    return record_of(run)


def by_groups(name: str, scope: str) -> NetworkPruned:
    """The verdict on a pruning by the network's groups."""
    return cut(*_opened(name), scope)


@lru_cache(maxsize=1)
def _opened(name: str) -> tuple[nn.Module, Inputs]:
    with budgets.step("building the network"):
        subject = NETWORKS[name]
        return subject.build(), subject.inputs()


@lru_cache(maxsize=1)
def _followed(name: str) -> Labelled:
    model, inputs = _opened(name)
    with budgets.step("following its channels"):
        return labelled(model, inputs)
