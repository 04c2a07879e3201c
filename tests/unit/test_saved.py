"""A pruned network on disk: made again in another process, proved again, and never a pickle."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import Chain, Flipped, Named, Residual, inputs_for, make
from safetensors.torch import load_file, save_file
from tied import Tied, words
from torch import Tensor, nn

from analysis import Pruned, environment, load_pruned, prune, save_pruned
from analysis.errors import InputError
from analysis.reporting import files
from analysis.saved import keeper

FILES = {"inputs.safetensors", "pruning.json", "weights.safetensors"}


class Heads(nn.Module):
    """Attention whose number of heads is an attribute, of tokens (5, 12)."""

    size = (5, 12)

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.heads, self.width = 4, width
        self.qkv, self.project = nn.Linear(12, 12 * width), nn.Linear(4 * width, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        made = self.qkv(x).view(batch, tokens, 3, self.heads, self.width)
        q, k, v = made.permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.head(self.project(mixed.transpose(1, 2).flatten(2)).mean(1))


class Optional(Chain):
    """Takes a second input that may be left out, and a list."""

    def forward(self, x: Tensor, more: Tensor | None, parts: list[Tensor], scale: float) -> Tensor:
        return super().forward(x if more is None else x + more) * scale + parts[0].sum()


def saved(tmp_path: Path, kind: type[nn.Module] = Flipped) -> tuple[Pruned, Path]:
    model = make(kind)
    pruned = prune(model, inputs_for(model), 0.5, ignore=["head"])
    return pruned, save_pruned(pruned, tmp_path / "kept")


def from_seed(kind: type[nn.Module], seed: int = 9) -> Callable[[], nn.Module]:
    """A factory of the same network with other weights, as one that draws them anew."""
    return lambda: make(kind, seed)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*")
            if each.is_file()}  # fmt: skip


def test_an_onnx_file_is_refused_where_torch_is_too_old(tmp_path, monkeypatch) -> None:
    pruned, _ = saved(tmp_path)
    monkeypatch.setattr(environment, "_version", lambda package: "2.4.0")
    file = tmp_path / "a.onnx"
    with pytest.raises(InputError, match=r"cannot be written: it needs torch 2\.11 or newer, and"):
        keeper({"onnx": str(file), "save": str(tmp_path / "second")})(pruned)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("kind", [Chain, Flipped, Residual, Heads])
def test_what_is_loaded_computes_what_was_saved(kind: type[nn.Module], tmp_path: Path) -> None:
    pruned, folder = saved(tmp_path, kind)
    assert {each.name for each in folder.iterdir()} == FILES
    loaded = load_pruned(from_seed(kind), folder)
    inputs = inputs_for(loaded)
    with torch.no_grad():
        assert torch.equal(loaded(inputs), pruned.model(inputs))
    assert {name: tuple(t.shape) for name, t in loaded.state_dict().items()} == {
        name: tuple(t.shape) for name, t in pruned.model.state_dict().items()
    }
    assert not loaded.training
    assert load_pruned(lambda: from_seed(kind)().train(), folder).training
    if kind is Heads:
        assert (loaded.heads, loaded.width) == (pruned.model.heads, pruned.model.width) != (4, 2)


PROCESS = """
import sys, torch, pickle
refused = lambda *_, **__: sys.exit("a pickle was read or written")
pickle.load = pickle.loads = pickle.dump = pickle.dumps = torch.load = torch.save = refused
from analysis import load_pruned
from safetensors.torch import save_file
model = load_pruned("nets:Flipped", "kept").eval()
torch.manual_seed(3)
x = torch.randn(2, 3, 6, 6)
save_file({"inputs": x, "outputs": model(x).detach()}, "seen.safetensors")
print(model.first.out_channels, "torch_pruning" in sys.modules)
"""


def test_a_fresh_process_loads_it_and_computes_the_same(tmp_path: Path) -> None:
    pruned, _ = saved(tmp_path)
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROCESS], cwd=tmp_path, text=True,
        capture_output=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "2"
    seen = load_file(tmp_path / "seen.safetensors")
    with torch.no_grad():
        assert torch.allclose(pruned.model(seen["inputs"]), seen["outputs"], atol=1e-6)


def test_nothing_is_pickled(tmp_path: Path, monkeypatch) -> None:
    import pickle

    pruned, _ = saved(tmp_path)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle was read or written")

    for module, name in ((pickle, "dump"), (pickle, "dumps"), (pickle, "load"), (pickle, "loads"),
                         (torch, "save"), (torch, "load")):  # fmt: skip
        monkeypatch.setattr(module, name, refused)
    load_pruned(from_seed(Flipped), save_pruned(pruned, tmp_path / "again"))
    for each in (tmp_path / "again").iterdir():
        head = each.read_bytes()[:16]
        assert not head.startswith((b"\x80", b"PK"))


def test_the_data_says_what_is_left_and_what_was_proved(tmp_path: Path) -> None:
    pruned, folder = saved(tmp_path, Heads)
    data = json.loads((folder / "pruning.json").read_text())
    assert data["schema"] == 1
    assert data["model"] == "Heads"
    assert (data["macs"], data["params"]) == (pruned.macs, pruned.params)
    assert data["verification"]["verdict"] == pruned.verification.verdict.value
    assert {"torch", "torch-pruning"} <= data["versions"].keys()
    (set_,) = data["attributes"]
    assert (set_["module"], set_["path"]) == ("", [pruned.attributes[0].name])
    small = dict(pruned.model.named_parameters())
    for axis in data["axes"]:
        assert len(axis["kept"]) == small[axis["tensor"]].shape[axis["dim"]] < axis["width"]


# ---------------------------------------------------------------------- inputs


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict"])
def test_example_inputs_of_every_form_are_kept(form: str, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 6, 6)
    parts = (x, None, [torch.ones(2), torch.zeros(1)], 0.5)
    kind: type[nn.Module] = Chain if form == "tensor" else Optional
    inputs: Any = {
        "tensor": x,
        "tuple": parts,
        "dict": dict(zip(("x", "more", "parts", "scale"), parts, strict=True)),
    }[form]
    model = make(kind)
    folder = save_pruned(prune(model, inputs, 0.5, ignore=["head"]), tmp_path / "kept")
    loaded = load_pruned(from_seed(kind), folder)
    assert loaded.first.out_channels == 2
    tensors = load_file(folder / "inputs.safetensors")
    assert len(tensors) == (1 if form == "tensor" else 3)
    assert torch.equal(tensors["0"], x)


def test_inputs_of_whole_numbers_and_tied_weights_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pruned = prune(Tied().eval(), words(), 0.5, ignore="none")
    folder = save_pruned(pruned, tmp_path / "kept")
    loaded = load_pruned(lambda: Tied().eval(), folder)
    assert loaded.head.weight is loaded.table.weight
    assert loaded.head.in_features == 8
    assert torch.equal(loaded(words()), pruned.model(words()))


def test_outputs_that_did_not_count_do_not_count_when_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = {"image": torch.randn(2, 3, 6, 6), "vector": torch.randn(2, 5)}
    pruned = prune(Named().eval(), inputs, 0.5, ignore=["head"], outputs=["scores"])
    folder = save_pruned(pruned, tmp_path / "kept")
    assert json.loads((folder / "pruning.json").read_text())["outputs"] == ["scores"]
    loaded = load_pruned(lambda: Named().eval(), folder)
    assert torch.equal(loaded(**inputs)["scores"], pruned.model(**inputs)["scores"])


def test_inputs_that_json_does_not_have_are_one_line(tmp_path: Path) -> None:
    class Sized(Chain):
        def forward(self, x: Tensor, size: torch.Size | slice) -> Tensor:  # type: ignore[override]
            return super().forward(x)

    pruned = prune(make(Sized), (torch.randn(2, 3, 6, 6), slice(1, 2)), 0.5, ignore=["head"])
    with pytest.raises(InputError, match="slice"):
        save_pruned(pruned, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- planted faults


def edited(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "pruning.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def refused(folder: Path, factory: Any = None) -> str:
    with pytest.raises(InputError) as caught:
        load_pruned(factory or from_seed(Flipped), folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_index_that_was_changed_is_found(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    plain = (folder / "pruning.json").read_text()
    axes = json.loads(plain)["axes"]
    assert len(axes) > 5
    for place, axis in enumerate(axes):
        other = next(n for n in range(axis["width"]) if n not in axis["kept"])

        def swap(data: dict[str, Any], place: int = place, other: int = other) -> None:
            kept = data["axes"][place]["kept"]
            data["axes"][place]["kept"] = sorted([other, *kept[1:]])

        (folder / "pruning.json").write_text(plain)
        edited(folder, swap)
        assert "not proved" in refused(folder), axis


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data["axes"][0]["kept"].append(99),
        lambda data: data["axes"][0]["kept"].append("one"),
        lambda data: data["axes"][0].pop("kept"),
        lambda data: data["axes"][0].update(tensor="nothing.weight"),
        lambda data: data["axes"][0].update(dim="first"),
        lambda data: data["axes"].pop(),
        lambda data: data["axes"].clear(),
        lambda data: data["cuts"].pop(),
        lambda data: data["cuts"][0].pop("removed"),
        lambda data: data["attributes"].append(
            {"module": "nobody", "path": ["heads"], "before": 4, "after": 2}
        ),
        lambda data: data.pop("inputs"),
        lambda data: data.update(inputs={"tensor": "7"}),
        lambda data: data.update(inputs={"thing": 3}),
        lambda data: data.update(schema=2),
        lambda data: data.pop("schema"),
    ],
)
def test_data_that_was_broken_is_one_line(edit: Callable[..., Any], tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    edited(folder, edit)
    assert refused(folder)


class WideChain(Flipped):
    """The first convolution makes 6 channels and not 4."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm, self.second = nn.BatchNorm2d(6), nn.Conv2d(6, 5, 1)


def test_a_network_of_other_widths_or_another_one_is_refused(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    assert "`first.weight` with 4 positions" in refused(folder, from_seed(WideChain))
    assert "another network" in refused(folder, from_seed(Residual))
    # Chain has the same tensors, and reads the channels in another order.
    assert "not proved" in refused(folder, from_seed(Chain))
    assert refused(folder, "nets:Nothing")
    assert refused(folder, lambda: 3)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    weights = load_file(folder / "weights.safetensors")
    dense = {name: t.contiguous() for name, t in make(Flipped).state_dict().items()}
    save_file(dense, folder / "weights.safetensors")
    assert "do not fit" in refused(folder)
    save_file({**weights, "more.weight": torch.ones(1)}, folder / "weights.safetensors")
    assert "do not fit" in refused(folder)
    weights.pop("first.weight")
    save_file(weights, folder / "weights.safetensors")
    assert "do not fit" in refused(folder)
    (folder / "weights.safetensors").write_bytes(b"no tensors")
    assert refused(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    (folder / name).unlink()
    assert name in refused(folder)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    assert "missing" in refused(tmp_path / "missing")
    (tmp_path / "file").write_text("text")
    assert "file" in refused(tmp_path / "file")


# ---------------------------------------------------------------------- where it is written


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    pruned, kept = saved(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"):
        save_pruned(pruned, other)
    assert contents(other) == {"thesis.tex": b"years of work"}
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="it is a file"):
        save_pruned(pruned, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "text"
    # One's own is replaced, and so is an empty one.
    (tmp_path / "empty").mkdir()
    for folder in (kept, tmp_path / "empty", tmp_path / "a" / "b"):
        assert save_pruned(pruned, folder) == folder
        assert {each.name for each in folder.iterdir()} == FILES
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a", "empty", "file", "kept", "other"
    ]  # fmt: skip


def test_files_that_were_put_beside_ones_own_are_not_lost(tmp_path: Path) -> None:
    pruned, kept = saved(tmp_path)
    (kept / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        save_pruned(pruned, kept)
    assert (kept / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    pruned, _ = saved(tmp_path)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(InputError, match="closed"):
        save_pruned(pruned, closed / "kept")


def test_below_a_file_nothing_can_be_written(tmp_path: Path) -> None:
    pruned, _ = saved(tmp_path)
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="file") as caught:
        save_pruned(pruned, tmp_path / "file" / "kept")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_what_was_there(
    error: BaseException, tmp_path: Path, monkeypatch
) -> None:
    pruned, kept = saved(tmp_path)
    before = contents(kept)

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "write_text", fails)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        save_pruned(pruned, kept)
    monkeypatch.undo()
    assert contents(kept) == before
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_folder_that_cannot_take_its_place_leaves_what_was_there(
    failing: int, tmp_path: Path, monkeypatch
) -> None:
    """The old one is moved aside, and the new one there: either may fail."""
    pruned, kept = saved(tmp_path)
    before, plain, calls = contents(kept), os.replace, []

    def fails(*paths: Any) -> None:
        calls.append(paths)
        if len(calls) == failing:
            raise OSError(16, "Device or resource busy")
        plain(*paths)

    monkeypatch.setattr(files.os, "replace", fails)
    with pytest.raises(InputError, match="busy"):
        save_pruned(pruned, kept)
    monkeypatch.undo()
    assert contents(kept) == before
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_what_was_not_proved_is_not_saved(tmp_path: Path) -> None:
    model = make(Chain)
    pruned = prune(model, inputs_for(model), 0.5, ignore=["first", "second", "head"])
    with pytest.raises(InputError, match="not proved"):
        save_pruned(pruned, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
