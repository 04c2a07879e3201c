"""How a model is called, and that it is left as found."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import Chain, inputs_for, make
from torch import Tensor, nn

from analysis.errors import BudgetExceededError, InputError
from analysis.network.failures import locate_failure
from analysis.network.inference import (
    FunctionMode,
    copy_of,
    forward,
    left_as_found,
    map_tensors,
    output_tensors,
)
from analysis.processes import budgets


def _endless() -> None:
    while True:
        pass


def test_a_tensor_a_tuple_and_a_dict_are_the_same_call() -> None:
    model = nn.Bilinear(2, 3, 4)
    first, second = torch.randn(1, 2), torch.randn(1, 3)
    expected = model(first, second)
    assert torch.equal(forward(model, (first, second)), expected)
    assert torch.equal(forward(model, {"input1": first, "input2": second}), expected)
    assert torch.equal(forward(nn.Identity(), first), first)


def test_outputs_are_found_in_nested_structures_in_order() -> None:
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    assert [len(t) for t in output_tensors({"a": one, "b": [two, (three, "text", None)]})] == [
        1,
        2,
        3,
    ]


def test_an_output_without_tensors_is_refused() -> None:
    with pytest.raises(InputError, match="output is a str without tensors"):
        output_tensors("scores")


def test_map_tensors_keeps_the_structure() -> None:
    mapped = map_tensors({"x": torch.ones(2), "n": 3, "pair": [torch.ones(1)]}, lambda t: t + 1)
    assert mapped["x"].tolist() == [2, 2]
    assert mapped["n"] == 3
    assert mapped["pair"][0].tolist() == [2]


def test_a_failure_is_located_with_operation_and_shapes() -> None:
    failure = locate_failure(make(Chain), torch.randn(1, 5, 6, 6))
    assert failure is not None
    assert (failure.module, failure.function) == ("first", "conv2d")
    assert failure.shapes == ((1, 5, 6, 6), (4, 3, 3, 3))


def test_a_failure_leaves_no_hooks() -> None:
    model = make(Chain)
    locate_failure(model, torch.randn(1, 5, 6, 6))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_flags_and_random_state_come_back_after_an_error() -> None:
    model = make(Chain)
    model.norm.train()
    state = torch.get_rng_state()

    def disturb() -> None:
        model.train()
        torch.rand(3)
        raise KeyError

    with pytest.raises(KeyError), left_as_found(model):
        disturb()
    assert [name for name, module in model.named_modules() if module.training] == ["norm"]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_cannot_be_copied_is_explained() -> None:
    model = make(Chain)
    model.kept = (each for each in "abc")  # a generator: deepcopy refuses it
    with pytest.raises(InputError, match="Chain cannot be copied"):
        copy_of(model)


def test_a_budget_ends_python_code_and_names_the_step() -> None:
    with (
        pytest.raises(BudgetExceededError) as caught,
        budgets.limited(0.2),
        budgets.step("waiting"),
    ):
        _endless()
    assert caught.value.step == "waiting"
    assert str(caught.value) == "no answer within 0.2 s"


def test_an_alarm_that_is_swallowed_rings_again() -> None:
    def swallowing() -> None:
        with suppress(BudgetExceededError):
            _endless()
        _endless()

    with pytest.raises(BudgetExceededError), budgets.limited(0.1):
        swallowing()


def test_without_a_budget_nothing_rings() -> None:
    with budgets.limited(None):
        pass


class Asserting(nn.Module):
    """Raises in Python, after an operator raised whose error it caught."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.message = message

    def forward(self, x: Tensor) -> Tensor:
        with suppress(RuntimeError):
            x @ x
        if self.message:
            raise ValueError(self.message)
        if x.dim() != 3:
            raise AssertionError
        return self.layer(x)


@pytest.mark.parametrize(
    ("message", "output"), [("", "AssertionError"), ("too wide", "ValueError: too wide")]
)
def test_an_error_of_python_is_reported_with_its_line_and_without_operands(message, output) -> None:
    lines = Path(__file__).read_text().splitlines()
    raised = "ValueError(self.message)" if message else "AssertionError"
    number = lines.index(f"            raise {raised}") + 1
    failure = locate_failure(Asserting(message), torch.zeros(1, 3))
    start = f"the model's own forward raised: {output} ("
    assert str(failure).startswith(start)
    assert f"{Path(__file__).name}:{number}: raise {raised}" in str(failure)


def test_an_operation_without_operands_is_reported_without_shapes() -> None:
    class Filled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(-1)

    failure = str(locate_failure(Filled(), torch.zeros(1, 3)))
    assert failure.startswith("the model's own forward raised in zeros: ")


def test_a_mode_that_was_entered_twice_and_left_once_is_left() -> None:
    """A budget ends inside of a forward that torch-pruning, swallowing that, calls once more."""
    depth = len(torch.overrides._get_current_function_mode_stack())
    with budgets.limited(10), left_as_found(make(Chain)):
        mode = FunctionMode()
        mode.__enter__()
        mode.__enter__()
        mode.__exit__(None, None, None)
        assert len(torch.overrides._get_current_function_mode_stack()) == depth + 1
    assert len(torch.overrides._get_current_function_mode_stack()) == depth


class CopiesItself(nn.Linear):
    """As the modules of torch.fx, which are made anew and so are in train mode."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "CopiesItself":
        made = CopiesItself(self.in_features, self.out_features)
        made.load_state_dict(self.state_dict())
        return made


def test_a_copy_is_in_eval_mode_whatever_its_class_makes_of_it() -> None:
    assert not copy_of(CopiesItself(2, 3).eval()).training


class InstallsHooks(Chain):
    """Its first call installs a hook that collects, and notes that it did, as transformers' do."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "has_hooks"):
            self.norm.register_forward_hook(lambda module, given, put_out: seen.append(1))
            self.has_hooks = True
        seen.clear()
        super().forward(x)
        return super().forward(x) * len(seen)


seen: list[int] = []


def test_a_hook_that_a_call_installs_is_taken_away_with_the_note_of_it() -> None:
    model = make(InstallsHooks)
    inputs = inputs_for(model)
    once = forward(model, inputs)
    assert torch.equal(forward(model, inputs), once)
    assert not model.norm._forward_hooks
    assert torch.equal(model(inputs), once)
    # What was installed before stays.
    assert torch.equal(forward(model, inputs), once)
    assert len(model.norm._forward_hooks) == 1
