"""What was pruned, trained and saved is held to the dense network; each planted fault is seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nets import Chain, Residual, inputs_for, make
from safetensors.torch import load_file, save_file
from torch import nn

from analysis import prune, save_pruned
from analysis.checks import SHIPPED
from analysis.command_line.main import main
from analysis.errors import InputError
from analysis.records import Network, Request, Target, Thresholds, Verdict
from analysis.runs import run_of

WEIGHTS = "weights.safetensors"


def made(folder: Path, kind: type[nn.Module] = Residual, trained: float = 0.0) -> Path:
    """A pruned network in a folder, whose weights were moved by a share of what they are."""
    model = make(kind)
    pruned = prune(model, inputs_for(model), 0.5)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in pruned.model.parameters() if trained else ():
            parameter.add_(trained * parameter.abs().mean() * torch.randn_like(parameter))
    return save_pruned(pruned, folder / "pruned")


def alone(folder: Path) -> Path:
    """The weights of a folder in a file that lies elsewhere."""
    return Path(shutil.copy(folder / WEIGHTS, folder.parent / "alone.safetensors"))


def run(path: Path, kind: type[nn.Module] = Residual, **asked):
    network = Network("net", kind.size, factory=lambda: make(kind))
    request = Request(network, shipped=str(path), **asked)
    return run_of(request, request.config(0.0), SHIPPED)


def failing(found) -> set[str]:
    return {check.name for check in found.checks if not check.passed}


@pytest.mark.parametrize("kind", [Chain, Residual])
@pytest.mark.parametrize("of_file", [True, False], ids=["file", "folder"])
def test_a_pruning_that_was_saved_is_proved_with_the_channels_that_stayed(
    tmp_path: Path, kind, of_file: bool
) -> None:
    model = make(kind)
    expected = prune(model, inputs_for(model, 1), 0.5)
    folder = made(tmp_path, kind)
    found = run(alone(folder) if of_file else folder, kind)
    assert found.verification.verdict is Verdict.EXACT
    assert found.verification.kept == expected.kept
    assert (found.macs.after, found.params.after) == (expected.macs, expected.params)
    assert found.channels == replace(expected.outcome.run.channels, requested=None)
    assert found.config.ratio == found.channels.removed / found.channels.prunable
    assert not failing(found)


@pytest.mark.parametrize("of_file", [True, False], ids=["file", "folder"])
def test_weights_that_were_trained_since_make_it_consistent(tmp_path: Path, of_file: bool) -> None:
    folder = made(tmp_path, trained=0.05)
    found = run(alone(folder) if of_file else folder)
    assert found.verification.verdict is Verdict.CONSISTENT
    assert "trained" in found.verification.reason
    assert not failing(found)


def test_weights_that_were_trained_far_are_read_from_the_folder_and_from_no_file(tmp_path) -> None:
    folder = made(tmp_path, trained=30.0)
    assert run(folder).verification.verdict is Verdict.CONSISTENT
    with pytest.raises(InputError, match=r"cannot be found: .* the folder that prune --save or"):
        run(alone(folder))


@pytest.mark.parametrize("name", ["trained.safetensors", "trained.pt"])
def test_a_file_in_the_folder_of_the_pruning_is_read_with_its_channels(tmp_path, name) -> None:
    folder, trained = made(tmp_path / "one"), made(tmp_path / "two", trained=30.0)
    state = load_file(trained / WEIGHTS)
    if name.endswith(".pt"):
        torch.save(state, folder / name)
    else:
        save_file(state, folder / name)
    assert run(folder).verification.verdict is Verdict.EXACT
    found = run(folder / name).verification
    assert found.verdict is Verdict.CONSISTENT
    assert found.kept == run(folder).verification.kept


def test_channels_in_another_order_in_one_layer_are_wrong(tmp_path: Path) -> None:
    folder = made(tmp_path)
    state = load_file(folder / WEIGHTS)
    name = "block.project.weight"
    state[name] = state[name].flip(1).contiguous()
    save_file(state, folder / "swapped.safetensors")
    found = run(folder / "swapped.safetensors")
    assert found.verification.verdict is Verdict.WRONG
    assert "equivalent_to_masked" in failing(found)


def test_indices_that_do_not_fit_together_are_not_proved(tmp_path: Path) -> None:
    folder = made(tmp_path)
    data = json.loads((folder / "pruning.json").read_text())
    # What reads the depthwise convolution is said to read other channels of it.
    (axis,) = (
        each
        for each in data["axes"]
        if (each["tensor"], each["dim"]) == ("block.project.weight", 1)
    )
    axis["kept"] = sorted(set(range(axis["width"])) - set(axis["kept"]))[: len(axis["kept"])]
    (folder / "pruning.json").write_text(json.dumps(data))
    assert not run(folder).verification.verdict.passes


def test_targets_and_metrics_are_those_of_what_ships(tmp_path: Path) -> None:
    folder = made(tmp_path)

    def elements(model: nn.Module) -> float:
        return float(sum(each.numel() for each in model.parameters()))

    found = run(
        folder,
        targets=(Target("macs", 0.1),),
        ratios=(0.0,),
        evaluate=elements,
        thresholds=Thresholds(metric_loss=1.0),
    )
    assert failing(found) == {"meets_target", "metrics_held"}
    (metric,) = found.metrics
    assert (metric.dense, metric.pruned) == (found.params.before, found.params.after)


def test_the_command_says_what_ships_and_refuses_what_would_prune_it(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    folder = made(tmp_path, Chain)
    asked = ["verify", "nets:Chain", "--input-size", "3,6,6", "--shipped", str(folder)]
    # The command draws other weights than the network was pruned with.
    assert main([*asked, "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["shipped"] == str(folder)
    assert data["runs"][0]["verdict"] in ("exact", "consistent")
    for more, message in (
        (["--ratios", "0.5"], "leave out --ratios"),
        (["--minimize", "out.py"], "leave out --minimize"),
        (["--pruner", "nets:make"], "leave out pruner"),
    ):
        assert main([*asked, *more]) == 2
        assert message in capsys.readouterr().err
    assert main([*asked[:-1], "nowhere"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
