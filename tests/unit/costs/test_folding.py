"""Batch norms that fold, beside torch's own folding."""

import copy

import pytest
import torch
from nets import Chain, Residual, inputs_for, make
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from analysis import count_macs, prune
from analysis.costs.folding import folded, folds_of


class Mixed(nn.Module):
    """Norms that fold behind a convolution, a transposed one and a linear layer; others do not."""

    size = (3, 6, 6)
    pairs = (("plain", "after"), ("up", "up_norm"), ("mixed", "mixed_norm"))

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(3)  # nothing is in front of it
        self.plain, self.after = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.up, self.up_norm = nn.ConvTranspose2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.twice, self.read = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)  # another reads it, too
        self.shared, self.first, self.second = (
            nn.Conv2d(4, 4, 1),
            nn.BatchNorm2d(4),
            nn.BatchNorm2d(4),
        )
        self.mixed, self.mixed_norm = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.plane, self.plane_norm = nn.Linear(8, 8), nn.BatchNorm1d(6)  # of another axis
        self.free = nn.Conv2d(4, 4, 1)
        self.bare = nn.BatchNorm2d(4, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up_norm(self.up(self.after(self.plain(self.before(x))).relu()))
        x = self.twice(x)
        x = self.read(x) + x
        x = self.first(self.shared(x)).relu() + self.second(self.shared(x))
        x = self.bare(self.free(x))
        x = self.mixed_norm(self.mixed(x.mean((2, 3))))
        planes = x[:, :, None] * torch.ones(8)
        return self.plane_norm(self.plane(planes)).mean(2)


def fused(model: nn.Module, pairs) -> nn.Module:
    """By torch itself, in eval mode."""
    model = copy.deepcopy(model).eval()
    for layer, norm in pairs:
        made, scaled = model.get_submodule(layer), model.get_submodule(norm)
        if isinstance(made, nn.Linear):
            done = fuse_linear_bn_eval(made, scaled)
        else:
            done = fuse_conv_bn_eval(made, scaled, isinstance(made, nn.ConvTranspose2d))
        for name, module in ((layer, done), (norm, nn.Identity())):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, module)
    return model


PAIRS = {
    Mixed: Mixed.pairs,
    Chain: (("first", "norm"),),
    Residual: (("block.depthwise", "block.norm"), ("block.project", "block.project_norm")),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_a_count_with_norms_folded_is_that_of_the_network_that_torch_folds(kind) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    folds = folds_of(model, inputs)
    assert {norm for norm, _ in folds} == {norm for _, norm in PAIRS[kind]}
    alone = fused(model, PAIRS[kind])
    torch.testing.assert_close(alone(inputs), model.eval()(inputs))
    table, expected = folded(count_macs(model, inputs), folds), count_macs(alone, inputs)
    assert (table.macs, table.params) == (expected.macs, expected.params)
    assert sum(row.params for row in table.layers) == table.params


@pytest.mark.parametrize("kind", [Chain, Residual])
def test_a_target_is_met_as_the_folded_pruned_network_is_counted(kind) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    found = prune(model, inputs, targets={"macs": 0.6}, fold_bn=True)
    dense, left = (count_macs(fused(each, PAIRS[kind]), inputs) for each in (model, found.model))
    assert (found.macs, found.params) == (left.macs, left.params)
    assert found.verification.macs.before == dense.macs
    assert left.macs <= 0.6 * dense.macs
    # What was asked is predicted by the closed form, which is folded likewise.
    assert found.outcome.run.macs.requested == left.macs


def test_looking_for_norms_leaves_the_network_as_it_was() -> None:
    model = make(Chain).train()
    before = copy.deepcopy(model.state_dict())
    folds_of(model, inputs_for(model))
    assert model.training
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
