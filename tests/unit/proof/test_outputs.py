"""Selected outputs: a right pruning also cuts hidden states beside the logits."""

import json
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch_pruning as tp
from nets import inputs_for, make
from torch import Tensor, nn

from analysis import parametrize_with_checks, verify, verify_steps
from analysis.checks import CATALOGUE
from analysis.command_line.main import main
from analysis.errors import InputError
from analysis.network.inference import tensors_of
from analysis.network.outputs import count_outputs, counted, counted_outputs
from analysis.records import Config, Network, Request, Verdict
from analysis.runs import run_of

Pair = namedtuple("Pair", "scores hidden")


class Telling(nn.Module):
    """Puts out its scores and what it made on the way."""

    size = (3, 6, 6)
    flips = False

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.second = nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor):
        hidden = self.first(x).relu()
        seen = hidden.flip(1) if self.flips else hidden
        return self.text(self.head(self.second(seen).mean((2, 3))), hidden)

    def text(self, scores: Tensor, hidden: Tensor):
        return scores, hidden


class Named(Telling):
    def text(self, scores: Tensor, hidden: Tensor):
        return {"features": [hidden], "out": {"scores": scores}, "cache": None}


class Structured(Telling):
    def text(self, scores: Tensor, hidden: Tensor):
        return SimpleNamespace(hidden=hidden, heads=Pair(scores, hidden))


class Flipping(Telling):
    flips = True


def half_pruner(model: nn.Module, inputs: Tensor, **more):
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.head],
        output_transform=lambda output: [t for t in tensors_of(output) if t.requires_grad],
        **more,
    )


CASES = [(Telling, "0"), (Named, "out.scores"), (Named, "out"), (Structured, "heads.scores")]


@pytest.mark.parametrize(("kind", "path"), CASES)
def test_a_right_pruning_is_exact_on_the_outputs_that_count(kind, path: str) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    answer = verify(model, inputs, half_pruner(model, inputs), outputs=[path])
    assert answer.verdict is Verdict.EXACT
    assert answer.reason == f"outputs compared: `{path}` alone"
    assert counted_outputs(model) == ()
    assert "_outputs_that_count" not in vars(model)


@pytest.mark.parametrize("kind", [Telling, Named, Structured])
def test_without_a_choice_all_of_them_count(kind) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    answer = verify(model, inputs, half_pruner(model, inputs))
    assert answer.verdict is Verdict.BROKEN
    assert "(2, 6, 4, 4)" in answer.reason


def test_what_counts_is_proved_all_the_same() -> None:
    model = make(Flipping)
    inputs = inputs_for(model)
    answer = verify(model, inputs, half_pruner(model, inputs), outputs=["0"])
    assert answer.verdict is Verdict.WRONG
    model = make(Telling)
    answer = verify(model, inputs, half_pruner(model, inputs), outputs=["0", "1"])
    assert answer.verdict is Verdict.BROKEN


def test_each_step_is_proved_on_the_outputs_that_count() -> None:
    model = make(Telling)
    inputs = inputs_for(model)
    steps = verify_steps(
        model, inputs, half_pruner(model, inputs, iterative_steps=2), outputs=["0"]
    )
    for step in steps:
        assert step.verdict is Verdict.EXACT, step.reason
        assert isinstance(model(inputs), tuple)
        assert counted_outputs(model) == ()


@pytest.mark.parametrize(
    ("path", "there"),
    [("2", "`0`, `1`"), ("logits", "`0`, `1`"), ("0.x", "leave out 'x'")],
)
def test_a_path_to_no_output_is_refused_before_anything_is_pruned(path, there) -> None:
    model = make(Telling)
    inputs = inputs_for(model)
    for function in (verify, verify_steps):
        with pytest.raises(InputError, match=f"no output at '{path}'.*{there}"):
            function(model, inputs, half_pruner(model, inputs), outputs=[path])
    assert model.first.out_channels == 6


def test_one_path_as_a_text_is_refused() -> None:
    model = make(Telling)
    inputs = inputs_for(model)
    with pytest.raises(InputError, match="expected a list of paths"):
        verify(model, inputs, half_pruner(model, inputs), outputs="0")


def test_what_is_none_is_no_output() -> None:
    model = make(Named)
    count_outputs(model, ["cache"])
    with pytest.raises(InputError, match=r"in place of 'cache', `features`, `out`$"):
        counted(model, model(inputs_for(model)))


@pytest.mark.parametrize("name", ["Telling", "Named"])
def test_every_check_looks_at_the_outputs_that_count(name: str) -> None:
    path = {"Telling": "0", "Named": "out.scores"}[name]
    network = Network(f"tests/unit/proof/test_outputs.py:{name}", Telling.size, outputs=(path,))
    run = run_of(Request(network, ignore="head,"), Config(0.5, "local"), CATALOGUE)
    assert run.verification.verdict is Verdict.EXACT
    assert [check for check in run.checks if not check.passed] == []
    assert {check.name for check in run.checks if check.skipped} <= {"survives_gpu"}


def test_the_command_takes_the_paths(capsys) -> None:
    options = ["tests/unit/proof/test_outputs.py:Telling", "--input-size", "3,6,6"]
    options += ["--ratios", "0.5", "--ignore", "head,", "--json", "-"]
    text = {}
    for paths in ([], ["--outputs", "0"]):
        status = main(["verify", *options, *paths])
        text[len(paths)] = status, json.loads(capsys.readouterr().out)
    assert (text[0][0], text[0][1]["runs"][0]["verdict"]) == (1, "broken")
    assert (text[2][0], text[2][1]["runs"][0]["verdict"]) == (0, "exact")
    assert "outputs" not in text[0][1]["subject"]
    assert text[2][1]["subject"]["outputs"] == ["0"]
    assert main(["verify", *options, "--outputs", "logits"]) == 2
    assert "no output at 'logits'" in capsys.readouterr().err


def test_the_decorator_takes_the_paths() -> None:
    mark = parametrize_with_checks(
        Telling,
        input_size=Telling.size,
        ratios=[0.5],
        ignore=["head"],
        scope="local",
        outputs=["0"],
    )
    checks = {param.id: param.values[0] for param in mark.args[1]}
    for name in ("equivalent_to_masked", "output_shape_stays"):
        (check,) = (check for key, check in checks.items() if name in key)
        check()
        assert check.run.verification.verdict is Verdict.EXACT


def test_channels_of_outputs_that_are_not_compared_can_be_removed(capsys) -> None:
    options = ["tests/unit/proof/test_outputs.py:Telling", "--input-size", "3,6,6", "--json", "-"]
    text = []
    for paths in ([], ["--outputs", "0"]):
        assert main(["groups", *options, *paths]) == 0
        found = json.loads(capsys.readouterr().out)["groups"]
        text.append(next(group for group in found if group["name"] == "first"))
    assert text[0]["is_output"]
    assert not text[1]["is_output"]
    assert not text[1]["held"]
