"""A budget may end anywhere; process and network are restored."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch_pruning as tp
from drawn import part
from nets import Residual, inputs_for, make
from torch import nn

from analysis import verify
from analysis.errors import BudgetExceededError
from analysis.processes import budgets
from analysis.records import Verdict

LONG = 600.0


@contextmanager
def ending_at(turn: int) -> Iterator[list[int]]:
    """The budget ends at the so-many-th return of a Python function while it runs."""
    seen = [0]

    def watch(_frame: Any, event: str, _argument: Any) -> None:
        is_running = signal.getitimer(signal.ITIMER_REAL)[0] > 0
        if event == "return" and is_running:
            seen[0] += 1
            if seen[0] >= turn and not budgets._undisturbed:
                sys.setprofile(None)
                raise BudgetExceededError(LONG)

    sys.setprofile(watch)
    try:
        yield seen
    finally:
        sys.setprofile(None)


def found_state(model: nn.Module) -> list[Any]:
    """What must be as before: of the process, of every module, of every parameter."""
    return [
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.backends.mha.get_fastpath_enabled(),
        torch._C._len_torch_dispatch_stack(),
        torch._C._len_torch_function_stack(),
        torch.get_rng_state().tolist(),
        [
            (name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks),
             "forward" in vars(module))
            for name, module in model.named_modules()
        ],
        [
            (name, each.dtype, each.requires_grad, sorted(vars(each)))
            for name, each in model.named_parameters()
        ],
    ]  # fmt: skip


def interrupted(turn: int) -> tuple[Any, int, list[Any], list[Any]]:
    model = make(Residual)
    inputs = inputs_for(model)
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[model.head], num_heads={}, out_channel_groups={}, in_channel_groups={},
    )  # fmt: skip
    before, answer = found_state(model), None
    try:
        with ending_at(turn) as seen:
            answer = verify(model, inputs, pruner, budget=LONG)
    except BudgetExceededError:
        pass  # outside of all steps
    return answer, seen[0], before, found_state(model)


@pytest.fixture(scope="module")
def turns() -> int:
    interrupted(sys.maxsize)  # what is kept of a first run shortens others
    answer, turns, _, _ = interrupted(sys.maxsize)
    assert answer.verdict is Verdict.EXACT
    return turns


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("place", part(range(60)))
def test_everything_is_as_found_wherever_a_budget_ends(place: int, turns: int) -> None:
    # A step that is no multiple of what repeats in each layer.
    turn = 1 + (place * 7919 + 101) * turns // (60 * 7919)
    answer, _, before, after = interrupted(turn)
    # What is raised while a generator is closed is lost; an alarm would ring again.
    assert answer is None or answer.verdict in (Verdict.TIMEOUT, Verdict.EXACT)
    assert after == before
