"""The command that prunes: what it prints, writes and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import Chain, Flipped, make
from safetensors.torch import load_file

from analysis import load_pruned, prune
from analysis.checks import CATALOGUE
from analysis.command_line.main import main

MODELS = """
import torch
from torch import nn
from nets import Chain as chain, Flipped as flipped

class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.width = 4, 2
        self.qkv, self.project, self.head = nn.Linear(12, 24), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        made = self.qkv(x).view(x.shape[0], x.shape[1], 3, self.heads, self.width)
        q, k, v = made.permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.head(self.project(mixed.transpose(1, 2).flatten(2)).mean(1))

heads = Heads
def bare(): return nn.Linear(4, 3)
def noisy():
    print("hello")
    return chain()
def inputs(): return torch.randn(2, 3, 6, 6)
class Data(chain):
    def forward(self, x):
        return super().forward(x) if int(x.sum()) % 2 else super().forward(x) + 0
data = Data
"""

SMALL = ("--input-size", "3,6,6", "--ratios", "0.5")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own", None)


def test_the_table_says_what_is_left_and_what_was_set(capsys) -> None:
    assert main(["prune", "own.py:heads", "--input-size", "5,12", "--ratios", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "| ratio" in out
    # What goes are whole heads or the same channel of every head: 4 heads of 2 channels.
    assert "set `heads` of the model 4 -> 2" in out or "set `width` of the model 2 -> 1" in out


def test_a_target_is_met_and_what_misses_it_is_not_saved(capsys) -> None:
    small = ("own.py:chain", "--input-size", "3,6,6", "--json", "-", "--save", "made")
    assert main(["prune", *small, "--target", "macs=0.6,params=0.7"]) == 0
    data = json.loads(capsys.readouterr().out)
    (entry,) = data["runs"]
    assert entry["targets"] == {"macs": 0.6, "params": 0.7}
    assert entry["sought"]
    for name, share in entry["targets"].items():
        assert entry[name]["after"] <= share * entry[name]["before"]
    assert data["written"] == {"save": "made"}
    Path("made").rename("kept")
    assert main(["prune", *small, "--target", "macs=0.01"]) == 1
    data = json.loads(capsys.readouterr().out)
    (entry,) = data["runs"]
    assert entry["verdict"] == "exact"
    (missed,) = (check for check in entry["checks"] if check["name"] == "meets_target")
    assert "no ratio leaves 1.0% of the MACs: the least is" in missed["message"]
    assert data["written"] == {}
    assert not Path("made").exists()


METRICS = """
import torch
from own import chain
from torch import nn

def share(model):
    return {"share": sum(each.numel() for each in model.parameters()) / 153}
def halved(model):
    for each in model.parameters():
        each.data /= 2
def stale(model, optimizer=torch.optim.SGD(chain().parameters(), lr=1.0)):
    model(torch.ones(2, 3, 6, 6)).sum().backward()
    optimizer.step()
"""


def test_metrics_stand_beside_what_is_left_and_what_loses_too_much_is_not_saved(capsys) -> None:
    Path("metrics.py").write_text(METRICS)
    asked = ("prune", "own.py:chain", *SMALL, "--evaluate", "metrics.py:share", "--save", "made")
    assert main([*asked, "--metric-loss", "0.02", "--json", "-"]) == 1
    data = json.loads(capsys.readouterr().out)
    (entry,) = data["runs"]
    (metric,) = entry["metrics"]
    assert metric == {
        "name": "share",
        "dense": 1.0,
        "pruned": entry["params"]["after"] / 153,
        "finetuned": None,
        "lower_is_better": False,
    }
    assert data["written"] == {}
    assert not Path("made").exists()
    assert main([*asked, "--finetune", "metrics.py:halved"]) == 0
    out = capsys.readouterr().out
    assert "| ratio | metric | dense | pruned | fine-tuned |" in out
    # What was fine-tuned is what is saved.
    saved = load_file("made/weights.safetensors")["head.bias"]
    assert main([*asked[:-1], "plain"]) == 0
    assert torch.equal(2 * saved, load_file("plain/weights.safetensors")["head.bias"])


def test_a_function_that_trains_another_network_ends_a_command_with_one_line(capsys) -> None:
    Path("metrics.py").write_text(METRICS)
    asked = ("prune", "own.py:chain", *SMALL, "--evaluate", "metrics.py:share")
    assert main([*asked, "--finetune", "metrics.py:stale"]) == 2
    error = capsys.readouterr().err
    assert "finetune changed no weight, though gradients reached" in error
    assert error.count("\n") == 1


def test_the_json_is_that_of_verify_with_what_is_kept(capsys) -> None:
    assert main(["prune", "own.py:flipped", *SMALL, "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert main(["verify", "own.py:chain", *SMALL, "--scope", "local", "--json", "-"]) == 0
    theirs = json.loads(capsys.readouterr().out)
    (run,), (other,) = data["runs"], theirs["runs"]
    assert run.keys() == other.keys() >= {"kept", "attributes"}
    assert data["written"] == {}
    assert run["verdict"] == "exact"
    dense = make(Flipped)
    first = dense.first.weight.abs().sum((1, 2, 3)) + dense.norm.weight
    first += dense.second.weight.abs().sum((0, 2, 3)).flip(0)
    left = first.argsort()[2:].sort().values.tolist()
    assert run["kept"]["first"]["out"] == left
    assert run["kept"]["second"]["in"] == sorted(3 - n for n in left)
    assert run["attributes"] == []
    assert run["params"]["after"] == 54 + 4 + 6 + 6
    assert run["channels"] == {"prunable": 9, "requested": 5, "removed": 5}


def test_several_ratios_are_several_rows(capsys) -> None:
    arguments = ["prune", "own.py:chain", "--input-size", "3,6,6", "--ratios", "0.3,0.5"]
    assert main([*arguments, "--json", "-"]) == 0
    assert [run["ratio"] for run in json.loads(capsys.readouterr().out)["runs"]] == [0.3, 0.5]


@pytest.mark.parametrize("option", ["--save", "--onnx", "--export"])
def test_several_ratios_cannot_be_written_to_one_place(option: str, capsys, tmp_path: Path) -> None:
    for ratios in (["--ratios", "0.3,0.5"], []):
        arguments = ["prune", "own.py:chain", "--input-size", "3,6,6", *ratios, option, "kept"]
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert option in said.err
        assert "--ratios 0.3" in said.err
    assert not (tmp_path / "kept").exists()


def test_what_is_saved_is_loaded_and_computes_the_same(capsys) -> None:
    assert main(["prune", "own.py:flipped", *SMALL, "--save", "kept"]) == 0
    assert "wrote kept" in capsys.readouterr().out
    # The same pruning by the function; the command draws its weights from seed 0 as well.
    model = make(Flipped)
    pruned = prune(model, torch.randn(2, 3, 6, 6), 0.5).model
    loaded = load_pruned("own.py:flipped", "kept").eval()
    with torch.no_grad():
        found, wanted = (each(torch.ones(1, 3, 6, 6)) for each in (loaded, pruned))
    assert torch.allclose(found, wanted, atol=1e-6)


def test_files_of_onnx_and_of_export_compute_what_was_pruned(capsys) -> None:
    missing = CATALOGUE["survives_onnx"].missing
    if missing:
        pytest.skip(missing)
    import onnxruntime

    files = ("--save", "kept", "--onnx", "a.onnx", "--export", "a.pt2", "--json", "-")
    arguments = ["prune", "own.py:flipped", "--ratios", "0.5", "--inputs", "own.py:inputs"]
    assert main([*arguments, *files]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["written"] == {"save": "kept", "onnx": "a.onnx", "export": "a.pt2"}
    model = load_pruned(lambda: make(Flipped, 5), "kept")
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        wanted = model(x)
        exported = torch.export.load("a.pt2").module()(x)
    session = onnxruntime.InferenceSession("a.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.allclose(exported, wanted, atol=1e-6)
    assert torch.allclose(torch.tensor(found), wanted, atol=1e-5)


def test_what_cannot_be_exported_is_one_line(capsys) -> None:
    pytest.importorskip("onnx")
    assert main(["prune", "own.py:data", *SMALL, "--export", "a.pt2", "--save", "kept"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "'a.pt2' cannot be written" in said.err
    assert not Path("a.pt2").exists()
    assert not Path("kept").exists()


def test_without_removable_channels_it_exits_1_and_writes_nothing(capsys) -> None:
    for model, more in (
        ("own.py:bare", ["--input-size", "4"]),
        ("own.py:chain", ["--input-size", "3,6,6", "--ignore", "first,second,head"]),
    ):
        arguments = ["prune", model, *more, "--ratios", "0.5", "--save", "kept", "--json", "-"]
        assert main(arguments) == 1
        data = json.loads(capsys.readouterr().out)
        assert data["runs"][0]["verdict"] == "unchanged"
        assert data["written"] == {}
        assert not Path("kept").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ratios", "1.0"),
        ("--ratios", "50"),
        ("--ratios", "half"),
        ("--ratios", "0.5", "--ignore", "nothing"),
        ("--ratios", "0.5", "--importance", "l3"),
        ("--ratios", "0.5", "--round-to", "0"),
        ("--ratios", "0.5", "--max-pruning-ratio", "50"),
        ("--ratios", "0.5", "--scope", "all"),
        ("--ratios", "0.5", "--pruner", "own.py:chain"),
        ("--ratios", "0.5", "--outputs", "logits"),
        ("--ratios", "0.5", "--save", "own.py"),
        ("--ratios", "0.5", "--save", "."),
        ("--ratios", "0.5", "--save", "own.py/kept"),
        ("--ratios", "0.5", "--onnx", "."),
        ("--ratios", "0.5", "--export", "own.py/a.pt2"),
        ("--ratios", "0.5", "--json", "own.py/a.json"),
        ("--ratios", "0.5", "--checks", "nothing"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], capsys, tmp_path: Path) -> None:
    before = sorted(each.name for each in tmp_path.iterdir())
    code: Any
    try:
        code = main(["prune", "own.py:chain", "--input-size", "3,6,6", *arguments])
    except SystemExit as ended:  # of the parser
        code = ended.code
    assert code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    left = {each.name for each in tmp_path.iterdir()} - {"__pycache__"}
    assert sorted(left) == [name for name in before if name != "__pycache__"]
    assert (tmp_path / "own.py").read_text() == MODELS


def test_a_folder_with_other_files_is_refused_before_any_work(capsys, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("work")
    assert main(["prune", "own.py:missing", *SMALL, "--save", "thesis"]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "a.tex").read_text() == "work"


def test_in_a_pipe_it_is_silent_but_for_the_answer() -> None:
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "prune", "own.py:noisy", *SMALL, "--json", "-"],
        env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["verdict"] == "exact"
    assert done.stderr.replace("hello\n", "") == ""


def test_round_to_and_cap_are_handed_on(capsys) -> None:
    def left(*more: str) -> dict[str, int]:
        assert main(["prune", "own.py:chain", *SMALL, "--json", "-", *more]) in (0, 1)
        (run,) = json.loads(capsys.readouterr().out)["runs"]
        return {group["root"]: group["left"] for group in run["groups"]}

    assert left() == {"first": 2, "second": 2, "head": 2}
    assert left("--round-to", "4") == {"first": 4, "second": 4, "head": 2}
    assert left("--max-pruning-ratio", "0.25") == {"first": 3, "second": 4, "head": 2}


def test_a_chain_needs_no_cure() -> None:
    """The network that torch-pruning prunes rightly is pruned alike by the command."""
    assert main(["prune", "own.py:chain", *SMALL, "--save", "kept"]) == 0
    loaded = load_pruned(lambda: make(Chain, 3), "kept")
    assert loaded.first.out_channels == 2
