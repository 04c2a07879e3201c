"""A cut by the groups asks nothing of DepGraph, which may not return on a network."""

import pytest
from nets import Residual, inputs_for, make

from analysis.checks import OF_PRUNING, evaluate
from analysis.groups import depgraph
from analysis.pipeline import analyse
from analysis.pruned import pruned_by_groups
from analysis.records import Config


@pytest.mark.parametrize("scope", ["local", "global"])
def test_pruning_by_groups_and_its_checks_ask_depgraph_for_nothing(scope, monkeypatch) -> None:
    """It is upstream's code that must not be reached, and no answer of it is replaced."""
    asked = []
    monkeypatch.setattr(depgraph, "dependency_groups", lambda *_: asked.append("groups"))
    monkeypatch.setattr(depgraph, "groups_cut_by", lambda *_: asked.append("groups of a pruner"))
    model = make(Residual)
    pruned = pruned_by_groups(
        analyse(model, inputs_for(model)), Config(0.5, scope, cut="groups"), "classifier"
    )
    results = evaluate(pruned.outcome, OF_PRUNING)
    assert [each.name for each in results if not each.passed] == []
    assert asked == []
