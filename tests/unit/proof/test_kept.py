"""The dense index of each kept channel gives the pruned network's tensors."""

import copy
import json

import pytest
import torch
import torch_pruning as tp
from nets import Chain, Concat, Flattened, Residual, inputs_for, make
from torch import Tensor, nn

from analysis import prune, verify, verify_steps
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


class Compared(nn.Module):
    """Two images through one branch, whose difference is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8)
        self.reduce, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 2)

    def branch(self, x: Tensor) -> Tensor:
        return self.reduce(self.norm(self.stem(x)).relu()).relu().mean((2, 3))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return self.head((self.branch(one) - self.branch(other)).abs())


class Fused(nn.Module):
    """An image and a row of numbers, side by side; inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.deep = nn.Conv2d(3, 8, 3, groups=1), nn.Conv2d(8, 8, 3, groups=8)
        self.row, self.join = nn.Linear(5, 6), nn.Linear(14, 10)
        self.head = nn.Linear(10, 2)

    def forward(self, image: Tensor, row: Tensor) -> Tensor:
        seen = self.deep(self.image(image).relu()).relu().mean((2, 3))
        return self.head(self.join(torch.cat([seen, self.row(row).relu()], 1)).relu())


class Words(nn.Module):
    """A table of words, read by a layer; what is left of the table stands under its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.read, self.head = nn.Embedding(9, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.read(self.table(ids)).relu())


def drawn(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def images_of_compared() -> tuple[Tensor, Tensor]:
    return drawn(2, 3, 6, 6), drawn(2, 3, 6, 6) + 1


def inputs_of_fused() -> dict[str, Tensor]:
    return {"image": drawn(2, 3, 6, 6), "row": drawn(2, 5)}


def ids_of_words() -> Tensor:
    return torch.arange(9)[None]


def seeded(kind: type[nn.Module]):
    def build() -> nn.Module:
        torch.manual_seed(0)
        return kind()

    return build


make_compared, make_fused, make_words = map(seeded, (Compared, Fused, Words))

FRESH = {
    "compared": (Compared, images_of_compared),
    "fused": (Fused, inputs_of_fused),
    "words": (Words, ids_of_words),
}


@pytest.mark.parametrize("name", FRESH)
def test_the_map_is_the_same_in_the_record_and_in_the_json(name: str, capsys) -> None:
    kind, given = FRESH[name]
    dense, inputs = seeded(kind)().eval(), given()
    pruned = prune(dense, inputs, 0.5)
    model = [f"{__name__}:make_{name}", "--inputs", f"{__name__}:{given.__name__}"]
    main(["prune", *model, "--ratios", "0.5", "--json", "-"])
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["kept"] == json.loads(json.dumps(pruned.verification.kept))
    table = run["kept"].pop("table", None)
    expected = cut_of(dense, {each: {**axes} for each, axes in run["kept"].items()})
    if table is not None:  # its channels lie behind its words
        expected["table.weight"] = expected["table.weight"][:, table["out"]]
    found = pruned.model.state_dict()
    assert [each for each in found if not torch.equal(expected[each], found[each])] == []
    assert {layer for layer in expected if expected[layer].shape != dense.state_dict()[layer].shape}


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
