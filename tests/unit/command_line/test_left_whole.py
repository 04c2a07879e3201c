"""What the commands say of what a ratio asked for and did not get: which layers, and why."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from analysis import inspect_groups
from analysis.command_line.main import main


class Tagger(nn.Module):
    """Words, looked up and projected; torch-pruning begins no group with a table."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.project = nn.Embedding(9, 12), nn.Linear(12, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.project(self.words(ids)).relu())


class Attentive(nn.Module):
    """Rows weighed by one number each, which torch-pruning takes for a channel of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 12), nn.Linear(12, 10)
        self.weigh, self.head = nn.Linear(10, 1), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).relu()).relu()
        return self.head(self.weigh(x).sigmoid() * x)


class Written(nn.Module):
    """Channels in two halves, whose sizes are numbers in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 12), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).view(-1, 2, 6).sum(1))


class BothWays(nn.Module):
    """torch-pruning raises where it cuts a recurrent layer of two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 10), nn.Linear(12, 2)
        self.along = nn.LSTM(10, 6, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.along(self.first(x)[:, None])[0])


class Normed(nn.Module):
    """A weight that is divided by what its layer keeps of all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = parametrizations.spectral_norm(nn.Linear(8, 12))
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu())


class NormedByHook(Normed):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.utils.spectral_norm(nn.Linear(8, 12))


def factory(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return kind()

    return make


KINDS = (Tagger, Attentive, Written, BothWays, Normed, NormedByHook)
globals().update({f"make_{kind.__name__}": factory(kind) for kind in KINDS})


def rows() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def words() -> Tensor:
    return torch.arange(9)[None]


def told(capsys: Any, command: str, kind: type[nn.Module], *options: str) -> tuple[str, Any]:
    """What a command prints, and the first run of its JSON."""
    inputs = "words" if kind is Tagger else "rows"
    model = [f"{__name__}:make_{kind.__name__}", "--inputs", f"{__name__}:{inputs}"]
    main([command, *model, "--ratios", "0.5", "--json", "out.json", *options])
    printed = capsys.readouterr()
    assert printed.out, printed.err
    with open("out.json", encoding="utf-8") as file:
        return printed.out, json.load(file)["runs"][0]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_group_that_torch_pruning_does_not_have_is_named(capsys) -> None:
    out, run = told(capsys, "verify", Tagger)
    assert run["unseen"] == ["words"]
    assert "left whole: words: in no group of torch-pruning's; prune cuts them" in out
    out, run = told(capsys, "prune", Tagger)
    assert "unseen" not in run
    assert {each["root"]: each["removed"] for each in run["groups"]}["words"] == 6


def test_a_group_with_a_layer_of_one_channel_is_named_with_that_layer(capsys) -> None:
    out, run = told(capsys, "verify", Attentive)
    told_of = {each["root"]: each for each in run["groups"]}["second"]
    assert (told_of["reason"], told_of["requested"]) == ("single-channel", 0)
    assert told_of["why"] == "torch-pruning couples its channels with the one of `weigh`"
    assert f"left whole: second: {told_of['why']}" in out


def test_a_held_group_stays_with_its_reason(capsys) -> None:
    out, run = told(capsys, "prune", Written)
    groups = inspect_groups(factory(Written)().eval(), rows(), "classifier")
    held = {each.held for each in groups if each.held and not each.is_output}
    assert held
    assert held == {each["why"] for each in run["groups"] if each["reason"] == "untraced"}
    assert all(f": {why}" in out for why in held)


def test_a_layer_that_torch_pruning_cannot_cut_is_named_as_what_to_exclude(capsys) -> None:
    out, run = told(capsys, "verify", BothWays)
    assert run["verdict"] == "unprunable"
    assert run["reason"].endswith("a way out: exclude `along`")
    assert out.count(run["reason"]) == 1
    _, run = told(capsys, "verify", BothWays, "--ignore", f"{__name__}:but_the_first")
    assert run["verdict"] == "exact"


def but_the_first(model: Any) -> list[nn.Module]:
    return [model.along, model.head]


def test_the_reason_of_a_verdict_is_reported_once(capsys) -> None:
    class_of_two = told(capsys, "prune", Written)
    out, run = class_of_two
    assert run["verdict"] == "unchanged"
    assert sum(check["message"].endswith(run["reason"]) for check in run["checks"]) > 1
    assert out.count(run["reason"]) == 1


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "call"),
    [(Normed, "remove_parametrizations(layer, 'weight')"),
     (NormedByHook, "torch.nn.utils.remove_spectral_norm(layer)")],
)  # fmt: skip
def test_a_weight_that_is_computed_is_reported_with_the_call_that_ends_that(
    kind: type[nn.Module], call: str, capsys
) -> None:
    out, run = told(capsys, "verify", kind)
    assert run["verdict"] != "exact"
    assert call in run["reason"]
    assert "split into heads" not in out
    out, run = told(capsys, "prune", kind)
    assert run["verdict"] == "unchanged"
    why = {each["root"]: each.get("why", "") for each in run["groups"]}["second"]
    assert why.endswith(call)
    assert f"second: {why}" in out
