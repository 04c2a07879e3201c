"""Learning groups from cuts of a network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from blocks import build
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis import inspect_groups, prune
from analysis.groups import trying
from analysis.groups.departing import Tried, departure
from analysis.groups.reconciling import free, most_free
from analysis.groups.trying import learn
from analysis.network.labels.tracing import labelled_pass


class Between(nn.Module):
    """8 channels, a function of them, a reader."""

    def __init__(self, function: Callable[[Tensor], Tensor], read: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(read, 6, 1)
        self.head = nn.Linear(6, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.function(self.first(x))).mean((2, 3)))


def learnt(model: nn.Module, inputs: Any) -> tuple[Any, Any]:
    trace = labelled_pass(model.eval(), inputs)
    return trace, learn(model, inputs, trace)


def sets(trace: Any, found: Any, tensor: str, dim: int = 0) -> set[frozenset[int]]:
    """Positions of an axis that go together, of those that may go."""
    own = trace.labels(tensor, dim)
    of, held = found.classes.of[own], found.classes.held[own]
    return {
        frozenset(np.flatnonzero(of == label).tolist())
        for label in set(of.tolist())
        if held[of == label].max() < 0
    }


def images() -> Tensor:
    return torch.randn(2, 3, 6, 6)


EACH = {frozenset({channel}) for channel in range(8)}
HALVES = {frozenset({channel, channel + 4}) for channel in range(4)}

PLACES: dict[str, tuple[Callable[[Tensor], Tensor], int, list[set[frozenset[int]]]]] = {
    "nothing": (lambda x: x, 8, [EACH]),
    "halves": (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), 8, [HALVES]),
    "step": (lambda x: x[:, ::2], 4, [{frozenset({c, c + 1}) for c in range(0, 8, 2)}]),
    "shuffle": (
        lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2), 8, [HALVES]
    ),
    "written-out shuffle": (
        lambda x: x.view(2, 2, 4, 6, 6).transpose(1, 2).reshape(2, 8, 6, 6), 8, [set()]
    ),
    "blocks": (
        lambda x: x.unflatten(1, (-1, 4)).flip(2).flatten(1, 2), 8,
        [{frozenset(range(4)), frozenset(range(4, 8))}],
    ),
    "last three": (lambda x: x[:, -3:], 3, [{frozenset({c}) for c in range(5)}, set()]),
    "first three": (lambda x: x[:, :3], 3, [{frozenset({c}) for c in range(3, 8)}, set()]),
    "roll": (lambda x: x.roll(3, 1), 8, [{frozenset({c}) for c in range(5)}, set()]),
    "zeros beside": (lambda x: F.pad(x, (0, 0, 0, 0, 0, 4)), 12, [EACH]),
}  # fmt: skip


FAULTS = {}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.xfail(strict=True, reason=FAULTS[name]) if name in FAULTS else (),
        )
        for name in PLACES
    ],
)
def test_what_is_learnt_is_right_whatever_is_cut(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draw of what to cut decides how soon something shows, never the answer."""
    function, read, right = PLACES[name]
    plain = np.random.default_rng
    for seed in range(6):
        monkeypatch.setattr(trying.np.random, "default_rng", lambda _, seed=seed: plain(seed))
        trace, found = learnt(Between(function, read), images())
        assert sets(trace, found, "first.weight") in right
        assert sets(trace, found, "second.weight") == {frozenset({c}) for c in range(6)}


def test_a_plain_network_needs_few_cuts() -> None:
    _, found = learnt(Between(lambda x: x.relu()), images())
    assert found.tries <= 3
    assert found.failure == ""


def test_a_network_that_is_another_each_time_is_held() -> None:
    calls = iter(range(10**6))

    def function(x: Tensor) -> Tensor:
        for _ in range(next(calls)):
            x = x.relu()
        return x

    trace, found = learnt(Between(function), images())
    assert sets(trace, found, "first.weight") in (set(), EACH)
    assert found.tries <= trying._TRIES + 1


def test_a_refusal_of_other_sizes_is_the_reason() -> None:
    def function(x: Tensor) -> Tensor:
        if x.shape[1] != 8:
            raise ValueError("eight channels, please")
        return x.relu()

    trace, found = learnt(Between(function), images())
    assert sets(trace, found, "first.weight") == set()
    label = int(trace.labels("first.weight", 0)[0])
    assert "eight channels, please" in found.classes.why(label).detail
    assert sets(trace, found, "second.weight") == {frozenset({c}) for c in range(6)}


def _flipped_if_few(x: Tensor) -> Tensor:
    x = x.relu()
    if x.shape[1] < 8:
        x = x.flip(1)
    return x


def _flipped_instead(x: Tensor) -> Tensor:
    if x.shape[1] < 8:
        return x.flip(1)
    return x.relu()


OTHER_WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "on one line": lambda x: x.relu() if x.shape[1] == 8 else x.flip(1),
    "as well": _flipped_if_few,
    "instead": _flipped_instead,
}


@pytest.mark.parametrize("name", OTHER_WAYS)
def test_another_way_for_few_channels_is_not_followed_in_silence(name: str) -> None:
    """A branch on the width puts the channels in another order, so they stay."""
    trace, found = learnt(Between(OTHER_WAYS[name]), images())
    assert sets(trace, found, "first.weight") == set()


def test_constants_that_depend_on_the_width_do_not_hold() -> None:
    trace, found = learnt(Between(lambda x: x / x.shape[1] ** 0.5), images())
    assert sets(trace, found, "first.weight") == EACH


def test_the_model_is_not_changed() -> None:
    model = build("group norm")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shapes = [repr(module) for module in model.modules()]
    learnt(model, torch.randn(2, *model.size))
    assert [repr(module) for module in model.modules()] == shapes
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


def test_a_loop_that_a_cut_does_not_end_holds_what_it_waits_for() -> None:
    def function(x: Tensor) -> Tensor:
        turns = torch.zeros(())
        while x.shape[1] != 8:
            turns = turns + 1
        return x + turns

    trace, found = learnt(Between(function), images())
    assert sets(trace, found, "first.weight") == set()
    assert sets(trace, found, "second.weight") == {frozenset({c}) for c in range(6)}
    label = int(trace.labels("first.weight", 0)[0])
    assert "more and more operators" in found.classes.why(label).detail


class Latents(nn.Module):
    """Learnt tokens look at those of the input; either kind of position may go."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(5, 16))
        self.first, self.head = nn.Linear(6, 16), nn.Linear(16, 2)
        self.cross = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        read, asked = self.first(x), self.latents.expand(len(x), -1, -1)
        return self.head(asked + self.cross(asked, read, read, need_weights=False)[0]).mean(1)


def test_learnt_tokens_that_look_at_others_hold_neither_themselves_nor_channels() -> None:
    torch.manual_seed(0)
    groups = inspect_groups(Latents().eval(), torch.randn(2, 7, 6), ["head"])
    assert {each.name: each.together_in_words for each in groups} == {
        "first": "sets of 4", "latents": "any one", "head": "none",
    }  # fmt: skip
    cured = prune(Latents().eval(), torch.randn(2, 7, 6), 0.5)
    assert cured.verification.verdict.passes, cured.verification.reason
    assert cured.model.latents.shape == (2, 8)


def test_a_pass_that_is_asked_about_an_operator_ends_behind_it() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counting.calls += 1
            return x + 0

    model = Between(lambda x: x.flip(1)).eval()
    model.head = nn.Sequential(model.head, *(Counting() for _ in range(5)))
    trace = labelled_pass(model, images())
    first = next(n for n, step in enumerate(trace.steps) if step.place.module == "first")
    classes = trying.learn(model, images(), trace).classes
    removed = np.isin(classes.of, classes.of[trace.labels("first.weight", 0)[[0, 7]]])
    tried = Tried(model, images(), trace)
    Counting.calls = 0
    assert departure(tried, classes, removed) is None
    whole, Counting.calls = Counting.calls, 0
    assert departure(tried, classes, removed, beyond=first) is None
    assert Counting.calls < whole


def test_what_leaves_all_free_that_a_pass_does_leaves_most() -> None:
    trace, found = learnt(Between(lambda x: x), images())
    assert free(trace, found.classes) == most_free(trace)
    trace, found = learnt(Between(lambda x: x[:, ::2], 4), images())
    assert free(trace, found.classes) <= most_free(trace)


class Biased(nn.Module):
    """Heads whose queries, keys and values lie beside each other, with biases of each head."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, 4
        self.qkv, self.project = nn.Linear(8, heads * 12), nn.Linear(heads * 4, 8)
        self.table, self.shape = nn.Parameter(torch.randn(9, heads)), (4, 4, heads)
        self.register_buffer("places", torch.arange(16) % 9)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        made = self.qkv(x).view(batch, -1, self.heads, 3 * self.size).transpose(1, 2)
        q, k, v = made.chunk(3, -1)
        products = q * self.size**-0.5 @ k.transpose(-2, -1)
        bias = self.table[self.places].view(self.shape).permute(2, 0, 1)
        made = ((products + bias).softmax(-1) @ v).transpose(1, 2)
        return self.project(made.reshape(batch, tokens, -1))


class BiasedHeads(nn.Module):
    """A layer between them is half as wide as the second's queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Linear(5, 8), Biased(1), Biased(2)
        self.wide, self.narrow, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.one(x)
        x = x + self.narrow(self.wide(x).relu())
        return self.head((x + self.two(x)).mean(1))


def test_heads_are_tied_to_no_layer_that_is_as_wide_by_chance() -> None:
    groups = {
        group.name: group for group in inspect_groups(BiasedHeads().eval(), torch.ones(2, 4, 5))
    }
    assert {member.layer for member in groups["wide"].members} == {"wide", "narrow"}
    assert groups["wide"].held == groups["two.qkv"].held == ""
    assert {f"{each.module}.{each.name}" for each in groups["two.qkv"].repeats} == {
        "two.heads",
        "two.shape[2]",
    }


def test_what_cuts_do_not_teach_in_time_holds_its_own_channels_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trying, "_PATIENCE", 1)
    groups = {
        group.name: group for group in inspect_groups(BiasedHeads().eval(), torch.ones(2, 4, 5))
    }
    assert "does not follow a cut" in groups["two.qkv"].held
    assert groups["stem"].held == groups["wide"].held == ""
