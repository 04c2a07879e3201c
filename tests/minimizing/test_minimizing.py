"""A failing network cut down to a script, which is run here as its reader runs it."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import analysis
from analysis import minimized
from analysis.command_line.main import main
from analysis.errors import InputError
from analysis.minimizing.code import readable
from analysis.minimizing.failing import Judge
from analysis.minimizing.remade import maker_of
from analysis.minimizing.small import small_of
from analysis.network.inference import copy_of
from analysis.records import Config, Counterexample, Verdict


class Buried(nn.Module):
    """A function of channels between layers that have nothing to do with it, 3 -> 8 -> 6 -> 2."""

    def __init__(self, function: Callable[["Buried", Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Sigmoid())
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 6, 1)
        self.after = nn.Sequential(nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 6, 3, padding=1))
        self.head = nn.Linear(6, 2)
        self.register_buffer("scale", torch.rand(1, 8, 1, 1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.mix(x)
        x = self.function(self, self.first(x))
        return self.head(self.after(self.second(x)).mean((2, 3)))


def _shuffled(_: Any, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    parts = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
    return parts.reshape(batch, channels, height, width)


class ChannelsLast(nn.Module):
    """What reads every position of every channel, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.second = nn.Linear(8 * 6 * 6, 10)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x)).permute(0, 2, 3, 1).flatten(1)
        return self.head(self.second(x).relu())


FAILING = {
    "flip": (lambda: Buried(lambda m, x: x.flip(1)), Verdict.WRONG, ".flip("),
    "shuffle": (lambda: Buried(_shuffled), Verdict.WRONG, ".transpose("),
    "channels last": (ChannelsLast, Verdict.WRONG, ".permute("),
    "buffer": (lambda: Buried(lambda m, x: x * m.scale), Verdict.BROKEN, "self.scale"),
    "chunks": (
        lambda: Buried(lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1)),
        Verdict.UNPRUNABLE,
        ".chunk(",
    ),
}


class Recurrent(nn.Module):
    """A recurrent layer between linear ones, read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.rnn = nn.LSTM(16, 10, batch_first=True)
        self.mid = nn.Linear(10, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mid(self.rnn(self.embed(x).relu())[0][:, -1]).relu())


def run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script where this package cannot be imported."""
    path = folder / "script.py"
    path.write_text(text)
    command = [sys.executable, "-I", "-W", "ignore", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def built(factory: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor]:
    # Of other seeds the channels that go may lie alike from both ends, so that a flip is no fault.
    torch.manual_seed(2)
    return factory(), torch.randn(2, 3, 6, 6)


@cache
def cut(name: str) -> Counterexample:
    return minimized(*built(FAILING[name][0]), 0.5)


@pytest.mark.parametrize("name", FAILING)
def test_a_failing_network_becomes_a_short_script_that_fails_alike(name, tmp_path) -> None:
    factory, verdict, culprit = FAILING[name]
    model, _ = built(factory)
    found = cut(name)
    assert found.verdict is verdict, found.why
    lines = found.script.splitlines()
    assert len(lines) <= 40
    assert culprit in found.script
    layers = sum("= torch.nn." in line for line in lines)
    assert layers <= 2 < sum(not list(layer.children()) for layer in model.modules())
    assert "analysis" not in found.script
    done = run(found.script, tmp_path)
    assert done.returncode == 1
    if verdict is Verdict.WRONG:
        assert "AssertionError" in done.stderr
        assert float(done.stdout.rpartition(" ")[2]) > 1e-3
    elif verdict is Verdict.BROKEN:
        assert done.stderr.strip().splitlines()[-1].startswith("RuntimeError: ")
        assert "in forward" in done.stderr
    else:
        assert "torch_pruning" in done.stderr


def test_a_recurrent_layer_that_cannot_be_pruned_is_one_layer_of_the_script(tmp_path) -> None:
    torch.manual_seed(0)
    found = minimized(Recurrent(), torch.randn(2, 5, 12), 0.5)
    assert found.verdict is Verdict.UNPRUNABLE, found.why
    assert "torch.nn.LSTM(" in found.script
    done = run(found.script, tmp_path)
    assert done.returncode == 1
    assert "torch_pruning" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("IndexError")


def test_the_check_of_a_script_holds_for_the_network_without_its_fault(tmp_path) -> None:
    script = cut("flip").script
    # The same layers, weights, silent channels and pruner; only the channels stay in order.
    sound = script.replace(".flip(1)", "")
    assert sound != script
    assert run(sound, tmp_path).returncode == 0


def test_the_network_is_left_as_it_was_found() -> None:
    model, inputs = built(FAILING["buffer"][0])
    model.train()
    before, state = copy_of(model).state_dict(), torch.get_rng_state()
    assert minimized(model, inputs, 0.5, seconds=5).verdict is not None
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_network_that_is_pruned_right_has_no_script() -> None:
    found = minimized(*built(lambda: Buried(lambda m, x: x.relu())), 0.5)
    assert (found.script, found.verdict) == ("", None)
    assert found.why == "the verdict is `exact`"


def test_a_verdict_that_no_script_shows_is_reported() -> None:
    model, inputs = built(FAILING["flip"][0])
    found = minimized(model, inputs, 0.5, verdict=Verdict.TIMEOUT)
    assert (found.script, found.why) == ("", "the verdict is `timeout`")


def test_an_output_layer_that_is_cut_is_no_fault_of_the_pruner() -> None:
    found = minimized(*built(lambda: Buried(lambda m, x: x.relu())), 0.5, ignore="none")
    assert not found.script
    assert "the layers that make the output ignored" in found.why


def test_a_network_that_torch_fx_cannot_trace_takes_one_line() -> None:
    class Uncopied(Buried):
        def forward(self, x: Tensor) -> Tensor:
            if type(x) is not Tensor:
                raise TypeError("plain tensors alone\nare taken")
            return super().forward(x)

    model, inputs = built(lambda: Uncopied(lambda m, x: x.flip(1)))
    found = minimized(model, inputs, 0.5)
    assert not found.script
    assert "torch.fx cannot follow the network" in found.why
    assert "plain tensors alone" in found.why
    assert "\n" not in found.why


def test_a_module_that_cannot_be_traced_is_removed_where_it_is_not_the_fault() -> None:
    class Opaque(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if type(x) is not Tensor:
                raise TypeError("plain tensors alone are taken")
            return x.relu()

    class Behind(Buried):
        def __init__(self) -> None:
            super().__init__(lambda m, x: x.flip(1))
            self.opaque = Opaque()

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.opaque(x))

    found = minimized(*built(Behind), 0.5)
    assert found.verdict is Verdict.WRONG, found.why
    assert "opaque" not in found.script


def test_sizes_of_a_forward_that_branches_on_them_are_followed() -> None:
    class Branching(Buried):
        def forward(self, x: Tensor) -> Tensor:
            if len(x.shape) == 4 and x.shape[1] == 3 and isinstance(x, Tensor):
                x = sum(x for _ in range(x.size(0))) / x.size(0)
            return super().forward(x)

    model, inputs = built(lambda: Branching(lambda m, x: x.flip(1)))
    small = small_of(model.eval(), inputs)
    network, drawn = small.drawn()
    network.load_state_dict(
        {
            key.replace(".", "_", key.count(".") - 1): value
            for key, value in model.state_dict().items()
        },
        strict=False,
    )
    assert torch.allclose(network(inputs), model(inputs), atol=1e-6)
    assert [value.shape for value in drawn] == [inputs.shape]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, 3, padding=1, bias=False),
        nn.Conv2d(4, 8, (1, 3), groups=2, padding_mode="circular"),
        nn.ConvTranspose2d(4, 8, 2, stride=2),
        nn.BatchNorm2d(4, affine=False),
        nn.LayerNorm((4, 5), eps=1e-3),
        nn.GroupNorm(2, 4),
        nn.Linear(4, 5),
        nn.PReLU(4),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d((1, 2)),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.MultiheadAttention(8, 2, batch_first=True),
        nn.LSTM(4, 5, batch_first=True, proj_size=2),
        nn.GRU(4, 5, num_layers=2, bias=False, bidirectional=True),
        nn.RNN(4, 5, nonlinearity="relu"),
        nn.LSTMCell(4, 5),
        nn.Flatten(1, 2),
        nn.Dropout(0.25),
        nn.GELU(approximate="tanh"),
    ],
    ids=repr,
)
def test_a_layer_is_made_anew_by_the_call_that_is_written(layer) -> None:
    maker = maker_of(layer)
    assert maker is not None
    made = eval(maker.text, {"torch": torch})
    assert repr(made) == repr(layer)
    assert {k: v.shape for k, v in made.state_dict().items()} == {
        k: v.shape for k, v in layer.state_dict().items()
    }


def test_a_module_whose_attributes_do_not_show_its_call_is_not_rebuilt() -> None:
    class Own(nn.Conv2d):
        pass

    assert maker_of(Own(3, 4, 1)) is None
    assert maker_of(nn.TransformerEncoderLayer(8, 2)) is None
    assert maker_of(nn.Sequential(nn.Linear(2, 3))) is None


def test_operators_are_put_into_each_other_in_the_order_that_they_had() -> None:
    source = """
def forward(self, x):
    scale = self.scale
    first = self.first(x);  x = None
    twice = first + first;  first = None
    mul = twice * scale;  twice = scale = None
    return mul
"""
    assert readable(source).splitlines() == [
        "def forward(self, x):",
        "    first = self.first(x)",
        "    return (first + first) * self.scale",
    ]


def test_the_judge_finds_no_fault_in_a_sound_network_and_shows_none_by_channels() -> None:
    judge = Judge(Config(0.5, "local"), ())
    sound = judge.asked(small_of(*built(lambda: Buried(lambda m, x: x.relu()))))
    assert not hasattr(sound, "failure")
    assert sound.verdict is Verdict.EXACT


NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 2)
    def between(self, x): return x.relu()
    def forward(self, x):
        return self.head(self.second(self.between(self.first(x))).mean((2, 3)))

class Flipped(Net):
    def between(self, x): return x.flip(1)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch) -> Path:
    (tmp_path / "nets_to_cut.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(net: str, *options: str) -> int:
    asked = ("--input-size", "3,6,6", "--minimize", "found.py")
    return main(["verify", f"nets_to_cut.py:{net}", *asked, *options])


def test_verify_writes_the_script_for_the_first_ratio_that_fails(nets, capsys) -> None:
    assert verify("Flipped", "--ratios", "0,0.5") == 1
    assert "wrote found.py (shows `wrong` without this package)" in capsys.readouterr().out
    text = (nets / "found.py").read_text()
    assert "pruning_ratio=0.5" in text
    # What is ranked globally fails when it is not, too, and is shown so.
    assert "global" not in text
    assert "AssertionError" in run(text, nets).stderr


def test_verify_says_that_nothing_fails_and_writes_nothing(nets, capsys) -> None:
    assert verify("Net", "--ratios", "0.5") == 0
    assert "no script, and nothing written: no verdict fails" in capsys.readouterr().out
    assert not (nets / "found.py").exists()


def test_a_file_that_cannot_be_written_is_refused_before_the_work(nets, capsys) -> None:
    (nets / "found.py").mkdir()
    assert verify("Net", "--ratios", "0.5") == 2
    assert "cannot write 'found.py'" in capsys.readouterr().err


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(InputError, match="pruning ratio 5"):
        analysis.minimized(*built(FAILING["flip"][0]), 5)


OWN = """
import torch_pruning as tp

def halved(model, inputs, ratio):
    \"\"\"Half of each group by its L2 norms; the last linear layer stays.\"\"\"
    layers = [each for each in model.modules() if hasattr(each, "out_features")]
    return tp.pruner.BasePruner(
        model, inputs, tp.importance.MagnitudeImportance(p=2), pruning_ratio=ratio,
        ignored_layers=layers[-1:], iterative_steps=2,
    )
"""


@pytest.mark.parametrize(("name", "folder"), [("flip", "."), ("buffer", "tools")])
def test_a_pruner_of_the_users_own_is_imported_by_the_script(
    name: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(tmp_path, folder).mkdir(exist_ok=True)
    Path(tmp_path, folder, "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    make, verdict, _ = FAILING[name]
    found = minimized(*built(make), 0.5, pruner=str(Path(folder, "own.py")) + ":halved")
    assert found.verdict is verdict, found.why
    Path("issue.py").write_text(found.script)
    assert "MagnitudePruner" not in found.script
    done = subprocess.run(
        [sys.executable, "issue.py"], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    expected = "AssertionError" if verdict is Verdict.WRONG else "RuntimeError"
    assert expected in done.stderr
