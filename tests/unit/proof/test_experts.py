"""Rows that are each multiplied by one of several matrices, as language models do with experts."""

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional

from analysis import count_macs, inspect_groups, prune, ratio_for_macs, verify
from analysis.network.labels import reasons
from analysis.records import Verdict

pytestmark = pytest.mark.skipif(
    not hasattr(functional, "grouped_mm"), reason="torch has no grouped products"
)

TOKENS = torch.tensor([2, 3, 7], dtype=torch.int32)
"""Where the tokens of each of three experts end."""


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 16)
        self.up = nn.Parameter(torch.randn(3, 16, 12))
        self.down = nn.Parameter(torch.randn(3, 12, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = functional.grouped_mm(x, self.up, offs=TOKENS).relu()
        return self.head(x + functional.grouped_mm(inner, self.down, offs=TOKENS))


class WrittenOut(Experts):
    """The same by a loop."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        found, start = [], 0
        for expert, end in enumerate(TOKENS.tolist()):
            rows = x[start:end]
            found.append(rows + (rows @ self.up[expert]).relu() @ self.down[expert])
            start = end
        return self.head(torch.cat(found))


def half_pruned(flips: bool = False) -> tuple[Experts, tp.pruner.BasePruner, Tensor]:
    torch.manual_seed(0)
    model, x = Experts().eval(), torch.randn(7, 6)

    class Flipping(tp.pruner.BasePruner):
        def step(self, interactive=False):
            yield from super().step(interactive=True)
            if flips:
                model.up.data = model.up.data.flip(1)

    pruner = Flipping(
        model, x, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[model.head], unwrapped_parameters=[(model.up, 1), (model.down, 2)],
    )  # fmt: skip
    return model, pruner, x


def test_a_grouped_product_is_that_of_each_part_with_its_matrix() -> None:
    torch.manual_seed(0)
    model, other = Experts(), WrittenOut()
    other.load_state_dict(model.state_dict())
    x = torch.randn(7, 6)
    torch.testing.assert_close(model(x), other(x))


def test_channels_of_all_experts_go_together() -> None:
    groups = {group.name: group for group in inspect_groups(Experts(), torch.randn(7, 6))}
    assert {(each.tensor, each.dim) for each in groups["stem"].members} == {
        ("stem.weight", 0), ("stem.bias", 0), ("up", 1), ("down", 2), ("head.weight", 1),
    }  # fmt: skip
    assert {(each.tensor, each.dim) for each in groups["up"].members} == {("up", 2), ("down", 1)}


def test_a_right_cut_of_experts_is_exact_though_torch_multiplies_them_in_single_precision() -> None:
    model, pruner, x = half_pruned()
    found = verify(model, x, pruner)
    assert model.up.shape == (3, 8, 12)
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved"), found.reason


def test_experts_that_read_channels_in_another_order_are_wrong() -> None:
    model, pruner, x = half_pruned(flips=True)
    assert verify(model, x, pruner).verdict is Verdict.WRONG


def test_a_grouped_product_that_sums_over_groups_is_held() -> None:
    class Gradient(Experts):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            sums = functional.grouped_mm(x.t(), x, offs=torch.tensor([4, 7], dtype=torch.int32))
            return self.head(sums.sum(0))

    model = Gradient()
    x = torch.randn(7, 6)
    try:
        model(x)
    except RuntimeError:
        pytest.skip("torch multiplies no such strides")
    (stem, _) = inspect_groups(model, x)
    assert stem.held.startswith(f"{reasons.UNKNOWN} at `_grouped_mm`")


def test_grouped_products_are_counted_and_priced() -> None:
    torch.manual_seed(0)
    model, x = Experts().eval(), torch.randn(7, 6)
    # Each of seven tokens meets one matrix of each kind.
    assert count_macs(model, x).macs == 7 * (6 * 16 + 16 * 12 + 12 * 16 + 16 * 4)
    assert ratio_for_macs(model, x, 1.0, ignored_layers=["head"], cut="groups").ratio == 0.0


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_as_many_channels_are_removed_at_once_as_keep_rows_aligned(ratio: float) -> None:
    """A grouped product takes rows of 16 bytes, which are four numbers, and no others."""
    torch.manual_seed(0)
    model, x = Experts().eval(), torch.randn(7, 6)
    with pytest.raises(RuntimeError, match="16 bytes"):
        functional.grouped_mm(torch.randn(7, 10), torch.randn(3, 10, 12), offs=TOKENS)
    for group in inspect_groups(model, x):
        assert group.is_output or group.together == tuple(
            tuple(range(first, first + 4)) for first in range(0, group.width, 4)
        )
    pruned = prune(model, x, ratio)
    assert pruned.verification.verdict is Verdict.EXACT, pruned.verification.reason
    assert not pruned.model.up.shape[1] % 4
    assert not pruned.model.up.shape[2] % 4
    assert pruned.model.up.numel() < model.up.numel()
