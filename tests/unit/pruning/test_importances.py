"""Importances worked out by hand, and against torch-pruning's own."""

import pytest
import torch
import torch_pruning as tp
from nets import Chain, Concat, Flattened, GatedBranches, Grouped, Residual, inputs_for, make

from analysis import inspect_groups
from analysis.groups.depgraph import dependency_groups
from analysis.pruning.importances import (
    filter_norms,
    group_importances,
    set_importances,
    spearman,
)


def hand_made() -> Chain:
    """Filters of sums 1, 2, 3, 4 (27 weights each); readers of sum 10; gamma 1, 1, 1, 5."""
    model = make(Chain)
    with torch.no_grad():
        for channel in range(4):
            model.first.weight[channel] = (channel + 1) / 27
        model.second.weight[:] = -10 / 5
        model.norm.weight[:] = torch.tensor([1.0, 1.0, 1.0, 5.0])
    return model


def test_l1_averages_the_filter_the_reader_and_gamma_and_divides_by_the_mean() -> None:
    model = hand_made()
    found = group_importances(model, dependency_groups(model, inputs_for(model)))["first"]
    averages = torch.tensor(
        [(1 + 10 + 1) / 3, (2 + 10 + 1) / 3, (3 + 10 + 1) / 3, (4 + 10 + 5) / 3],
        dtype=torch.float64,
    )
    torch.testing.assert_close(found, averages / averages.mean(), rtol=1e-6, atol=0)


def test_the_plain_filter_norm_is_the_filter_alone() -> None:
    model = hand_made()
    found = filter_norms(model, dependency_groups(model, inputs_for(model)))["first"]
    expected = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", [Chain, Residual, Concat, Grouped, Flattened, GatedBranches])
@pytest.mark.parametrize(("importance", "power"), [("l1", 1), ("l2", 2)])
def test_the_recomputed_importance_is_torch_prunings(kind, importance: str, power: int) -> None:
    model = make(kind)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    ours = group_importances(model, dependency_groups(model, inputs_for(model)), importance)
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=(inputs_for(model),))
    theirs = tp.importance.MagnitudeImportance(p=power)
    for group in graph.get_all_groups():
        root = graph._module2name[group[0].dep.target.module]
        torch.testing.assert_close(ours[root].float(), theirs(group), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([1, 2, 3, 4], [10, 20, 30, 40], 1.0), ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
     ([1, 2, 3, 4], [2, 1, 4, 3], 0.6)],
)  # fmt: skip
def test_spearman(first: list[int], second: list[int], expected: float) -> None:
    found = spearman(torch.tensor(first).float(), torch.tensor(second).float())
    assert found == pytest.approx(expected)


def test_parameters_of_no_layer_count_each_by_what_it_holds_of_a_channel() -> None:
    class Own(torch.nn.Module):
        """As graph networks hold their weights and shifts."""

        def __init__(self) -> None:
            super().__init__()
            self.rows = torch.nn.Parameter(torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]]))
            self.shift = torch.nn.Parameter(torch.tensor([10.0, 20.0, -30.0]))
            self.head = torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.head(x @ self.rows + self.shift)

    model = Own()
    torch.nn.init.zeros_(model.head.weight)
    (group, _) = inspect_groups(model, torch.randn(4, 2))
    found = set_importances(group, dict(model.named_parameters()), None)
    assert found.tolist() == [1 + 4 + 10, 2 + 5 + 20, 3 + 6 + 30]
