"""The verdict on every kind of block, by the real pruner, and the reasons of failures."""

import pytest
import torch
import torch_pruning as tp
from blocks import PROVED, Attention, Between, RootMeanSquare, build, half_pruner
from torch import nn

from analysis import verify
from analysis.records import Verdict

# torch-pruning tells of every parameter that no layer owns.
pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")


def half_pruned(model: nn.Module, **options):
    inputs = (torch.randn(2, *model.size, generator=torch.Generator().manual_seed(1)),)
    return inputs, half_pruner(model, inputs, **options)


def answer_for(name: str, **options):
    model = build(name)
    inputs, pruner = half_pruned(model, **options)
    return verify(model, inputs, pruner)


@pytest.mark.parametrize("name", PROVED)
def test_each_block_gets_its_verdict(name: str) -> None:
    _, expected = PROVED[name]
    answer = answer_for(name)
    assert answer.verdict is expected, answer.reason
    if expected in (Verdict.EXACT, Verdict.RENORMALIZED):
        assert answer.max_rel_error is not None
        assert answer.max_rel_error < 1e-13
        assert sum(group.removed for group in answer.groups) > 0


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("softmax over channels", "the model's own forward calls softmax"),
        ("direction of the channels", "calls normalize, which mixes across channels"),
        ("response norm", "`body.1` calls local_response_norm"),
        ("buffer for each channel", r"mul on \(2, 4, 4, 4\) and \(1, 8, 1, 1\)"),
        ("flip", "its input follows the group of `first`; 4 of the 4 input channels of `second`"),
        ("flip", "0 should carry none and carries channel"),
        ("pixel shuffle", "at layer `wide`"),
        ("depthwise with a multiplier", "at layer `body.1`"),
    ],
)
def test_what_is_said_names_the_place(name: str, output: str) -> None:
    import re

    answer = answer_for(name)
    assert re.search(output, answer.reason), answer.reason


def test_the_reported_map_of_channels_is_the_true_one() -> None:
    """Removed channels of a flip by hand: place p of the reader carries channel 7 - p."""
    model = build("flip")
    inputs, pruner = half_pruned(model)
    before = model.first.weight.detach().clone()
    answer = verify(model, inputs, pruner)
    kept = [
        channel
        for channel in range(8)
        if any(torch.equal(before[channel], row) for row in model.first.weight)
    ]
    # The pruned reader's first input is the last kept channel; its column was the first kept one.
    should = 7 - kept[0]
    right = f"channel {should} of `first`" if should in kept else "none"
    assert f"0 should carry {right} and carries channel {kept[-1]} of `first`" in answer.reason


def test_heads_that_lose_different_channels_are_wrong() -> None:
    """Without the number of heads torch-pruning cuts nn.MultiheadAttention across their borders."""
    model = build("transformer layer")
    with torch.no_grad():  # rank the channels so that the first head loses three, the second one
        for parameter in model.parameters():
            parameter.normal_()
        scale = torch.tensor([1e-3, 1e-3, 1e-3, 1.0, 1e-3, 1.0, 1.0, 1.0])
        model.embed.weight.mul_(scale.view(-1, 1))
        model.reduce.weight.mul_(scale.view(-1, 1))
        model.expand.weight.mul_(scale)
        model.norm.weight.mul_(scale)
    inputs, pruner = half_pruned(model, out_channel_groups={})
    answer = verify(model, inputs, pruner)
    assert answer.verdict is Verdict.WRONG
    assert answer.first_divergence == "attention"
    assert "split into heads" in answer.reason


def test_scrambled_heads_are_wrong_behind_an_operator_that_mixes_too() -> None:
    """A whole head of two goes and nobody tells the model: the other one's channels are split."""

    class Scrambled(Attention):
        def __init__(self) -> None:
            super().__init__(fused=False, scale="fixed")
            self.norm = RootMeanSquare(8)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Scrambled().eval()
    with torch.no_grad():
        for layer in (model.q, model.k, model.v):
            layer.weight[:4] *= 1e-3  # the first head ranks lowest
    inputs, pruner = half_pruned(model, num_heads={})
    answer = verify(model, inputs, pruner)
    assert model.project.in_features == 4
    assert answer.verdict is Verdict.WRONG
    # With the heads given, each loses as many, and only the norm's statistic differs.
    right = Scrambled().eval()
    inputs, pruner = half_pruned(right)
    assert verify(right, inputs, pruner).verdict is Verdict.RENORMALIZED


def test_a_fault_behind_an_operator_that_mixes_is_named_not_the_operator() -> None:
    class Altering(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            yield from super().step(interactive=True)
            self.model.norm.eps = 1.0

    model = Between(lambda m, x: m.norm(m.middle(x.softmax(1))), middle=nn.Conv2d(8, 8, 1))
    model.norm = nn.BatchNorm2d(8)
    model.eval()
    inputs, pruner = half_pruned(model, kind=Altering)
    answer = verify(model, inputs, pruner)
    assert answer.verdict is Verdict.WRONG
    assert answer.first_divergence == "norm"


def test_a_network_that_refuses_nan_is_judged_by_its_operators() -> None:
    def checked(module, x):
        if x.isnan().any():
            raise ValueError("no numbers")
        return x.softmax(1)

    model = Between(checked).eval()
    inputs, pruner = half_pruned(model)
    answer = verify(model, inputs, pruner)
    assert answer.verdict is Verdict.MIXED
    assert answer.structure == "proved"
    assert "softmax" in answer.reason


def test_shared_constants_are_as_they_were_under_both_names() -> None:
    model = build("skip over an hourglass")
    model.up.bias = model.first.bias
    with torch.no_grad():
        model.first.bias.fill_(0.25)
    inputs, pruner = half_pruned(model)
    assert verify(model, inputs, pruner).verdict is Verdict.EXACT
    assert model.first.bias.tolist() == model.up.bias.tolist() == [0.25] * 4


@pytest.mark.parametrize("at", [1, 2])
def test_a_pruner_that_writes_between_its_steps_is_reported(at: int) -> None:
    class Writing(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            if self.current_step + 1 == at:
                with torch.no_grad():
                    self.model.second.weight.add_(1.0)
            yield from super().step(interactive=True)

    model = build("scale parameter")
    inputs, pruner = half_pruned(model, kind=Writing, iterative_steps=2)
    answer = verify(model, inputs, pruner)
    assert answer.verdict is Verdict.WRONG
    assert answer.first_divergence == "second"
