"""The dense index of each kept channel gives the pruned network's tensors."""

import copy
import json

import pytest
import torch
import torch_pruning as tp
from nets import Chain, Concat, Flattened, Residual, inputs_for, make
from torch import Tensor, nn

from analysis import verify, verify_steps
from analysis.command_line.main import main
from analysis.records import Verdict


class Outside(nn.Module):
    """A scale for each channel that no layer owns, and a transposed convolution."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.scale = nn.Parameter(torch.randn(1, 6, 1, 1))
        self.up = nn.ConvTranspose2d(6, 8, 2)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up((self.stem(x) * self.scale).relu()).mean((2, 3)))


def cut_of(dense: nn.Module, kept: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    """The dense network's tensors, indexed by hand as PyTorch documents their dimensions."""
    layers = dict(dense.named_modules())
    found = dict(dense.state_dict())
    for layer, axes in kept.items():
        if layer not in layers:
            found[layer] = found[layer][:, list(axes["out"])]
            continue
        module = layers[layer]
        swapped = isinstance(module, nn.ConvTranspose2d)
        for axis, channels in axes.items():
            for name in ("weight", "bias", "running_mean", "running_var"):
                key = f"{layer}.{name}"
                if found.get(key) is None or (axis == "in" and found[key].dim() < 2):
                    continue
                first = (axis == "in") == swapped or found[key].dim() < 2
                found[key] = found[key].index_select(0 if first else 1, torch.tensor(channels))
    return found


def half_pruner(model: nn.Module, inputs: Tensor, steps: int):
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        iterative_steps=steps,
        ignored_layers=[model.head],
        unwrapped_parameters=[(model.scale, 1)] if isinstance(model, Outside) else None,
    )


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", [Chain, Residual, Concat, Flattened, Outside])
def test_the_dense_tensors_indexed_by_the_map_are_the_pruned_ones(kind, steps: int) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    dense = copy.deepcopy(model)
    answer = verify(model, inputs, half_pruner(model, inputs, steps))
    assert answer.verdict is Verdict.EXACT, answer.reason
    expected, found = cut_of(dense, answer.kept), model.state_dict()
    assert expected.keys() == found.keys()
    assert [name for name in found if not torch.equal(expected[name], found[name])] == []
    assert any(found[name].shape != tensor.shape for name, tensor in dense.state_dict().items())


def test_each_step_numbers_channels_as_before_the_first() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    dense = copy.deepcopy(model)
    steps = []
    for step in verify_steps(model, inputs, half_pruner(model, inputs, 2)):
        steps.append(step)
        expected = cut_of(dense, step.kept)
        assert all(torch.equal(expected[name], own) for name, own in model.state_dict().items())
    first, second = (set(step.kept["first"]["out"]) for step in steps)
    assert second < first < set(range(4))


def test_a_layer_that_lost_nothing_is_in_no_map() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    answer = verify(model, inputs, half_pruner(model, inputs, 1))
    assert {layer: set(axes) for layer, axes in answer.kept.items()} == {
        "first": {"out"}, "norm": {"out"}, "second": {"out", "in"}, "head": {"in"},
    }  # fmt: skip


def test_the_json_of_verify_holds_the_map(capsys) -> None:
    options = [
        "--input-size",
        "3,6,6",
        "--ratios",
        "0.5",
        "--scope",
        "local",
        "--ignore",
        "head,",
        "--json",
        "-",
    ]
    main(["verify", "tests/nets.py:Chain", *options])
    run = json.loads(capsys.readouterr().out)["runs"][0]
    model = make(Chain)  # of the seed that the command takes
    answer = verify(model, inputs_for(model), half_pruner(model, inputs_for(model), 1))
    assert run["kept"] == json.loads(json.dumps(answer.kept))
    assert len(run["kept"]["second"]["in"]) == 2
