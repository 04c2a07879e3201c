"""Why nothing is removed of a group whose channels are in one layer several times."""

import pytest
import torch
import torch_pruning as tp
from nets import GatedBranches, inputs_for, make
from torch import Tensor, nn

from analysis import verify
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import Config, Reason


class Gated(nn.Module):
    """One convolution makes both halves of a gate, so each channel goes with its partner."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Conv2d(3, 16, 3, padding=1)
        self.read = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.both(x).chunk(2, 1)
        return self.head(self.read(value * gate.sigmoid()).relu().mean((2, 3)))


# Eight of the sixteen channels are half of what torch-pruning then counts: all of them.
@pytest.mark.parametrize(
    ("ratio", "removed", "reason"), [(0.25, 8, "pruned"), (0.5, 0, "would-empty")]
)
def test_a_gate_is_dropped_where_its_cut_would_empty_it(ratio, removed, reason) -> None:
    torch.manual_seed(0)
    model, inputs = Gated().eval(), torch.randn(1, 3, 6, 6)
    run = prune_and_prove(analyse(model, inputs), Config(ratio, "local"), "classifier").run
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio,
        ignored_layers=[model.head], num_heads={}, out_channel_groups={}, in_channel_groups={},
    )  # fmt: skip
    for verification in (run.verification, verify(model, inputs, pruner)):
        account = next(each for each in verification.groups if each.root == "both")
        assert (account.removed, account.reason) == (removed, Reason(reason))
    assert model.both.out_channels == 16 - removed


def test_what_a_gate_of_two_branches_would_empty_is_dropped_alike() -> None:
    """DepGraph numbers the channels of a flattened branch so that half of them take all along."""
    model = make(GatedBranches)
    inputs = inputs_for(model)
    run = prune_and_prove(analyse(model, inputs), Config(0.5, "global"), "classifier").run
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        global_pruning=True, ignored_layers=[model.head], num_heads={}, out_channel_groups={},
        in_channel_groups={},
    )  # fmt: skip
    called = verify(model, inputs, pruner)
    asked = {(each.root, each.requested, each.reason) for each in run.verification.groups}
    assert asked == {(each.root, each.requested, each.reason) for each in called.groups}
    assert Reason.WOULD_EMPTY in {reason for _, _, reason in asked}
