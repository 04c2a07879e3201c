"""Models that cannot be analysed as they are: one clear line for each, or a verdict."""

import pytest
import torch
from blocks import Between, half_pruner
from nets import Chain, inputs_for, make
from torch import nn
from torch.nn import functional as F  # noqa: N812

from analysis import compare, count_macs, inspect_groups, prune, save_pruned, verify, watch
from analysis.errors import InputError
from analysis.groups.depgraph import dependency_groups
from analysis.records import Verdict


class LazyChain(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LazyConv2d(4, 3)


REFUSED = {
    "data parallel": (lambda: nn.DataParallel(make(Chain)), "DataParallel.*pass model.module"),
    "compiled": (lambda: torch.compile(make(Chain)), "pass model._orig_mod"),
    "traced": (
        lambda: torch.jit.trace(make(Chain), torch.randn(1, *Chain.size)),
        "the one that was scripted",
    ),
    "lazy": (LazyChain, "`first.weight` of the LazyChain is lazy.*run the model once"),
    "meta": (lambda: make(Chain).to("meta"), "`first.weight` of the Chain is on the meta device"),
    "no module": (lambda: "resnet", "the model is a str; expected a torch.nn.Module"),
    "no parameters": (nn.ReLU, "ReLU has no parameters"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_analysed_says_what_to_pass(name: str) -> None:
    build, message = REFUSED[name]
    model = build()
    plain = make(Chain)
    for function in (
        lambda: dependency_groups(model, inputs_for(plain)),
        lambda: count_macs(model, inputs_for(plain)),
        lambda: verify(model, inputs_for(plain), half_pruner(plain, (inputs_for(plain),))),
    ):
        with pytest.raises(InputError, match=message):
            function()


def test_a_function_that_makes_a_model_is_refused_wherever_a_model_is_taken(tmp_path) -> None:
    def build() -> nn.Module:
        return make(Chain)

    inputs = inputs_for(make(Chain))
    for function in (
        lambda: prune(build, inputs, 0.5),
        lambda: compare(build, make(Chain), inputs),
        lambda: compare(make(Chain), build, inputs),
        lambda: watch(build, inputs).__enter__(),
        lambda: inspect_groups(build, inputs),
    ):
        with pytest.raises(InputError, match=r"the model is a function.*call it, and pass what"):
            function()
    with pytest.raises(InputError, match=r"what analysis\.prune returned, and got a Chain"):
        save_pruned(make(Chain), tmp_path / "saved")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_are_proved(dtype: torch.dtype) -> None:
    model = make(Chain).to(dtype)
    inputs = inputs_for(model).to(dtype)
    answer = verify(model, inputs, half_pruner(model, (inputs,)))
    assert answer.verdict is Verdict.EXACT
    assert model.first.weight.dtype == dtype


class Changed(Chain):
    """A chain whose scores go through a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(super().forward(x))


def changed(function) -> Changed:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Changed(function).eval()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Between(lambda m, x: F.dropout(x, 0.5)).eval(),
            "random in eval mode.*first in `second`; it draws at `bernoulli` in the model's own",
        ),
        (
            lambda: changed(lambda x: x / 0.0),
            "not finite in float64, from the model's own forward on",
        ),
    ],
    ids=["random", "infinite"],
)
def test_a_network_that_cannot_be_compared_is_refused(build, message: str) -> None:
    model = build()
    with pytest.raises(InputError, match=message):
        verify(model, inputs_for(model), half_pruner(model, (inputs_for(model),)))


def test_an_output_without_tensors_is_refused() -> None:
    model = make(Chain)
    pruner = half_pruner(model, (inputs_for(model),))
    model.forward = lambda x: "done"
    with pytest.raises(InputError, match="the model's output is a str without tensors"):
        verify(model, inputs_for(model), pruner)


def test_noise_whose_shape_does_not_change_is_refused_as_any_other() -> None:
    """The same seed draws the same for both networks, and shows nothing of another draw."""
    model = changed(lambda x: x * torch.rand(len(x), 1))
    with pytest.raises(InputError, match="random in eval mode"):
        verify(model, inputs_for(model), half_pruner(model, (inputs_for(model),)))
