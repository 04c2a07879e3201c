"""A copy is what `copy.deepcopy` makes."""

import copy
from collections import OrderedDict, defaultdict

import pytest
import torch
from torch import nn

from analysis.network.copying import duplicated


class Shared(nn.Module):
    """Modules, parameters and lists that are reached in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 1)
        self.again = self.first
        self.tied = nn.Linear(2, 2)
        self.last = nn.Linear(2, 2)
        self.last.weight = self.tied.weight
        self.listed = [self.first, {"last": self.last}]
        self.aliases = self.listed
        self.register_buffer("steps", torch.zeros(3), persistent=False)
        self.counts = defaultdict(int)
        self.empty, self.same = {}, None
        self.same = self.empty
        self.named = OrderedDict(width=(2, 2))


class Refilled(nn.Module):
    """What it holds is written and read in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.read = [1, 2, 3], 0

    def __getstate__(self):
        return {**vars(self), "table": None}

    def __setstate__(self, state) -> None:
        super().__setstate__(state)
        self.table, self.read = [4], self.read + 1


class Single(nn.Module):
    """There is one of it."""

    def __deepcopy__(self, memo):
        return self


class Slotted(nn.Module):
    __slots__ = ("width",)

    def __init__(self) -> None:
        super().__init__()
        self.width = 7


def test_what_is_shared_is_shared_in_the_copy_and_with_nothing_outside() -> None:
    model = Shared()

    made = duplicated(model, {})

    assert made.first is made.again is made.listed[0]
    assert made.tied.weight is made.last.weight is made.listed[1]["last"].weight
    assert made.aliases is made.listed
    assert made.same is made.empty
    own = {id(value) for module in model.modules() for value in vars(module).values()}
    mutable = (dict, list, set)
    assert not any(
        id(value) in own
        for module in made.modules()
        for value in vars(module).values()
        if isinstance(value, mutable)
    )
    assert made.first is not model.first
    assert made.steps is not model.steps
    made.counts["seen"] += 1  # a dict that makes what it lacks still does
    assert made._non_persistent_buffers_set == {"steps"}
    assert not model.counts


def written_out(value):
    """A value with all that it holds, in types that compare by what they hold."""
    if isinstance(value, torch.Tensor):
        return type(value).__name__, value.requires_grad, value.tolist()
    if isinstance(value, nn.Module):
        return type(value).__name__, written_out(vars(value))
    if isinstance(value, dict):
        return type(value).__name__, [(key, written_out(each)) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [written_out(each) for each in value]
    return value


def test_what_was_compiled_is_no_part_of_a_copy() -> None:
    model = nn.ReLU()
    model._compiled_call_impl = lambda: None
    made, expected = duplicated(model, {}), copy.deepcopy(model)
    assert vars(made).keys() == vars(expected).keys()


@pytest.mark.parametrize("kind", [Shared, Refilled, Single, Slotted, nn.MultiheadAttention])
def test_a_copy_holds_what_deepcopy_puts_there(kind) -> None:
    made_of = {nn.MultiheadAttention: (4, 2)}.get(kind, ())
    model = nn.Sequential(kind(*made_of), nn.BatchNorm2d(2))

    made, expected = duplicated(model, {}), copy.deepcopy(model)

    assert written_out(made) == written_out(expected)
    assert (made[0] is model[0]) == (kind is Single)
    assert getattr(made[0], "width", None) == getattr(expected[0], "width", None)


def test_an_entry_of_the_memo_replaces_its_original() -> None:
    model, weight = Shared(), nn.Parameter(torch.ones(2, 2))

    made = duplicated(model, {id(model.tied.weight): weight})

    assert made.tied.weight is made.last.weight is weight
