"""The pruner's cuts are recorded with indices of the network it started from."""

import functools

import pytest
import torch
from nets import Chain, Concat, Residual, inputs_for, make

from analysis.errors import InputError
from analysis.pruning import surgery
from analysis.pruning.pruners import load_factory
from analysis.records import Config, Cut, merge_cuts


def test_an_axis_that_two_groups_cut_is_recorded_with_its_first_indices() -> None:
    model = make(Concat)
    with torch.no_grad():
        # The lowest filters are channels 0, 1 of `left` and 4, 5 of `right`.
        for layer, low in ((model.left, (0, 1)), (model.right, (3, 4, 5))):
            layer.weight.fill_(1.0)
            layer.weight[list(low)] = 0.001
        model.join.weight.fill_(1.0)
    pruner = surgery.build_pruner(model, inputs_for(model), Config(0.5, "local"), ["join", "head"])
    cuts = {(c.layer, c.axis): c for c in merge_cuts([cut for cut, _ in surgery.step(pruner)])}
    assert cuts["left", "out"] == Cut("left", "out", 4, (0, 1))
    assert cuts["right", "out"] == Cut("right", "out", 6, (3, 4, 5))
    # `right` starts at 4 in the concatenation whatever was cut from `left` before.
    assert cuts["join", "in"] == Cut("join", "in", 10, (0, 1, 7, 8, 9))
    assert cuts["join", "in"].kept == (2, 3, 4, 5, 6)
    assert model.join.in_channels == 5


def test_a_group_is_recorded_before_it_is_cut() -> None:
    model = make(Chain)
    pruner = surgery.build_pruner(model, inputs_for(model), Config(0.5, "local"), ["head"])
    steps = surgery.step(pruner)
    removal, _ = next(steps)
    assert removal.root == "second"
    assert model.second.out_channels == 5
    next(steps)
    assert model.second.out_channels == 2


def test_pruners_share_no_state() -> None:
    first, second = make(Chain), make(Chain)
    pruners = [
        surgery.build_pruner(model, inputs_for(model), Config(0.5), []) for model in (first, second)
    ]
    assert pruners[0].out_channel_groups is not pruners[1].out_channel_groups


def test_depgraphs_group_cuts_every_member() -> None:
    model = make(Residual)
    (removal,) = surgery.prune_groups(model, inputs_for(model), {"block.expand": [0, 7]})
    assert {(cut.layer, cut.axis) for cut in removal.cuts} == {
        ("block.expand", "out"), ("block.depthwise", "out"), ("block.norm", "out"),
        ("block.project", "in"),
    }  # fmt: skip
    assert model.block.depthwise.groups == 6


def test_a_naive_cut_touches_nothing_else() -> None:
    model = make(Residual)
    surgery.cut_alone(model, ["block.depthwise", "block.norm"], [1, 2])
    assert model.block.depthwise.weight.shape == (6, 1, 3, 3)
    assert model.block.norm.num_features == 6
    assert model.block.expand.out_channels == 8
    assert model.block.project.in_channels == 8


def test_a_naive_cut_of_another_kind_of_layer_is_refused() -> None:
    with pytest.raises(InputError, match="'first' alone: it is an Embedding"):
        surgery.cut_alone(torch.nn.ModuleDict({"first": torch.nn.Embedding(3, 2)}), ["first"], [0])


def test_a_pruner_that_does_not_yield_groups_is_refused() -> None:
    class Silent:
        DG = surgery.build_pruner(model := make(Chain), inputs_for(model), Config(0.5), []).DG

        def step(self, interactive: bool) -> None:
            return None

    with pytest.raises(InputError, match="expected it to yield groups"):
        list(surgery.step(Silent()))


def takes_three(model, inputs, ratio): ...
def takes_more(model, inputs, ratio, steps=3): ...
def takes_any(*arguments): ...


@functools.wraps(takes_three)
def wrapper(*arguments): ...


@pytest.mark.parametrize("factory", [takes_three, takes_more, takes_any, wrapper, print])
def test_a_pruner_function_that_can_be_called_is_taken(factory) -> None:
    assert load_factory(factory) is factory


@pytest.mark.parametrize(
    "factory",
    [
        lambda model, inputs: ...,
        lambda model, inputs, ratio, steps: ...,
        lambda model, *, inputs, ratio: ...,
        functools.wraps(takes_three)(lambda model: ...),
    ],
)
def test_a_pruner_function_that_cannot_be_called_is_bad_input(factory) -> None:
    with pytest.raises(InputError, match=r"cannot be called with \(model, inputs, ratio\)"):
        load_factory(factory)
