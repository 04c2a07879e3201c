"""The same question of a network on a GPU, of its copy on the CPU, and on the command line."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from blocks import PROVED, build, half_pruner
from nets import Chain, Residual, inputs_for, make
from torch import Tensor, nn

from analysis import (
    TargetPruner,
    compare,
    count_macs,
    inspect_groups,
    lint_ignored_layers,
    load_pruned,
    prune,
    ratio_curve,
    reproduce_residual_mismatch,
    save_pruned,
    sensitivity,
    verify,
    watch,
)
from analysis.command_line.main import main
from analysis.network.inference import copy_of

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Unwrapped parameters detected"),
]


def pair(name: str) -> tuple[tuple[nn.Module, Tensor], tuple[nn.Module, Tensor]]:
    """A network and its input, on the CPU and on the GPU."""
    model = build(name)
    image = torch.randn(2, *model.size, generator=torch.Generator().manual_seed(1))
    return (model, image), (copy_of(model).cuda(), image.cuda())


def questions(model: nn.Module, image: Tensor) -> dict[str, Any]:
    curve = ratio_curve(model, image, [0.25, 0.5], scope="local", cut="groups")
    return {
        "groups": answer([asdict(group) for group in inspect_groups(model, image)]),
        "lint": lint_ignored_layers(model, image, [model.head]),
        "macs": count_macs(model, image).macs,
        "curve": (curve.macs, curve.params),
    }


@pytest.mark.parametrize("name", PROVED)
def test_groups_costs_and_curve_are_those_of_the_cpu(name: str) -> None:
    here, there = pair(name)
    assert questions(*there) == questions(*here)


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("name", PROVED)
def test_the_groups_are_pruned_as_on_the_cpu(name: str, scope: Any) -> None:
    (here, image), (there, image_there) = pair(name)
    expected = prune(here, image, 0.5, ignore=["head"], scope=scope)
    found = prune(there, image_there, 0.5, ignore=["head"], scope=scope)
    assert found.verification.verdict is expected.verification.verdict, found.verification.reason
    assert found.verification.structure == expected.verification.structure
    assert (found.kept, found.macs, found.params) == (
        expected.kept,
        expected.macs,
        expected.params,
    )
    assert found.attributes == expected.attributes
    assert all(each.is_cuda for each in found.model.parameters())
    for name_of, value in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name_of].cpu(), value)


@pytest.mark.parametrize("name", PROVED)
def test_two_networks_are_compared_there(name: str) -> None:
    _, (model, image) = pair(name)
    pruned = prune(model, image, 0.5, ignore=["head"]).model
    assert compare(model, pruned, image).passed


def test_a_pruning_is_saved_there_and_loaded_here(tmp_path: Path) -> None:
    model = make(Residual).cuda()
    pruned = prune(model, inputs_for(model).cuda(), 0.5, ignore=["head"])
    save_pruned(pruned, tmp_path / "saved")
    loaded = load_pruned(lambda: make(Residual), tmp_path / "saved")
    for name, value in loaded.state_dict().items():
        assert torch.equal(pruned.model.state_dict()[name].cpu(), value)


def test_pruning_by_hand_is_watched_there() -> None:
    model = make(Chain).cuda()
    with watch(model, inputs_for(model).cuda()) as pruning:
        half_pruner(model, (inputs_for(model).cuda(),)).step()
    assert pruning.verification.verdict.passes, pruning.verification.reason


def test_a_target_is_reached_in_steps_there() -> None:
    model = make(Residual).cuda()
    pruner = TargetPruner(
        model, inputs_for(model).cuda(), {"macs": 0.5}, iterative_steps=3, ignore=["head"]
    )
    assert verify(model, inputs_for(model).cuda(), pruner).verdict.passes


def test_sensitivity_measures_there() -> None:
    model = make(Residual).cuda()

    def mean_answer(network: nn.Module) -> float:
        return float(network(inputs_for(model).cuda()).detach().mean())

    found = sensitivity(model, inputs_for(model).cuda(), mean_answer, ratios=[0.5])
    assert found.groups


def test_the_naive_cut_fails_there() -> None:
    model, image = make(Residual), inputs_for(make(Residual))
    (here,) = reproduce_residual_mismatch(model, image)
    (there,) = reproduce_residual_mismatch(model.cuda(), image.cuda())
    assert there.group.verdict is here.group.verdict
    assert replace(there, group=here.group) == here


NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        return self.head((x + self.second(x).flip(1)).mean((2, 3)))

def net():
    return Net()

def right(model):
    return float(sum(p.abs().sum() for p in model.parameters()))
"""

COMMANDS = {
    "groups": [],
    "macs": ["--ratios", "0.5"],
    "verify": ["--ratios", "0.25,0.5"],
    "prune": ["--ratios", "0.5"],
    "advise": ["--target", "macs=0.6"],
    "sensitivity": ["--evaluate", "net.py:right", "--ratios", "0.5"],
}


ASIDE = {"device", "versions", "command", "cure", "max_rel_error"}


def answer(found: Any) -> Any:
    """All that a command says apart from the device, what only it has, and rounding."""
    if found == "cudnn_batch_norm":
        return "native_batch_norm"
    if isinstance(found, dict):
        aside = (
            "device",
            "versions",
            "command",
            "cure",
            "time",
            "seconds",
            "error",
            "metric",
            "loss",
        )
        return {k: answer(v) for k, v in found.items() if not any(w in k for w in aside)}
    if isinstance(found, list | tuple):
        return [answer(each) for each in found]
    return round(found, 9) if isinstance(found, float) else found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_there_as_here(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    asked = [command, "net.py:net", "--input-size", "3,6,6", *COMMANDS[command]]
    found = {}
    for device in ("cpu", "cuda"):
        status = main([*asked, "--device", device, "--json", f"{device}.json"])
        found[device] = status, json.loads(Path(f"{device}.json").read_text())
    assert found["cuda"][0] == found["cpu"][0]
    there, here = (answer(found[device][1]) for device in ("cuda", "cpu"))
    for key, value in here.items():
        assert there[key] == value, key
