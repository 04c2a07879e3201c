"""The user's own functions of a network: what they return, and whether they train it."""

import copy
import math

import pytest
import torch
from nets import Chain, Residual, inputs_for, make
from torch import nn

from analysis import GroupPruner, prune, verify_steps
from analysis.errors import InputError
from analysis.network.measuring import measured, trained


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (0.5, {"metric": 0.5}),
        (1, {"metric": 1.0}),
        (torch.tensor(0.25), {"metric": 0.25}),
        ({"accuracy": torch.tensor([0.75]), "loss": 2}, {"accuracy": 0.75, "loss": 2.0}),
    ],
)
def test_a_number_or_several_by_name_are_metrics(found, expected) -> None:
    assert measured(lambda _: found, make(Chain)) == expected


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("high", "evaluate returned a str; expected a number, or a dict"),
        (None, "evaluate returned a NoneType; expected"),
        (True, "evaluate returned a bool; expected"),
        ((0.5, 2), "evaluate returned a tuple; expected"),
        (torch.zeros(2), "evaluate returned a Tensor; expected"),
        ({}, r"evaluate returned \{\}; expected"),
        ({"accuracy": "high"}, "evaluate returned a str as 'accuracy'; expected"),
        ({3: 0.5}, "a metric named 3; expected"),
    ],
)
def test_what_is_no_metric_is_refused_with_its_type(found, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measured(lambda _: found, make(Chain))


def fails(_: nn.Module) -> float:
    return float({}["accuracy"])  # the line that is reported


def test_what_a_function_raises_is_reported_with_its_message_and_line() -> None:
    with pytest.raises(
        InputError, match=r"raised KeyError: 'accuracy' \(test_measuring\.py:\d+: return float\("
    ):
        measured(fails, make(Chain))


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    model(inputs_for(model)).square().mean().backward()
    optimizer.step()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def test_training_with_an_optimizer_of_another_network_is_noticed() -> None:
    model = make(Chain)
    trained(lambda model: step(model, sgd(model)), model, "finetune")
    stale = sgd(make(Chain))
    with pytest.raises(InputError, match=r"finetune changed no weight, though gradients reached"):
        trained(lambda model: step(model, stale), model, "finetune")


def test_what_trains_no_weight_and_asks_for_no_gradient_is_left_alone() -> None:
    """As what only measures anew the statistics of batch norms."""

    def recalibrate(model: nn.Module) -> None:
        model.train()
        with torch.no_grad():
            model(inputs_for(model))

    model = make(Chain)
    trained(recalibrate, model, "finetune")
    trained(lambda _: None, model, "finetune")


def widened(model: nn.Module) -> None:
    model.head = nn.Linear(model.head.in_features, model.head.out_features + 1)


def test_training_that_leaves_other_tensors_is_refused_with_the_first() -> None:
    """No pruning says what they are, so that what is saved could not be loaded."""
    with pytest.raises(InputError, match=r"finetune left 'head\.weight' as \(.*\), and it was \("):
        trained(widened, make(Chain), "finetune")
    with pytest.raises(InputError, match=r"left 'scale' as \(1,\), and it was no tensor"):
        trained(lambda model: model.register_buffer("scale", torch.ones(1)), make(Chain), "tune")
    with pytest.raises(InputError, match=r"left 'head\.bias' as no tensor, and it was \("):
        trained(lambda model: setattr(model.head, "bias", None), make(Chain), "finetune")


class Diverging:
    """Training that leaves one value of a tensor as it is given."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, model: nn.Module) -> None:
        with torch.no_grad():
            model.head.bias[0] = self.value


def test_training_that_diverges_is_refused_with_the_tensor() -> None:
    """A metric may be finite all the same, as an accuracy is."""
    for value in (math.nan, math.inf):
        with pytest.raises(InputError, match=r"values in 'head\.bias' that are no finite numbers"):
            trained(Diverging(value), make(Chain), "finetune")
    trained(Diverging(1e30), make(Chain), "finetune")
    # What was no number before is no fault of the training.
    model = make(Chain)
    Diverging(math.inf)(model)
    trained(Diverging(-math.inf), model, "finetune")


def test_training_that_returns_another_network_is_refused_and_a_wrapper_is_not() -> None:
    with pytest.raises(InputError, match="finetune returned another network, which is not used"):
        trained(copy.deepcopy, make(Chain), "finetune")
    trained(lambda model: model, make(Chain), "finetune")
    trained(nn.Sequential, make(Chain), "finetune")


@pytest.mark.parametrize("kind", [Chain, Residual])
def test_an_optimizer_from_before_the_pruning_is_noticed_between_steps(kind) -> None:
    model = make(kind)
    stale: list[torch.optim.Optimizer] = []

    def between(pruned: nn.Module) -> None:
        stale[:] = stale or [sgd(model)]
        step(pruned, stale[0])

    with pytest.raises(InputError, match=r"the function between steps changed no weight"):
        prune(model, inputs_for(model), 0.5, iterative_steps=2, between=between)


def test_training_between_steps_of_ones_own_loop_goes_on_as_it_did() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    for proved in verify_steps(model, inputs, GroupPruner(model, inputs, 0.5, iterative_steps=2)):
        assert proved.verdict.passes
        step(model, sgd(model))
