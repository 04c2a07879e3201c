"""Which layer is charged for a product with another layer's weights, in every way of counting."""

from collections.abc import Callable

import pytest
import torch
from cutting import cut, gone_of
from torch import Tensor, nn
from torch.nn.functional import linear

from analysis import cost_account, count_macs, inspect_groups
from analysis.costs.counting import by_fvcore
from analysis.costs.followed import counted
from analysis.groups.inspecting import labelled

WIDE = 2 * 6 * 16 * 16
"""MACs of 16 channels made of 16, at 6 places of 2 items."""


class Using(nn.Module):
    """The model's own forward uses the weights of its layers."""

    def __init__(self, use: Callable[["Using", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(20, 16)
        self.mid = nn.Linear(16, 16)
        self.other = nn.Linear(16, 16, bias=False)
        self.head = nn.Linear(16, 5)
        self.use = use

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.use(self, self.table(ids)).relu())


def queries(model: Using, x: Tensor) -> Tensor:
    """The first rows of the table ask for the others, as learned queries do."""
    asked = model.mid(model.table.weight[:4].unsqueeze(0))
    return (asked @ model.other(x).transpose(1, 2)).softmax(-1) @ x


def in_halves(model: Using, x: Tensor) -> Tensor:
    first, second = model.other.weight.T.chunk(2, 1)
    return torch.cat([x @ first, x @ second], 2)


CASES: dict[str, tuple[Callable[[Using, Tensor], Tensor], dict[str, int]]] = {
    # What is moved is the layer's own weight still.
    "transposed": (lambda m, x: x @ m.other.weight.t(), {"other": WIDE}),
    "turned": (lambda m, x: torch.einsum("bnc,oc->bno", x, m.other.weight), {"other": WIDE}),
    "in halves": (in_halves, {"other": WIDE}),
    "as another": (lambda m, x: linear(x, m.other.weight.view_as(m.mid.weight)), {"other": WIDE}),
    # What is computed is of the module that computes it.
    "scaled": (lambda m, x: linear(x, m.other.weight * 2), {"": WIDE}),
    "of two": (lambda m, x: linear(x, m.other.weight + m.mid.weight), {"": WIDE}),
    "beside each other": (
        lambda m, x: linear(x, torch.cat([m.other.weight, m.mid.weight]))[..., :16],
        {"": 2 * WIDE},
    ),
    "queries": (
        queries,
        # Each of 2 items: 4 queries and 6 keys of 16 channels, twice.
        {"mid": 4 * 16 * 16, "other": WIDE, "": 2 * (2 * 4 * 6 * 16)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_both_ways_of_counting_charge_the_same_layer(name: str) -> None:
    use, charged = CASES[name]
    model, ids = Using(use).eval(), torch.arange(12).view(2, 6)
    places = 4 if name == "queries" else 6
    expected = charged | {"head": 2 * places * 16 * 5}
    for table in (count_macs(model, ids), counted(labelled(model, ids)), by_fvcore(model, ids)):
        assert {row.layer: row.macs for row in table.layers if row.macs} == expected


# A view of a written-out size holds the channels, and so does a slice.
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"as another", "beside each other"}))
def test_a_product_with_another_layers_weights_has_a_price(name: str) -> None:
    use, _ = CASES[name]
    model, ids = Using(use).eval(), torch.arange(12).view(2, 6)
    groups = inspect_groups(model, ids, ["head"])
    lost = [
        set(sum(group.together[: len(group.together) // 2], ())) if group.prunable else set()
        for group in groups
    ]
    assert any(lost)
    table = count_macs(cut(model, gone_of(groups, lost)), ids)
    account = cost_account(model, ids, ["head"], scope="local", cut="groups")
    (point,) = account.curve([0.5]).points
    assert (point.macs, point.params) == (table.macs, table.params)
    assert account.by_layer(0.5) == {row.layer: (row.macs, row.params) for row in table.layers}
    savings = account.savings(0.5)
    dense = count_macs(model, ids)
    assert sum(group.macs for group in savings.groups) == pytest.approx(dense.macs - table.macs)
    assert sum(group.params for group in savings.groups) == pytest.approx(
        dense.params - table.params
    )
