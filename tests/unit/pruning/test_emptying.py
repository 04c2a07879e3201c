"""Why nothing is removed of a group whose channels are in one layer several times."""

import pytest
import torch
import torch_pruning as tp
from kinds import KINDS, network_of
from nets import GatedBranches, inputs_for, make
from torch import Tensor, nn

from analysis import verify
from analysis.groups import depgraph
from analysis.groups.reading import is_even
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


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", KINDS)
def test_a_part_of_an_even_group_leaves_a_channel_in_every_layer(name: str) -> None:
    """torch-pruning is not asked about these: it would say that they are not emptied."""
    network = network_of(name)
    pruner = tp.pruner.MagnitudePruner(
        network.model, network.inputs, importance=tp.importance.MagnitudeImportance(p=1),
        num_heads={}, out_channel_groups={}, in_channel_groups={},
    )  # fmt: skip
    graph, reading = pruner.DG, depgraph.read(pruner)
    for items, group in zip(reading.live, reading.groups, strict=True):
        if not is_even(items, group):
            continue
        for count in {1, group.width // 2, group.width - 1} - {0}:
            going = torch.randperm(group.width)[:count].tolist()
            module = items[0].dep.target.module
            part = graph.get_pruning_group(module, items[0].dep.handler, going)
            assert graph.check_pruning_group(part), (group.root, going)
