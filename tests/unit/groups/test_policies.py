"""Which layers each policy ignores."""

import pytest
import torch
from nets import Residual, inputs_for, make
from tied import Tied, words
from torch import Tensor, nn

from analysis import inspect_groups, records
from analysis.errors import InputError
from analysis.groups.policies import POLICIES, ignored_layers


@pytest.fixture
def residual():
    model = make(Residual)
    return model, inspect_groups(model, inputs_for(model))


@pytest.mark.parametrize(
    ("policy", "held"),
    [
        ("none", ()),
        ("classifier", ("head",)),
        ("skip-channels", ("stem", "block.project", "block.project_norm", "head")),
        ("residual-blocks", ("block.expand", "block.depthwise", "block.project", "head")),
    ],
)
def test_a_named_policy_holds(residual, policy: str, held: tuple[str, ...]) -> None:
    assert ignored_layers(policy, *residual) == held


def test_the_names_that_need_no_torch_are_those_of_the_policies() -> None:
    assert tuple(POLICIES) == records.POLICIES


def test_a_function_may_return_modules_or_names(residual) -> None:
    assert ignored_layers(lambda model: [model.stem, "head"], *residual) == ("stem", "head")


def test_an_unknown_policy_is_refused_with_the_known_ones(residual) -> None:
    with pytest.raises(InputError, match="unknown policy 'half'; expected one of residual-blocks"):
        ignored_layers("half", *residual)


def test_a_function_that_returns_a_stranger_is_refused(residual) -> None:
    with pytest.raises(InputError, match="not part of the model"):
        ignored_layers(lambda model: ["nowhere"], *residual)


class _Predictions(nn.Module):
    """A last layer that shares its table and keeps its bias outside, as that of BERT."""

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.transform, self.decoder = nn.Linear(16, 16), nn.Linear(16, 50, bias=False)
        self.decoder.weight, self.bias = table, nn.Parameter(torch.zeros(50))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x)) + self.bias


def test_an_embedding_whose_table_the_last_layer_shares_is_not_held() -> None:
    model = Tied().eval()
    assert ignored_layers("classifier", model, inspect_groups(model, words())) == ("head",)


def test_a_module_that_adds_a_bias_to_the_output_holds_nothing_else() -> None:
    model = Tied().eval()
    model.head = _Predictions(model.table.weight)
    groups = inspect_groups(model, words())
    assert ignored_layers("classifier", model, groups) == ("head.decoder",)
    assert [group.name for group in groups if group.prunable] == ["table", "up"]
