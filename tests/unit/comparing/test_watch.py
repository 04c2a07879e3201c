"""Prunings by hand inside `watch`."""

from typing import Any

import pytest
import torch
import torch_pruning as tp
from nets import Chain, Residual, inputs_for, make
from torch import Tensor, nn
from torch.nn.utils import prune as masks

from analysis import watch
from analysis.errors import InputError
from analysis.records import Verdict


def test_a_loop_over_groups_of_torch_pruning_is_proved() -> None:
    model: Any = make(Residual)
    inputs = inputs_for(model)
    with watch(model, inputs) as pruning:
        graph = tp.DependencyGraph().build_dependency(model, example_inputs=inputs)
        graph.get_pruning_group(model.stem, tp.prune_conv_out_channels, [1]).prune()
        graph.get_pruning_group(model.block.expand, tp.prune_conv_out_channels, [0, 7]).prune()
    assert pruning.verification.verdict is Verdict.EXACT
    kept = pruning.comparison.kept
    assert kept["stem"]["out"] == kept["head"]["in"] == (0, 2, 3)
    assert kept["block.depthwise"]["out"] == (1, 2, 3, 4, 5, 6)


def test_masks_of_pytorch_that_are_cut_out_are_proved() -> None:
    model: Any = make(Chain)
    with watch(model, inputs_for(model)) as pruning:
        masks.ln_structured(model.first, "weight", amount=2, n=1, dim=0)
        masks.remove(model.first, "weight")
        left = model.first.weight.abs().sum((1, 2, 3)).nonzero().flatten()
        first, norm = nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        second = nn.Conv2d(2, 5, 1)
        first.weight.data = model.first.weight.data[left]
        second.weight.data, second.bias.data = (
            model.second.weight.data[:, left], model.second.bias.data,
        )  # fmt: skip
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, part).data = getattr(model.norm, part).data[left]
        model.first, model.norm, model.second = first, norm.eval(), second
    assert pruning.verification.verdict is Verdict.EXACT
    assert pruning.comparison.kept["second"]["in"] == tuple(left.tolist())


def test_surgery_that_reads_other_channels_is_wrong() -> None:
    model: Any = make(Chain)
    with watch(model, inputs_for(model)) as pruning:
        model.first.weight.data = model.first.weight.data[[0, 2]]
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(model.norm, part).data = getattr(model.norm, part).data[[0, 2]]
        model.second.weight.data = model.second.weight.data[:, [0, 1]]
    assert pruning.verification.verdict is Verdict.WRONG
    assert pruning.verification.first_divergence == "second"
    assert "channel 1 of `first`" in pruning.verification.reason


def test_what_the_block_raises_passes_through() -> None:
    model: Any = make(Chain)
    pruning = watch(model, inputs_for(model))
    with pytest.raises(ZeroDivisionError), pruning:
        _ = 1 // 0
    with pytest.raises(InputError, match="has not ended"):
        _ = pruning.verification


class Activated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 2)
        self.note = 3

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x)))


def test_another_activation_is_wrong_though_no_channel_went() -> None:
    model: Any = Activated().eval()
    with watch(model, torch.randn(2, 5)) as pruning:
        model.act = nn.Tanh()
    assert pruning.verification.verdict is Verdict.WRONG


def test_an_attribute_that_is_another_is_reported_though_no_channel_went() -> None:
    model: Any = Activated().eval()
    with watch(model, torch.randn(2, 5)) as pruning:
        model.note = 4
    assert pruning.verification.verdict is Verdict.UNCHANGED
    reason = "no channel was removed; `note` of the model is 4 and was 3"
    assert pruning.verification.reason == reason


def test_a_block_that_prunes_nothing_leaves_the_network_unchanged() -> None:
    model: Any = make(Chain)
    with watch(model, inputs_for(model)) as pruning:
        pass
    assert pruning.verification.verdict is Verdict.UNCHANGED


def test_train_mode_is_left_as_the_block_leaves_it() -> None:
    model: Any = make(Chain)
    model.train()
    with watch(model, inputs_for(model)):
        assert model.training
    assert model.training
