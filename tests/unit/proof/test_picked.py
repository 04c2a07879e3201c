"""Channels that code picks by their place, heads that go whole, and tensors that meet others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch_pruning as tp
from between import Net, built, cut, images
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis import prune, verify, watch
from analysis.records import Verdict

Function = Callable[[Net, Tensor], Tensor]


PICKED: dict[str, Function] = {
    "slice": lambda m, x: x + (x[:, 1:2] - 1e9).relu(),
    "select": lambda m, x: x * (x[:, 1] - 1e9).relu().unsqueeze(1),
    "narrow": lambda m, x: x + (x.narrow(1, 1, 1) - 1e9).relu(),
    "index_select": lambda m, x: x + (x.index_select(1, torch.tensor([1])) - 1e9).relu(),
    "a parameter": lambda m, x: x * (m.make.bias[1] - 1e9).relu(),
    "behind a softmax": lambda m, x: x * x.softmax(1)[:, 1:2],
    "behind a sum": lambda m, x: x * x.cumsum(1)[:, 1:2],
}


@pytest.mark.parametrize("function", PICKED.values(), ids=PICKED)
def test_a_channel_that_is_picked_by_its_place_is_the_same_one(function: Function) -> None:
    """With channel 0, all others have another place; with channel 1, another one is there."""
    assert cut(function, [5, 7]).verdict.passes
    assert cut(function, [0, 5]).verdict is Verdict.WRONG
    assert cut(function, [1, 5]).verdict is Verdict.WRONG


class Loop(nn.Module):
    """Attention that is written as a loop over its heads, which are parts of ``size`` channels."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.out = nn.Linear(16, 4)
        self.size, self.factor, self.order = 4, 1.0, 1

    def forward(self, x: Tensor) -> Tensor:
        parts = [each(x).split(self.size, -1) for each in (self.q, self.k, self.v)]
        found = []
        for q, k, v in zip(*parts, strict=True):
            scores = q @ k.transpose(1, 2)
            scores = (scores * self.factor).softmax(-1)
            found.append(scores @ v)
        return self.out(torch.cat(found[:: self.order], -1))


def without_heads(heads: Sequence[int], **altered: Any) -> Verdict:
    model: Any = built(Loop)
    gone = [head * 4 + each for head in heads for each in range(4)]
    with watch(model, torch.randn(2, 5, 16)) as watched:
        for layer in (model.q, model.k, model.v):
            tp.prune_linear_out_channels(layer, gone)
        tp.prune_linear_in_channels(model.out, gone)
        for name, value in altered.items():
            setattr(model, name, value)
    verdict: Verdict = watched.verification.verdict
    return verdict


@pytest.mark.parametrize("heads", [[0], [1, 3], [0, 1, 2]], ids=str)
def test_a_loop_over_heads_is_the_same_without_those_that_went(heads: Sequence[int]) -> None:
    assert without_heads(heads) is Verdict.EXACT
    assert without_heads(heads, factor=3.0) is Verdict.WRONG
    if len(heads) < 3:
        assert without_heads(heads, order=-1) is Verdict.WRONG


UNLISTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "huber": F.huber_loss,
    "dist": torch.dist,
}


@pytest.mark.parametrize("meet", UNLISTED.values(), ids=UNLISTED)
def test_what_meets_in_an_operator_that_no_rule_follows_meets_its_own(
    meet: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """A channel and the last but as many: cut alike at both ends, these still meet."""

    def met(m: Net, x: Tensor) -> Tensor:
        return x * meet(x, x.flip(1).sigmoid())

    assert cut(met, [2, 5]).verdict is Verdict.MIXED
    assert cut(met, [2, 4]).verdict is Verdict.WRONG


class Counting(nn.Module):
    """It counts its calls, in eval mode too, as codebooks count how often a row is used."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.make, self.read = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 2)
        self.register_buffer("calls", torch.zeros((), dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.read(self.make(x)).mean((2, 3)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64], ids=str)
def test_a_network_that_counts_its_calls_is_proved(dtype: torch.dtype) -> None:
    model: Any = built(lambda: Counting(dtype))
    pruner = tp.pruner.MagnitudePruner(
        model, images(), importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5, ignored_layers=[model.head],
    )  # fmt: skip
    assert verify(model, images(), pruner).verdict is Verdict.EXACT
    assert model.make.out_channels == 4


def test_a_network_that_no_sample_ran_through_says_so() -> None:
    model: Any = built(lambda: Net(lambda m, x: x.relu()))
    with watch(model, images()[:0]) as watched:
        tp.prune_conv_out_channels(model.make, [0])
        tp.prune_conv_in_channels(model.read, [0])
    assert "no number was compared" in watched.verification.reason


class Level(Enum):
    LOW, HIGH = 0.1, 0.9


@dataclass
class Rates:
    dropout: float


HELD: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
    "dict": (lambda: {"p": 0.1}, lambda: {"p": 0.9}, "`rates['p']`"),
    "dict in a dict": (lambda: {"a": {"p": 1}}, lambda: {"a": {"p": 2}}, "`rates['a']['p']`"),
    "dataclass": (lambda: Rates(0.1), lambda: Rates(0.9), "`rates.dropout`"),
    "namespace": (lambda: SimpleNamespace(p=1), lambda: SimpleNamespace(p=2), "`rates.p`"),
    "enum": (lambda: Level.LOW, lambda: Level.HIGH, "`rates`"),
    "set": (lambda: {1, 2}, lambda: {1, 3}, "`rates`"),
    "dtype": (lambda: torch.float16, lambda: torch.float32, "`rates`"),
    "partial": (
        lambda: partial(F.dropout, p=0.1),
        lambda: partial(F.dropout, p=0.9),
        "`rates['p']`",
    ),
    "built-in function": (
        lambda: torch.relu,
        lambda: torch.tanh,
        "`rates` of the model is another",
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_what_an_attribute_holds_inside_is_in_the_reason_where_it_is_another(name: str) -> None:
    """No operator of eval mode reads it, as a rate that only training uses."""
    before, after, named = HELD[name]
    for change, is_named in ((before, False), (after, True)):
        model: Any = built(lambda: Net(lambda m, x: x.relu(), rates=before()))
        with watch(model, images()) as watched:
            tp.prune_conv_out_channels(model.make, [0])
            tp.prune_conv_in_channels(model.read, [0])
            model.rates = change()
        assert watched.verification.verdict is Verdict.EXACT
        assert (named in watched.verification.reason) is is_named, watched.verification.reason


@dataclass
class Scored:
    scores: Tensor
    best: float


RETURNED: dict[str, Callable[[Tensor], Any]] = {
    "dataclass": lambda y: Scored(y.detach() * 0, float(y.amax())),
    "NumPy": lambda y: (y.detach() * 0, y.detach().numpy()),
    "set": lambda y: (y.detach() * 0, {float(y.amax())}),
    "Decimal": lambda y: (y.detach() * 0, Decimal(float(y.amax()))),
    "sparse": lambda y: y.to_sparse(),
}


class Returning(nn.Module):
    def __init__(self, returned: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make, self.read = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1)
        self.head, self.returned, self.factor = nn.Linear(6, 2), returned, 1.0

    def forward(self, x: Tensor) -> Any:
        return self.returned(self.head(self.read(self.make(x)).mean((2, 3))) * self.factor)


@pytest.mark.parametrize("returned", RETURNED.values(), ids=RETURNED)
def test_numbers_of_an_output_are_compared_whatever_holds_them(
    returned: Callable[[Tensor], Any],
) -> None:
    for factor in (1.0, 3.0):
        model: Any = built(lambda: Returning(returned))
        with watch(model, images()) as watched:
            tp.prune_conv_out_channels(model.make, [0, 2])
            tp.prune_conv_in_channels(model.read, [0, 2])
            model.factor = factor
        found = watched.verification
        assert (found.verdict is Verdict.EXACT) is (factor == 1), found.reason


CLASSES: dict[str, Callable[[Tensor], Any]] = {
    "argmax": lambda y: y.argmax(1),
    "topk": lambda y: y.topk(2, 1),
    "topk's places": lambda y: y.topk(2, 1)[1],
    "sort": lambda y: y.sort(-1)[1][..., 0],
    "argsort": lambda y: y.argsort(1, descending=True)[:, :2],
}


@pytest.mark.parametrize("returned", CLASSES.values(), ids=CLASSES)
def test_classes_that_are_numbered_anew_are_wrong(returned: Callable[[Tensor], Any]) -> None:
    """The number of a class is its place among all of them."""
    model: Any = built(lambda: Returning(returned))
    with watch(model, images()) as watched:
        tp.prune_linear_out_channels(model.head, [0])
    assert watched.verification.verdict in (Verdict.WRONG, Verdict.BROKEN)
    pruned: Any = prune(built(lambda: Returning(returned)), images(), 0.5).model
    assert (pruned.make.out_channels, pruned.head.out_features) == (4, 2)


SWITCH = {"gelu": True}


def test_a_switch_that_both_networks_share_does_not_move_the_reference() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        if SWITCH["gelu"]:
            return F.gelu(x)
        return F.relu(x)

    model: Any = built(lambda: Net(function))
    try:
        with watch(model, images()) as watched:
            tp.prune_conv_out_channels(model.make, [0])
            tp.prune_conv_in_channels(model.read, [0])
            SWITCH["gelu"] = False
        assert watched.verification.verdict is Verdict.WRONG
        assert "both share state" in watched.verification.reason
    finally:
        SWITCH["gelu"] = True
