"""Products of several matrices in one operator, over removed channels."""

from collections.abc import Callable

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis import verify
from analysis.records import Verdict


class Chained(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        self.table = nn.Parameter(torch.randn(9, 16))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x).relu(), self.table))


@pytest.mark.filterwarnings("ignore:torch.chain_matmul is deprecated")
@pytest.mark.parametrize(
    "function",
    [
        lambda x, table: torch.linalg.multi_dot([x, table.T, table]),
        lambda x, table: torch.chain_matmul(x, table.T, table),
    ],
)
def test_channels_that_went_add_nothing_to_a_product_of_several(function) -> None:
    torch.manual_seed(0)
    model, x = Chained(function).eval(), torch.randn(5, 8)
    pruner = tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.last],
        unwrapped_parameters=[(model.table, 1)],
    )
    found = verify(model, x, pruner)
    assert (model.last.in_features, tuple(model.table.shape)) == (8, (9, 8))
    assert found.verdict is Verdict.EXACT, found.reason
