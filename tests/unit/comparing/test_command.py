"""The command that compares: what it reads, prints and refuses."""

import copy
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from pairs import by_groups, distinct, numbered
from safetensors.torch import save_file, save_model
from torch import nn

from analysis.command_line.main import main
from analysis.network.archives import archive_in

MODELS = """
import torch
from torch import nn
from nets import Chain, Concat
from tied import Tied, words

class Heads(nn.Module):
    size = (5, 12)
    def __init__(self):
        super().__init__()
        self.heads = 4
        self.qkv, self.project, self.head = nn.Linear(12, 24), nn.Linear(8, 6), nn.Linear(6, 2)
        self.register_buffer("scale", torch.rand(6), persistent=False)

    def forward(self, x):
        made = self.qkv(x).view(x.shape[0], x.shape[1], 3, self.heads, -1)
        q, k, v = made.permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.head((self.project(mixed.transpose(1, 2).flatten(2)) * self.scale).mean(1))

def seeded(kind):
    torch.manual_seed(3)
    return kind().eval()

def chain(): return seeded(Chain)
def concat(): return seeded(Concat)
def heads(): return seeded(Heads)
def tied(): return seeded(Tied)
"""

IMAGE, WORDS = ("--input-size", "3,6,6"), ("--input-size", "5,12")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch) -> dict[str, Any]:
    (tmp_path / "own.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "own"}
    exec(compile(MODELS, "own.py", "exec"), namespace)
    return namespace


def pruned(dense: Any) -> nn.Module:
    return by_groups(dense, torch.randn(2, *dense.size), numbered(dense))


def answer(capsys, *options: str) -> tuple[int, Any]:
    status = main(["compare", *options, "--json", "-"])
    return status, json.loads(capsys.readouterr().out)


def test_files_in_the_wrong_order_are_refused_by_their_place(models, capsys) -> None:
    dense = models["chain"]()
    save_model(dense, "dense.safetensors")
    save_model(pruned(dense), "pruned.safetensors")
    asked = ("--factory", "own.py:chain", *IMAGE)
    assert main(["compare", "pruned.safetensors", "dense.safetensors", *asked]) == 2
    refused = capsys.readouterr().err
    assert refused.startswith("pruning-analysis compare: DENSE 'pruned.safetensors' does not fit")
    assert refused.endswith("; expected the dense network, then the pruned one\n")
    assert main(["compare", "dense.safetensors", "pruned.safetensors", *asked]) == 0


@pytest.mark.parametrize(("name", "size"), [("chain", IMAGE), ("heads", WORDS)])
def test_a_file_of_tensors_is_compared_with_a_factory(models, capsys, name, size) -> None:
    """Of heads an attribute follows the cut, and a buffer that no state dict has."""
    dense = models[name]()
    save_model(pruned(dense), "pruned.safetensors")
    status, data = answer(capsys, f"own.py:{name}", "pruned.safetensors", *size)
    assert (status, data["verdict"]) == (0, "exact" if name == "chain" else data["verdict"])
    assert data["verdict"] in ("exact", "renormalized")
    assert data["kept"]["head"]["in"]


def test_two_files_are_compared_with_what_builds_their_network(models, capsys) -> None:
    dense = distinct(models["chain"]())
    torch.save(dense.state_dict(), "dense.pt")
    save_file(pruned(dense).state_dict(), "pruned.safetensors")
    options = ("dense.pt", "pruned.safetensors", *IMAGE)
    status, data = answer(capsys, *options, "--factory", "own.py:chain")
    assert (status, data["verdict"]) == (0, "exact")
    assert main(["compare", *options]) == 2
    assert "--factory" in capsys.readouterr().err


def test_a_fault_in_a_file_is_wrong_at_the_layer(models, capsys) -> None:
    dense = models["chain"]()
    state = pruned(dense).state_dict()
    state["second.weight"] = state["second.weight"].flip(1).contiguous()
    save_file(state, "pruned.safetensors")
    status, data = answer(capsys, "own.py:chain", "pruned.safetensors", *IMAGE)
    assert (status, data["verdict"], data["first_divergence"]) == (1, "wrong", "second")


def test_the_text_says_what_stayed(models, capsys) -> None:
    save_model(pruned(models["chain"]()), "pruned.safetensors")
    assert main(["compare", "own.py:chain", "pruned.safetensors", *IMAGE]) == 0
    out = capsys.readouterr().out
    assert out.startswith("exact")
    assert "`first` out: 2 left: " in out


def test_two_factories_are_compared(capsys) -> None:
    status, data = answer(capsys, "own.py:chain", "own.py:chain", *IMAGE)
    assert (status, data["verdict"]) == (1, "unchanged")


def refusal(capsys, *options: str) -> str:
    assert main(["compare", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_what_does_not_fit_is_refused_in_a_line(models, capsys) -> None:
    dense = models["chain"]()
    save_model(dense, "other.safetensors")
    assert "has no" in refusal(capsys, "own.py:concat", "other.safetensors", *IMAGE)
    assert "has no" in refusal(capsys, "own.py:chain", "own.py:concat", *IMAGE)
    larger = {
        name: torch.cat([each, each]) for name, each in dense.state_dict().items() if each.dim()
    }
    save_file(dense.state_dict() | larger, "larger.safetensors")
    assert "give the dense network first" in refusal(
        capsys, "own.py:chain", "larger.safetensors", *IMAGE
    )
    assert "lacking.pt" in refusal(capsys, "own.py:chain", "lacking.pt", *IMAGE)


def test_an_archive_of_torch_export_is_read_as_data(models, capsys) -> None:
    after = pruned(models["chain"]())
    program = torch.export.export(after, (torch.randn(2, 3, 6, 6),))
    torch.export.save(program, "pruned.pt2")
    read = archive_in("pruned.pt2").weights
    assert read.keys() == after.state_dict().keys()
    assert all(torch.equal(read[name], value) for name, value in after.state_dict().items())
    status, data = answer(capsys, "own.py:chain", "pruned.pt2", *IMAGE)
    assert (status, data["verdict"]) == (0, "exact")


def test_two_archives_are_run_without_a_factory(models, capsys) -> None:
    dense = distinct(models["chain"]())
    for name, network in (("dense", dense), ("pruned", pruned(dense))):
        program = torch.export.export(network, (torch.randn(2, 3, 6, 6),))
        torch.export.save(program, f"{name}.pt2")
    status, data = answer(capsys, "dense.pt2", "pruned.pt2")
    assert (status, data["verdict"], data["structure"]) == (0, "exact", "proved")
    # A program is no layers, so axes go by their tensors.
    assert data["kept"]["second.weight"] == {"in": [1, 2], "out": [3, 4]}
    state = pruned(dense).state_dict()
    state["second.weight"] = state["second.weight"].flip(1).contiguous()
    save_file(state, "scrambled.safetensors")
    status, data = answer(capsys, "dense.pt2", "scrambled.safetensors")
    assert (status, data["verdict"]) == (1, "wrong")
    assert "second.weight" in data["reason"]
    assert "no file 'none.pt2'" in refusal(capsys, "none.pt2", "pruned.pt2")


def to_onnx(model: nn.Module, name: str, size: tuple[int, ...]) -> None:
    """Exported as by default: with norms merged, and what Linear reads turned round."""
    torch.onnx.export(model, (torch.randn(2, *size),), name, verbose=False)


@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file_is_compared_though_its_norms_are_merged(models, capsys) -> None:
    dense = distinct(models["chain"]())
    to_onnx(dense, "dense.onnx", (3, 6, 6))
    to_onnx(pruned(dense), "pruned.onnx", (3, 6, 6))
    torch.save(dense.state_dict(), "dense.pt")
    with_factory = ("--factory", "own.py:chain", *IMAGE)
    status, data = answer(capsys, "dense.pt", "pruned.onnx", *with_factory)
    assert (status, data["verdict"]) == (0, "consistent")
    assert data["merged"] == {"norm": "first"}
    assert data["kept"]["second"] == {"in": [1, 2], "out": [3, 4]}
    # Merged on both sides, nothing is left that was rounded on one alone.
    status, data = answer(capsys, "dense.onnx", "pruned.onnx", *with_factory)
    assert (status, data["verdict"], data["merged"]) == (0, "exact", {})
    scrambled = pruned(dense)
    scrambled.second.weight.data = scrambled.second.weight.data.flip(1)
    to_onnx(scrambled, "scrambled.onnx", (3, 6, 6))
    status, data = answer(capsys, "dense.pt", "scrambled.onnx", *with_factory)
    assert (status, data["verdict"], data["first_divergence"]) == (1, "wrong", "second")
    assert "--factory" in refusal(capsys, "dense.onnx", "pruned.onnx", *IMAGE)


@pytest.mark.filterwarnings("ignore")
def test_matrices_that_an_exporter_turned_round_are_found_by_their_layers(models, capsys) -> None:
    dense = models["heads"]()
    torch.save(dense.state_dict(), "dense.pt")
    to_onnx(pruned(dense), "pruned.onnx", (5, 12))
    told = ("dense.pt", "pruned.onnx", "--factory", "own.py:heads", *WORDS)
    status, data = answer(capsys, *told)
    assert status == 0
    assert data["verdict"] in ("exact", "renormalized")
    assert data["kept"]["project"]["in"]


def test_a_file_with_two_tensors_for_one_is_reported(models, capsys) -> None:
    save_model(dense := models["tied"](), "tied.safetensors")
    cut = dense.up.weight.data[::2].clone()
    state = {name: value.clone() for name, value in dense.state_dict().items()}
    state |= {
        "up.weight": cut,
        "up.bias": state["up.bias"][::2].clone(),
        "down.weight": state["down.weight"][:, ::2].clone(),
    }
    save_file(state, "untied.safetensors")
    told = ("tied.safetensors", "untied.safetensors", "--factory", "own.py:tied")
    _, data = answer(capsys, *told, "--inputs", "own.py:words")
    assert (data["verdict"], data["untied"][0]["added"]) == ("exact", 50 * 16)
    save_file({k: v for k, v in state.items() if k != "head.weight"}, "still.safetensors")
    _, data = answer(capsys, told[0], "still.safetensors", *told[2:], "--inputs", "own.py:words")
    assert (data["verdict"], data["untied"]) == ("exact", [])


def test_an_archive_that_holds_a_pickle_or_is_none_is_refused(models, capsys) -> None:
    config = {"a": {"path_name": "weight_0", "use_pickle": True, "tensor_meta": {}}}
    with ZipFile("pickled.pt2", "w") as archive:
        archive.writestr("x/data/weights/model_weights_config.json", json.dumps({"config": config}))
    assert "as a pickle" in refusal(capsys, "own.py:chain", "pickled.pt2", *IMAGE)
    torch.save(models["chain"]().state_dict(), "state.pt2")
    assert "cannot be read" in refusal(capsys, "own.py:chain", "state.pt2", *IMAGE)
    Path("network.onnx").touch()
    assert "ONNX" in refusal(capsys, "own.py:chain", "network.onnx", *IMAGE)


def test_no_pickle_is_run(models, capsys) -> None:
    torch.save(copy.deepcopy(models["chain"]()), "whole.pt")
    assert "is refused: it is a pickle" in refusal(capsys, "own.py:chain", "whole.pt", *IMAGE)
