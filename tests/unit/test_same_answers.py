"""The same question in Python, on the command line, and there with the user's pruner."""

import inspect
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from analysis import (
    count_macs,
    inspect_groups,
    lint_ignored_layers,
    prune,
    ratio_curve,
    ratio_for_macs,
    ratio_for_params,
    verify,
)
from analysis.command_line.main import main
from analysis.errors import InputError
from analysis.pytest_plugin.prunings import Pruning
from analysis.records import Network, Request


class Net(nn.Module):
    """Two convolutions and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu()).relu().mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x))


class Answer:
    """What some libraries return: no container, no dataclass."""

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.cache = logits, None


class AnObject(Net):
    def forward(self, x: Tensor) -> Answer:
        return Answer(super().forward(x))


class Nested(Net):
    def forward(self, x: Tensor) -> Any:
        return {"logits": [super().forward(x), None], "name": "nested", "none": None}


class WithStates(Net):
    """Feature maps beside the logits."""

    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x), "states": [self.features(x)]}


class WithoutGradient(Net):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Detached(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Cached(Net):
    """Keys and values beside the answer, as language models return them."""

    def forward(self, x: Tensor, *, use_cache: bool = True) -> Any:
        return {"logits": super().forward(x), "cache": Answer(x) if use_cache else None}


class ListOfImages(Net):
    def forward(self, images: list[Tensor]) -> Tensor:
        return super().forward(torch.stack(images))


class Slow(Net):
    """Takes seconds where gradients are asked for, as DepGraph does."""

    first_call = 0.0

    def forward(self, x: Tensor) -> Tensor:
        Slow.first_call = Slow.first_call or time.monotonic()
        while torch.is_grad_enabled() and time.monotonic() < Slow.first_call + 9:
            time.sleep(0.1)
        return super().forward(x)


class Outer(Net):
    """An operator that no counter of MACs has a rule for."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.features(x))
        return x + torch.outer(x.mean(1), x.mean(0))


class Flipped(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu().flip(1)
        return self.head(self.second(x).relu().mean((2, 3)))


def images() -> Tensor:
    return torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def by_name() -> dict[str, Any]:
    return {"x": images(), "use_cache": True}


def several() -> tuple[list[Tensor]]:
    return ([images()[0], images()[0]],)


def tensors(output: Any) -> Any:
    """What a user tells torch-pruning of such outputs."""
    if isinstance(output, Answer):
        return output.logits
    if isinstance(output, dict):
        logits = output["logits"]
        return logits[0] if isinstance(logits, list) else logits
    return output


def magnitude(model: Any, inputs: Any, ratio: float) -> Any:
    return tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio,
        global_pruning=True, ignored_layers=[model.head], output_transform=tensors,
        forward_fn=(lambda m, x: m(**x)) if isinstance(inputs, dict) else None,
        num_heads={}, out_channel_groups={}, in_channel_groups={},
    )  # fmt: skip


CASES: dict[str, tuple[type[nn.Module], Callable[[], Any], str]] = {
    "plain": (Net, images, "exact"),
    "flipped": (Flipped, images, "wrong"),
    "object": (AnObject, images, "exact"),
    "nested": (Nested, images, "exact"),
    "cached": (Cached, by_name, "exact"),
    "list": (ListOfImages, several, "exact"),
    "outer": (Outer, images, "exact"),
}


SILENT = {"without_gradient": WithoutGradient, "detached": Detached}
"""Networks that DepGraph cannot trace."""


def factory(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return kind()

    return make


# For the command line, which takes a factory by its name.
KINDS = {name: kind for name, (kind, _, _) in CASES.items()} | SILENT
KINDS |= {"states": WithStates, "slow": Slow}
globals().update({f"make_{name}": factory(kind) for name, kind in KINDS.items()})


def by_command(capsys: Any, name: str, inputs: str, *options: str) -> dict[str, Any]:
    main(
        ["verify", f"{__name__}:make_{name}", "--inputs", f"{__name__}:{inputs}",
         "--ratios", "0.5", "--budget", "60", "--json", "-", *options]
    )  # fmt: skip
    text = capsys.readouterr()
    assert text.out, text.err
    [run] = json.loads(text.out)["runs"]
    return run


def _removed(run: dict[str, Any]) -> dict[str, int]:
    return {each["root"]: each["removed"] for each in run["groups"] if each["removed"]}


@pytest.mark.parametrize("name", CASES)
def test_python_and_the_command_line_give_the_same_answer(name: str, capsys: Any) -> None:
    kind, given, verdict = CASES[name]
    model, inputs = factory(kind)().eval(), given()
    called = verify(model, inputs, magnitude(model, inputs, 0.5))
    removed = {each.root: each.removed for each in called.groups if each.removed}
    assert called.verdict == verdict
    for options in ((), ("--pruner", f"{__name__}:magnitude")):
        run = by_command(capsys, name, given.__name__, *options)
        assert run["verdict"] == called.verdict, run["reason"]
        assert _removed(run) == removed
        assert run["macs"]["before"] > 0


@pytest.mark.parametrize("name", SILENT)
def test_a_network_without_a_gradient_at_its_output_is_unprunable(name: str, capsys: Any) -> None:
    run = by_command(capsys, name, "images")
    assert run["verdict"] == "unprunable"
    assert "no output of the network has a gradient" in run["reason"]
    assert {check["message"] for check in run["checks"] if not check["passed"]} == {
        f"unprunable: {run['reason']}"
    }


def printed(capsys: Any, *options: str) -> dict[str, Any]:
    """What a command says of the network with feature maps beside its logits."""
    command, *others = options
    model = [f"{__name__}:make_states", "--inputs", f"{__name__}:images"]
    main([command, *model, "--json", "-", *others])
    text = capsys.readouterr()
    assert text.out, text.err
    found: dict[str, Any] = json.loads(text.out)
    return found


@pytest.mark.parametrize("outputs", [(), ("logits",)])
def test_which_outputs_count_makes_the_same_difference_in_python_and_in_the_command(
    outputs: tuple[str, ...], capsys: Any
) -> None:
    asked = ["--outputs", ",".join(outputs)] if outputs else []
    model, inputs = factory(WithStates)().eval(), images()
    held = {each.name: each.held for each in inspect_groups(model, inputs, outputs=outputs)}
    text = printed(capsys, "groups", *asked)
    assert held == {each["name"]: each["held"] for each in text["groups"]}
    assert held == {
        "first": "",
        "second": "" if outputs else "the model's output",
        "head": "the model's output",
    }
    forgotten = {
        finding.layer: finding.kind
        for finding in lint_ignored_layers(model, inputs, ["head"], outputs=outputs).findings
    }
    text = printed(capsys, "groups", "--lint", "--ignore", f"{__name__}:only_head", *asked)
    assert forgotten == {each["layer"]: each["kind"] for each in text["lint"]["findings"]}
    assert ("second" in forgotten) is not bool(outputs)


def only_head(model: nn.Module) -> list[nn.Module]:
    return [model.head]


@pytest.mark.parametrize(
    "function",
    [
        inspect_groups,
        lambda *given, **text: lint_ignored_layers(*given, ["head"], **text),
        count_macs,
        lambda *given, **text: ratio_curve(*given, [0.5], **text),
        lambda *given, **text: ratio_for_macs(*given, 0.5, **text),
        lambda *given, **text: ratio_for_params(*given, 0.5, **text),
    ],
    ids=["groups", "lint", "macs", "curve", "for macs", "for params"],
)
def test_missing_outputs_are_refused_by_every_function(function: Callable[..., Any]) -> None:
    model = factory(WithStates)()
    before = {*vars(model)}
    with pytest.raises(InputError, match=r"no output at 'cache'; expected.*`logits`"):
        function(model, images(), outputs=["cache"])
    with pytest.raises(InputError, match=r"expected a list of paths, such as \['logits'\]"):
        function(model, images(), outputs="logits")
    assert model.training
    assert {*vars(model)} == before
    function(model, images(), outputs=["logits"])
    assert {*vars(model)} == before


NOT_THERE: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "weights": ({"weights": "no.pt"}, ["--weights", "no.pt"], "weights 'no.pt': no such file"),
    "device": ({"device": "abacus"}, ["--device", "abacus"], "device 'abacus' cannot be used"),
    "inputs": (
        {"inputs": f"{__name__}:fails"},
        ["--inputs", f"{__name__}:fails"],
        f"inputs '{__name__}:fails' raised KeyError",
    ),
}
"""What cannot be used: as Python is given it, as the command line is, and what both say."""


def fails() -> Any:
    raise KeyError("images")


@pytest.mark.parametrize("name", NOT_THERE)
def test_a_refusal_names_the_option_of_python_or_of_the_command_line(
    name: str, capsys: Any
) -> None:
    in_python, options, said = NOT_THERE[name]
    plain = f"{__name__}:make_plain"
    request = Request(Network(plain, (3, 6, 6), **in_python), ratios=(0.5,))
    with pytest.raises(InputError) as refused:
        _ = Pruning(request, request.config(0.5)).run
    assert str(refused.value).startswith(said.replace(" ", "=", 1))
    size = () if "--inputs" in options else ("--input-size", "3,6,6")
    assert main(["verify", plain, *size, *options]) == 2
    assert f": --{said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "function",
    [
        lambda model: inspect_groups(model, images(), f"{__name__}:nowhere"),
        lambda model: inspect_groups(model, images(), "nowhere.py:policy"),
        lambda model: ratio_curve(model, images(), [2.0]),
        lambda model: ratio_curve(model, images(), [0.5], scope="all"),
        lambda model: ratio_curve(model, images(), [0.5], round_to=0),
        lambda model: ratio_for_macs(model, images(), 50),
    ],
)
def test_no_refusal_in_python_names_an_option_of_the_command_line(
    function: Callable[..., Any],
) -> None:
    with pytest.raises(InputError) as refused:
        function(Net())
    assert "--" not in str(refused.value)


def test_a_target_that_is_not_known_to_be_met_takes_a_line_and_a_line_of_reasons(
    capsys: Any,
) -> None:
    model = [f"{__name__}:make_flipped", "--input-size", "3,6,6", "--target", "0.5"]
    assert main(["macs", *model]) == 0
    first, why, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("no ratio is known to leave 50.0% of the MACs: the least that is known")
    assert "not known:" not in first
    assert why.startswith("what ratios from above 0 to 1 leave is not known: ")
    assert "`first`" in why
    assert any(line.startswith("the least that any ratio is known to leave") for line in others)
    found = ratio_for_macs(factory(Flipped)(), images(), 0.5)
    assert found.reason == f"{found.falls_short}; {found.gap}"


def test_an_answer_for_all_groups_is_printed_once_in_an_audit(capsys: Any) -> None:
    model = [f"{__name__}:make_detached", "--inputs", f"{__name__}:images"]
    assert main(["groups", *model, "--audit"]) == 1
    (text,) = [line for line in capsys.readouterr().out.splitlines() if "has a gradient" in line]
    assert text.startswith("groups first, second, head: cannot-be-cut: unprunable: ")


def test_an_audit_says_within_its_budget_that_depgraph_does_not_end(capsys: Any) -> None:
    model = [f"{__name__}:make_slow", "--inputs", f"{__name__}:images"]
    assert main(["groups", *model, "--audit", "--budget", "15", "--json", "-"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [each["audit"] for each in groups] == ["cannot-be-told"] * 3
    assert all(
        "no answer within 6 s while building the dependency graph" in each["why"] for each in groups
    )


class Failing(Net):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("it wants more than an image")


DOES_NOT_RUN = (
    "the model does not run on the example inputs: the model's own forward raised: ValueError: it "
    "wants more than an image (test_same_answers.py:"
)


@pytest.mark.parametrize(
    "function",
    [inspect_groups, count_macs, lambda *given: ratio_curve(*given, [0.5]),
     lambda *given: prune(*given, 0.5)],
)  # fmt: skip
def test_every_function_names_the_same_place_where_a_network_does_not_run(
    function: Callable[..., Any],
) -> None:
    with pytest.raises(InputError) as refused:
        function(Failing().eval(), images())
    kind, _, place = str(refused.value).partition(" (")
    assert DOES_NOT_RUN.startswith(kind)
    assert "test_same_answers.py:" in place
    assert "raise ValueError" in place


@pytest.mark.parametrize(
    "function",
    [lambda model: ratio_curve(model, images(), [0.5]),
     lambda model: ratio_for_macs(model, images(), 0.5),
     lambda model: prune(model, images(), 0.5)],
)  # fmt: skip
def test_weights_that_are_no_numbers_are_refused(function: Callable[..., Any]) -> None:
    model = Net().eval()
    with torch.no_grad():
        model.second.weight[2, 0] = torch.nan
    with pytest.raises(InputError, match="finite"):
        function(model)


class Sized(Net):
    """The second half of a view is written out, so that no cut network runs."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).view(len(x), 6))


make_sized = factory(Sized)


def test_a_ratio_that_leaves_no_network_is_a_line_beside_what_is_counted(capsys: Any) -> None:
    model = [f"{__name__}:make_sized", "--inputs", f"{__name__}:images"]
    assert main(["macs", *model, "--ratios", "0.5"]) == 1
    text = capsys.readouterr().out
    assert "| first  |" in text
    (line,) = [line for line in text.splitlines() if "not counted: " in line]
    assert line.startswith("ratio 0.5: not counted: broken: the model's own forward raised in view")
    assert main(["macs", *model, "--ratios", "0.5", "--json", "-"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["verdict"] == "broken"
    assert run["reason"] in line
    assert "macs" not in run


def keeps_first(model: Any, inputs: Any, ratio: float) -> Any:
    return tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio,
        ignored_layers=[model.first],
    )  # fmt: skip


def test_groups_with_a_pruner_marks_what_that_pruner_excludes(capsys: Any) -> None:
    model = [f"{__name__}:make_plain", "--inputs", f"{__name__}:images", "--json", "-"]
    excluded = {}
    for options in ((), ("--pruner", f"{__name__}:keeps_first")):
        assert main(["groups", *model, *options]) == 0
        found = json.loads(capsys.readouterr().out)["groups"]
        excluded[options[:1]] = [each["name"] for each in found if each["ignored"]]
    assert excluded == {(): ["head"], ("--pruner",): ["first"]}


class Labelling(Net):
    """Numbers of classes, of which a cut would make others."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).argmax(1)


def test_a_network_that_returns_class_indices_has_an_output_layer() -> None:
    groups = inspect_groups(factory(Labelling)(), images(), "classifier")
    assert {each.name: (each.held, each.ignored) for each in groups} == {
        "first": ("", False),
        "second": ("", False),
        "head": ("the model's output", True),
    }


class Emptied(nn.Module):
    """Somebody's pruning has left a layer without a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.none = nn.Linear(5, 8), nn.Linear(5, 0)
        self.second, self.head = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.first(x), self.none(x)], 1).relu()
        return self.head(self.second(x).relu())


make_emptied = factory(Emptied)


def vectors() -> Tensor:
    return torch.randn(2, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_without_channels_is_proved_around(capsys: Any) -> None:
    run = by_command(capsys, "emptied", "vectors", "--scope", "local")
    assert run["verdict"] == "exact"
    assert _removed(run) == {"first": 4, "second": 3}


def mistaken(model: Any, inputs: Any, ratio: float) -> Any:
    layer = model.head
    return tp.pruner.MagnitudePruner(
        model, inputs, importance=None, pruning_ratio_dict={layer.weight: ratio}
    )


def refusing(model: Any, inputs: Any, ratio: float) -> Any:
    for layer in model.children():
        assert layer is None
    raise NotImplementedError


@pytest.mark.parametrize(
    ("pruner", "reason"),
    [
        ("mistaken", "the pruner function raised AttributeError: 'Parameter' object has no "),
        ("refusing", "the pruner function raised AssertionError (unit/test_same_answers.py:"),
    ],
)
def test_a_mistake_in_a_pruner_function_is_not_laid_to_a_layer(
    pruner: str, reason: str, capsys: Any
) -> None:
    run = by_command(capsys, "plain", "images", "--pruner", f"{__name__}:{pruner}")
    assert run["verdict"] == "unprunable"
    assert run["reason"].startswith(reason)


class EndlessInDepGraph(Net):
    """It takes longer than the budget to build, and DepGraph does not come to an end with it."""

    def __init__(self) -> None:
        super().__init__()
        time.sleep(6)

    def forward(self, x: Tensor) -> Tensor:
        while any("torch_pruning" in frame.filename for frame in inspect.stack(0)):
            time.sleep(0.1)
        return super().forward(x)


make_endless = factory(EndlessInDepGraph)


def test_a_run_that_does_not_end_is_a_verdict_however_long_its_network_takes_to_build(
    capsys: Any,
) -> None:
    model = [f"{__name__}:make_endless", "--inputs", f"{__name__}:images"]
    assert main(["verify", *model, "--ratios", "0.5", "--budget", "5", "--json", "-"]) == 1
    told = json.loads(capsys.readouterr().out)
    (run,), (cured,) = told["runs"], told["cured"]
    assert run["verdict"] == "timeout"
    assert run["macs"]["before"] > 0
    # What asks nothing of DepGraph is not ended by it, and is the way on.
    assert cured["verdict"] == "exact"
    assert told["cure"].startswith("pruning-analysis prune ")


class EndlessToCount(Net):
    """No pass that notes its operators, of which MACs are counted, comes to an end with it."""

    def forward(self, x: Tensor) -> Tensor:
        while is_in_torch_dispatch_mode():
            time.sleep(0.1)
        return super().forward(x)


make_uncounted = factory(EndlessToCount)


def test_a_count_that_does_not_end_is_a_line(capsys: Any) -> None:
    model = [f"{__name__}:make_uncounted", "--inputs", f"{__name__}:images", "--ratios", "0.5"]
    assert main(["prune", *model, "--budget", "2", "--json", "-"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["verdict"] == "timeout"
    assert run["reason"].endswith("while following the channels")
    assert {run[each]["before"] for each in ("macs", "params", "bytes")} == {None}
    assert main(["prune", *model, "--budget", "2"]) == 1
    assert "while following the channels" in capsys.readouterr().out


def trained() -> nn.Module:
    """A function of the user's own, which may load what it likes."""
    model = factory(Net)()
    model.load_state_dict({name: each + 1 for name, each in model.state_dict().items()})
    return model


def test_weights_that_a_function_gives_are_said_to_be_as_built(capsys: Any) -> None:
    """Nobody can tell whether they are random; by their seed nobody can make them again."""
    inputs = ["--inputs", f"{__name__}:images", "--json", "-"]
    for command in ("groups", "macs"):
        assert main([command, f"{__name__}:trained", *inputs]) == 0
        told = json.loads(capsys.readouterr().out)["subject"]
        assert told["weights"] == "as built"
    assert main(["groups", "squeezenet1_1", "--input-size", "3,32,32", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["subject"]["weights"] == "random"


def all_of_them(model: nn.Module) -> list[nn.Module]:
    return [model.first, model.second, model.head]


def test_locked_macs_that_sum_to_more_than_there_are_say_so(capsys: Any) -> None:
    model = [f"{__name__}:make_plain", "--inputs", f"{__name__}:images"]
    main(["groups", *model, "--lint", "--ignore", f"{__name__}:all_of_them", "--json", "-"])
    locks = json.loads(capsys.readouterr().out)["lint"]["locks"]
    assert sum(lock["macs"] for lock in locks) > count_macs(factory(Net)(), images()).macs
    main(["groups", *model, "--lint", "--ignore", f"{__name__}:all_of_them"])
    assert "MACs that two groups lock together count for both" in capsys.readouterr().out


class Attention(Net):
    """What multiplies values of attention back is cut with it, and not by its own name."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def features(self, x: Tensor) -> Tensor:
        x = self.first(x).relu().flatten(2).transpose(1, 2)
        x = x + self.attend(x, x, x, need_weights=False)[0]
        return self.second(x.mean(1)[..., None, None]).relu().flatten(1)


def test_the_lint_accuses_no_part_of_attention_of_a_list_that_does_not_name_it() -> None:
    found = lint_ignored_layers(factory(Attention)(), images(), ["head"])
    assert found.passed
    assert {each.layer for each in found.findings if each.is_error} == set()


class AlwaysRaising(Net):
    """The model's own code raises, and no operator of PyTorch's."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if x.shape[1] != 8:
            raise RuntimeError("eight channels are expected")
        return self.head(self.second(x).mean((2, 3)))


make_raising = factory(AlwaysRaising)


def test_an_error_of_your_own_code_is_reported_with_its_line_and_no_tensors(capsys: Any) -> None:
    run = by_command(capsys, "raising", "images", "--ignore", "none")
    assert run["verdict"] == "broken"
    assert "raised: RuntimeError: eight channels are expected (" in run["reason"]
    assert "test_same_answers.py:" in run["reason"]
    assert "on no tensors" not in run["reason"]
