"""Tensors that modules hold beside parameters and buffers, and attributes that come or go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from between import Net, altering, answer, built, images, pruner_of
from torch import Tensor, nn
from torch.nn import functional

from analysis import compare, prune, verify
from analysis.records import Verdict


class Dropping(nn.Module):
    """Reads what it holds in train mode alone, so that no proof in eval mode runs it."""

    def __init__(self, **held: Any) -> None:
        super().__init__()
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, float(self.rate())) if self.training else x

    def rate(self) -> Any:
        return getattr(self, "share", 0.1)


@dataclass
class Rates:
    first: Any


@dataclass(slots=True)
class Slots:
    first: Any


class Own:
    """A class of a user's own, without a comparison."""

    def __init__(self, first: Any) -> None:
        self.first = first

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.first


def dropping(**held: Any) -> Net:
    return Net(lambda m, x: m.act(x), act=Dropping(**held))


ALTERED: dict[str, tuple[Callable[[], Net], Callable[[Any], Any], str]] = {
    "a tensor": (
        lambda: dropping(share=torch.tensor(0.1)),
        lambda act: act.share.fill_(0.9),
        "`share` of `act` is another tensor",
    ),
    "a tensor of whole numbers": (
        lambda: dropping(share=torch.tensor([1, 2])),
        lambda act: act.share.add_(1),
        "`share` of `act` is another tensor",
    ),
    "a tensor of another shape": (
        lambda: dropping(share=torch.ones(3)),
        lambda act: setattr(act, "share", torch.ones(2)),
        "`share` of `act` is another tensor",
    ),
    "a tensor in a list": (
        lambda: dropping(share=[torch.tensor(0.1), "x"]),
        lambda act: act.share[0].fill_(0.9),
        "`share[0]` of `act` is another tensor",
    ),
    "a tensor in a dict": (
        lambda: dropping(share={"a": torch.tensor(0.1)}),
        lambda act: act.share.update(a=torch.tensor(0.9)),
        "`share['a']` of `act` is another tensor",
    ),
    "a tensor in a dataclass": (
        lambda: dropping(share=Rates(torch.tensor(0.1))),
        lambda act: act.share.first.fill_(0.9),
        "`share.first` of `act` is another tensor",
    ),
    "a tensor in a dataclass with slots": (
        lambda: dropping(share=Slots(torch.tensor(0.1))),
        lambda act: act.share.first.fill_(0.9),
        "`share.first` of `act` is another tensor",
    ),
    "a number in an object of another class": (
        lambda: dropping(share=Own(0.1)),
        lambda act: setattr(act.share, "first", 0.9),
        "`share.first` of `act` is 0.9 and was 0.1",
    ),
    "a tensor in objects in each other": (
        lambda: dropping(share=[Own(Own(torch.tensor(0.1)))]),
        lambda act: act.share[0].first.first.fill_(0.9),
        "`share[0].first.first` of `act` is another tensor",
    ),
    "an attribute that is new in an object": (
        lambda: dropping(share=Own(0.1)),
        lambda act: setattr(act.share, "bound", 6),
        "`share.bound` of `act` is new",
    ),
    "an array": (
        lambda: dropping(share=np.full(2, 0.1)),
        lambda act: act.share.fill(0.9),
        "`share` of `act` is another tensor",
    ),
    "a tensor in place of a number": (
        lambda: dropping(share=0.1),
        lambda act: setattr(act, "share", torch.tensor(0.1)),
        "`share` of `act` is a tensor and was 0.1",
    ),
    "deleted": (
        lambda: dropping(share=0.5),
        lambda act: delattr(act, "share"),
        "`share` of `act` is gone",
    ),
    "deleted from a dict": (
        lambda: dropping(share={"a": 0.5}),
        lambda act: act.share.clear(),
        "`share['a']` of `act` is gone",
    ),
    "added": (
        dropping,
        lambda act: setattr(act, "share", 0.9),
        "`share` of `act` is new",
    ),
    "a module added": (
        dropping,
        lambda act: act.add_module("more", nn.ReLU()),
        "`act.more` is new, a ReLU",
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_a_pruner_alters_is_named_though_no_operator_reads_it(name: str) -> None:
    make, change, text = ALTERED[name]
    assert answer(make).reason == ""
    found = answer(make, lambda model: change(model.act))
    assert found.verdict is Verdict.EXACT
    assert text in found.reason


def test_a_module_that_went_is_named() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return m.act(x) if hasattr(m, "act") else x

    found = answer(lambda: Net(function, act=nn.Dropout(0.5)), lambda m: delattr(m, "act"))
    assert "`act` is gone" in found.reason


def kept_channels(model: Any, dense: Any) -> list[int]:
    return [n for n, row in enumerate(dense.make.weight) if any(map(row.equal, model.make.weight))]


def cut(model: Any, dense: Any, shift: int) -> None:
    left = [(n + shift) % 8 for n in kept_channels(model, dense)]
    model.act.share = model.act.share[left]


@pytest.mark.parametrize("shift", [0, 1])
def test_a_tensor_that_the_pruner_cuts_is_the_dense_one_restricted_to_kept_channels(shift) -> None:
    model, dense = (built(lambda: dropping(share=torch.arange(8.0))) for _ in range(2))
    kind = altering(lambda pruned: cut(pruned, dense, shift))
    found = verify(model, images(), pruner_of(model, images(), kind))
    named = "`share` of `act` is another tensor" in found.reason
    assert named == bool(shift)


class Keeping(Net):
    """Keeps things on itself in each forward, as many networks do."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: x.relu())
        self.calls, self.sizes, self.last, self.seen = 0, (), None, []
        self.cache: dict[str, Tensor] = {}
        self.counts, self.notes = np.zeros(2), Own(0)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        self.sizes = tuple(x.shape)
        self.seen.append(float(x.detach().sum()))
        self.counts += 1
        self.notes.first += 1
        self.steps += 1
        if not hasattr(self, "table"):
            self.table = torch.arange(2.0) + 1
        if "later" not in self._buffers:
            self.register_buffer("later", torch.ones(2))
        y = super().forward(x) * self.cache.setdefault("table", self.table) * self.later
        self.last = y.detach()
        if self.training:
            self.in_training = y.detach().mean()
        return y


@pytest.mark.parametrize("runs", [0, 1])
def test_what_a_forward_keeps_is_no_news(runs: int) -> None:
    def ran(model: Any) -> None:
        for seed in range(runs):
            model(images(seed)[:1])
            model.train()(images(seed))
            model.eval()

    model = built(Keeping)
    found = verify(model, images(), pruner_of(model, images(), altering(ran)))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")
    cured = prune(built(Keeping), images(), 0.5, ignore=["head"])
    assert (cured.verification.verdict, cured.verification.reason) == (Verdict.EXACT, "")


def test_a_cache_that_one_of_two_networks_has_is_no_news() -> None:
    dense = built(Keeping)
    small = prune(dense, images(), 0.5, ignore=["head"]).model
    dense(images())
    small.register_buffer("later", dense.later.clone())
    small.steps.fill_(1)  # a parameter or buffer that differs would be a training
    found = compare(dense, small, images())
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


@pytest.mark.parametrize("key", ["table", "cache"])
def test_a_cache_that_the_pruner_writes_to_is_another_network(key: str) -> None:
    def tripled(model: Any) -> None:
        held = getattr(model, key)
        (held["table"] if key == "cache" else held).mul_(3)

    model = built(Keeping)
    model(images())
    model.cache = {"table": model.table.clone()}
    pruner = pruner_of(model, images(), altering(tripled))
    found = verify(model, images(), pruner)
    assert found.verdict is Verdict.WRONG or f"`{key}" in found.reason


def test_a_tensor_beside_a_cache_is_not_forgotten_with_it() -> None:
    """It is read in train mode alone, so that eval mode does without it."""

    class Both(Net):
        def __init__(self) -> None:
            super().__init__(lambda m, x: x * m.made(), share=torch.tensor(0.1))
            self.table = None

        def made(self) -> Tensor:
            if self.table is None:
                self.table = torch.full((), 2.0)
            return self.table

    assert answer(Both).reason == ""
    found = answer(Both, lambda m: m.share.fill_(0.9))
    assert found.reason == "`share` of the model is another tensor"
