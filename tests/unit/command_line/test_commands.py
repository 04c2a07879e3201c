"""The commands as a user meets them: what is printed, what is returned, what is refused."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from drawn import part
from nets import Chain, make
from safetensors.torch import save_model

from analysis.checks import CATALOGUE, OF_PRUNING
from analysis.command_line.main import main
from analysis.network import subjects

MODELS = """
import torch, torch_pruning as tp
from nets import Chain, FixedBuffer, Flipped, Named, Residual

chain, flipped, named, residual, buffered = Chain, Flipped, Named, Residual, FixedBuffer
number = 3

def needs(argument): ...
def fails(): raise ValueError("no\\ndata")
def leaves(): raise SystemExit(3)
def nothing(): return None
def inputs(): return {"image": torch.randn(1, 3, 6, 6), "vector": torch.randn(1, 5)}
def flat_inputs(): return {"image": torch.randn(1, 4, 6, 6), "vector": torch.randn(1, 5)}
def no_policy(model): ...
def failing_policy(model): raise KeyError("layer")
def noisy():
    print("hello")
    return Chain()

class Endless(Chain):
    def forward(self, x):
        while self.first.out_channels < 4: pass
        return super().forward(x)

def frozen(): return Chain().requires_grad_(False)

def typed(model): return [torch.nn.Linear, model.first]

class Neighbours(Chain):
    def forward(self, x):
        x = torch.nn.functional.local_response_norm(self.first(x), 3)
        return self.head(self.second(x).mean((2, 3)))

neighbours = Neighbours

def spare():
    model = Chain()
    model.unused = torch.nn.Conv2d(4, 4, 1)
    return model

def keep_stem(model): return ["block.project", model.head]

def keep_second(model): return [model.second, model.head]

def pruner(model, inputs, ratio):
    return tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.RandomImportance(), pruning_ratio=ratio,
        ignored_layers=[model.head],
    )

def stepwise(model, inputs, ratio):
    return tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio,
        ignored_layers=[model.head], iterative_steps=3,
    )

def foreign(model, inputs, ratio): return pruner(Chain(), inputs, ratio)
def trained(model, inputs, ratio):
    def train(model):
        with torch.no_grad():
            model.head.weight.mul_(2)
    return stepwise(model, inputs, ratio), train
def no_pruner(model, inputs, ratio): return "pruned"
def failing_pruner(model, inputs, ratio): raise RuntimeError("not today")
"""


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "imports.py").write_text("from torch.nn import Linear\nonly = Linear\n")
    (tmp_path / "broken.py").write_text("def factory(:\n")
    (tmp_path / "corrupt.safetensors").write_text("no tensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("models", None)


def run(*arguments: str) -> int:
    return main([*arguments])


SMALL = ("--input-size", "3,6,6")


def test_verify_prints_the_json_of_the_contract_and_nothing_else(capsys) -> None:
    ratios = ("--ratios", "0.3,0.5")
    assert run("verify", "models.py:chain", *SMALL, *ratios, "--scope", "local", "--json", "-") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == 1
    assert {"torch", "torch-pruning"} <= data["versions"].keys()
    assert data["subject"] == {
        "name": "models.py:chain", "input_size": [3, 6, 6], "weights": "as built", "seed": 0,
    }  # fmt: skip
    assert [entry["ratio"] for entry in data["runs"]] == [0.3, 0.5]
    half = data["runs"][1]
    assert (half["scope"], half["importance"], half["ignore"]) == ("local", "l1", "classifier")
    assert (half["verdict"], half["reason"], half["first_divergence"]) == ("exact", "", None)
    assert half["max_rel_error"] < 1e-9
    # 4 - int(4 * 0.5) = 2 and 5 - int(5 * 0.5) = 3.
    assert half["channels"] == {"prunable": 9, "requested": 5, "removed": 5}
    assert half["groups"] == [
        {"root": "first", "width": 4, "requested": 2, "removed": 2, "left": 2, "reason": "pruned",
         "scope": "first"},
        {"root": "second", "width": 5, "requested": 3, "removed": 3, "left": 2, "reason": "pruned",
         "scope": "second"},
        {"root": "head", "width": 2, "requested": 0, "removed": 0, "left": 2, "reason": "ignored",
         "scope": ""},
    ]  # fmt: skip
    # first 3*4*9, norm 8, second 4*5+5, head 5*2+2; then 3*2*9, 4, 2*2+2, 2*2+2.
    assert half["params"] == {"before": 153, "after": 70, "requested": 70}
    assert half["macs"]["after"] == 54 * 36 + 2 * 2 * 36 + 4 * 36 + 4
    assert all(check["passed"] for check in half["checks"])


def test_a_wrong_network_exits_1_and_names_the_layer(capsys) -> None:
    assert run("verify", "models:flipped", *SMALL, "--ratios", "0.5", "--scope", "local") == 1
    assert "`second` is the first to differ" in capsys.readouterr().out


def test_a_wrong_pruning_is_followed_by_the_same_pruning_by_groups(capsys) -> None:
    asked = ("models:flipped", *SMALL, "--ratios", "0,0.5", "--scope", "local")
    assert run("verify", *asked, "--json", "-") == 1
    data = json.loads(capsys.readouterr().out)
    (wrong,) = (entry for entry in data["runs"] if entry["verdict"] == "wrong")
    (cured,) = data["cured"]
    assert (cured["ratio"], cured["scope"], cured["verdict"]) == (0.5, "local", "exact")
    assert cured["params"]["after"] == wrong["params"]["after"]
    own = shlex.split(data["cure"])
    assert own[:2] == ["pruning-analysis", "prune"]
    assert run(*own[1:], "--json", "-") == 0
    kept = [entry["kept"] for entry in json.loads(capsys.readouterr().out)["runs"]]
    assert cured["kept"] in kept
    assert run("verify", "models:chain", *SMALL, "--ratios", "0.5", "--json", "-") == 0
    assert "cured" not in json.loads(capsys.readouterr().out)


def test_ratios_may_be_a_range_with_its_end(capsys) -> None:
    assert run("verify", "models:chain", *SMALL, "--ratios", "0:0.3:0.1", "--json", "-") == 0
    ratios = [entry["ratio"] for entry in json.loads(capsys.readouterr().out)["runs"]]
    assert ratios == [0.0, 0.1, 0.2, 0.3]


def test_groups_lists_what_a_policy_holds(capsys) -> None:
    options = ("--ignore", "models:keep_second", "--json", "-")
    assert run("groups", "models:chain", *SMALL, *options) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [(group["name"], group["ignored"]) for group in groups] == [
        ("first", False), ("second", True), ("head", True),
    ]  # fmt: skip


def test_the_json_of_groups_holds_every_map(capsys) -> None:
    assert run("groups", "models:chain", *SMALL, "--json", "-") == 0
    data = json.loads(capsys.readouterr().out)
    first, second, head = data["groups"]
    assert "lint" not in data
    assert "why" not in data
    assert not {"audit", "why", "misread"} & first.keys()
    assert (first["name"], first["width"], first["layers"]) == ("first", 4, ["first", "norm"])
    assert first["together"] == [[0], [1], [2], [3]]
    assert {(each["tensor"], each["dim"], each["axis"]) for each in first["members"]} == {
        ("first.weight", 0, "out"), ("second.weight", 1, "in"),
        *((f"norm.{name}", 0, "out") for name in ("weight", "bias", "running_mean", "running_var")),
    }  # fmt: skip
    assert all(each["positions"] == [[0], [1], [2], [3]] for each in first["members"])
    assert {each["why"] for each in first["couplings"]} == {"sequence", "normalisation"}
    assert all(each["line"].startswith("nets.py:") for each in first["couplings"])
    # Without the five channels of `second`: 4*5 and 5*2 weights, and 5 values.
    assert (second["params"], second["macs"]) == (20 + 5 + 10, 4 * 5 * 36 + 10)
    assert (head["together"], head["held"], head["is_output"]) == ([], "the model's output", True)


def test_an_audit_names_the_group_that_would_be_cut_wrongly(capsys) -> None:
    assert run("groups", "models.py:flipped", *SMALL, "--audit", "--json", "-") == 1
    first, *others = json.loads(capsys.readouterr().out)["groups"]
    assert first["audit"] == "misread"
    assert "computes another function" in first["why"]
    (entry,) = first["misread"]
    assert (entry["layer"], entry["places"]) == ("second", [0, 1, 2, 3])
    assert (entry["believed"], entry["found"]) == ([0, 1, 2, 3], [3, 2, 1, 0])
    assert all((each["audit"], each["misread"]) == ("same", []) for each in others)
    assert run("groups", "models.py:flipped", *SMALL, "--audit") == 1
    output = capsys.readouterr().out
    assert "group first: misread: runs with the right output shape" in output
    assert (
        "4 positions of second: position 0 is taken for channel 0 and carries channel 3" in output
    )
    assert output.endswith("audit: 1 misread, 2 same\n")
    assert run("groups", "models.py:chain", *SMALL, "--audit") == 0
    assert capsys.readouterr().out.endswith("audit: 3 same\n")


def test_an_audit_fails_on_a_cut_that_raises_and_passes_on_an_unknown_one(capsys) -> None:
    assert run("groups", "models.py:buffered", *SMALL, "--audit") == 1
    output = capsys.readouterr().out
    assert "group first: cannot-be-cut: broken: the model's own forward raised in mul" in output
    assert output.endswith("audit: 1 cannot-be-cut, 2 same\n")
    assert run("groups", "models.py:neighbours", *SMALL, "--audit") == 0
    assert "group first: cannot-be-told: mixed: " in capsys.readouterr().out


def test_the_table_of_groups_says_why_and_lists_members_on_request(capsys) -> None:
    assert run("groups", "models:residual", *SMALL) == 0
    brief = capsys.readouterr().out
    (stem,) = (line for line in brief.splitlines() if line.startswith("| stem "))
    cells = [cell.strip() for cell in stem.strip("|").split("|")]
    assert cells[:5] == ["stem", "4", "any one", "5", "addition"]
    assert "block.project_norm" not in brief
    assert brief.endswith("3 groups, 1 excluded\n")
    assert run("groups", "models:residual", *SMALL, "--members") == 0
    full = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in full.splitlines()]
    found = {tuple(row) for row in rows if len(row) == 7}
    assert ("stem", "block.project_norm", "BatchNorm2d", "out", "4",
            "block.project_norm.running_var", "0") in found  # fmt: skip
    assert ("block.expand", "block.depthwise", "depthwise Conv2d", "out", "8",
            "block.depthwise.weight", "0") in found  # fmt: skip
    assert {line for line in brief.splitlines() if line} <= set(full.splitlines())


def test_the_reason_that_excludes_a_group_names_the_line(capsys) -> None:
    assert run("groups", "models:neighbours", *SMALL) == 0
    output = capsys.readouterr().out
    (held,) = (line for line in output.splitlines() if "no channel can be removed" in line)
    assert held.startswith("group first: no channel can be removed: ")
    assert "models.py:" in held


WHY = {
    "stem": [
        "`stem` has the 4 channels of group `stem`", "addition: two tensors are added in `block`",
        "removed together: any one",
    ],
    "block.norm": ["`block.norm` has the 8 channels of group `block.expand`", "depthwise: "],
    "block.project": [
        "`block.project` has the 4 channels of group `stem`",
        "`block.project` reads the 8 channels of group `block.expand`",
    ],
    "stem.bias": ["`stem.bias` has the 4 channels of group `stem`"],
    "block": ["`block` (Block) has no channels of its own: those of `stem`, `block.expand` pass"],
    "": ["the model itself (Residual) has no channels of its own: those of `stem`"],
    "head": [
        "`head` reads the 4 channels of group `stem`",
        "no channel can be removed: the model's output",
    ],
}  # fmt: skip


@pytest.mark.parametrize("layer", WHY)
def test_why_answers_for_any_layer(layer: str, capsys) -> None:
    assert run("groups", "models:residual", *SMALL, "--why", layer) == 0
    output = capsys.readouterr().out
    assert [words for words in WHY[layer] if words not in output] == []
    assert "excluded" not in output  # the table is not what was asked for
    assert run("groups", "models:residual", *SMALL, "--why", layer, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["why"] == output.rstrip("\n")


def test_why_answers_for_a_layer_that_no_channel_reaches(capsys) -> None:
    assert run("groups", "models:spare", *SMALL, "--why", "unused") == 0
    assert "`unused` (Conv2d) is in no group: it is never called" in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--lint",)])
def test_groups_and_the_lint_list_what_is_in_no_group(more: tuple[str, ...], capsys) -> None:
    run("groups", "models:spare", *SMALL, *more)
    assert "in no group: unused (Conv2d): it is never called" in capsys.readouterr().out
    run("groups", "models:spare", *SMALL, *more, "--json", "-")
    (spare,) = json.loads(capsys.readouterr().out)["outside"]
    assert (spare["layer"], spare["kind"]) == ("unused", "Conv2d")


def test_why_refuses_a_name_that_is_none_with_the_closest(capsys) -> None:
    assert run("groups", "models:residual", *SMALL, "--why", "block.nrom") == 2
    output = capsys.readouterr().err
    assert "no layer 'block.nrom'" in output
    assert "block.norm" in output
    assert output.count("\n") == 1


EDGE = re.compile(r'^  ("(?:[^"\\\\]|\\\\.)*"|\w+) -> ("(?:[^"\\\\]|\\\\.)*"|\w+);$')
NODE = re.compile(r'^  ("(?:[^"\\\\]|\\\\.)*"|\w+) \[(.*)\];$')


def graph_of(text: str) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """The nodes of a graph with their attributes, and its edges."""
    first, *lines, last = text.splitlines()
    assert (first, last) == ("digraph groups {", "}")
    nodes, edges = {}, set()
    for line in lines:
        if edge := EDGE.match(line):
            edges.add(tuple(name.strip('"') for name in edge.groups()))
        elif node := NODE.match(line):
            nodes[node[1].strip('"')] = node[2]
        else:
            assert line == "  rankdir=LR;"
    return nodes, edges


def test_the_graph_is_that_of_the_groups(capsys, tmp_path) -> None:
    options = ("--ignore", "models:keep_stem", "--dot", "out/groups.dot", "--json", "-")
    assert run("groups", "models:residual", *SMALL, *options) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    nodes, edges = graph_of((tmp_path / "out/groups.dot").read_text())
    nodes.pop("node")
    expected = set()
    for place, group in enumerate(groups):
        for each in group["members"]:
            ends = (each["layer"], f"g{place}")
            expected.add(ends if each["axis"] == "out" else ends[::-1])
    assert edges == expected
    assert set(nodes) == {name for edge in edges for name in edge}
    assert [place for place in range(3) if "dashed" in nodes[f"g{place}"]] == [0, 2]
    assert 'label="8 channels\\nany one"' in nodes["g1"]
    assert "the model's output" in nodes["g2"]


@pytest.mark.parametrize("path", ["", "folder/"])
def test_a_graph_that_cannot_be_written_is_refused_first(path: str, capsys, tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    assert run("groups", "models:residual", *SMALL, "--dot", path or "folder") == 2
    assert capsys.readouterr().err.count("\n") == 1


TORCHLESS_OF_PRUNING = """
import sys
from analysis.command_line import jobs
from analysis.records import Network, Request
request = Request(Network("nets:Residual", input_size=(3, 6, 6)), ignore="skip-channels")
jobs.prepare(request)
for name, more in ("groups", ()), ("lint", ()), ("why", ("stem",)), ("audit", (60.0,)):
    assert getattr(jobs, name)(request, *more)
    print(name, any(name.partition(".")[0] == "torch_pruning" for name in sys.modules))
"""


def test_groups_lint_and_why_do_not_import_torch_pruning() -> None:
    """It takes longer to load than torch."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TORCHLESS_OF_PRUNING],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["groups False", "lint False", "why False", "audit True"]


def test_a_run_that_does_not_end_is_a_timeout_and_the_others_are_answered(capsys) -> None:
    ratios = ("--ratios", "0.5,0", "--scope", "local", "--budget", "15")
    assert run("verify", "models.py:Endless", *SMALL, *ratios, "--json", "-") == 1
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [entry["verdict"] for entry in runs] == ["timeout", "exact"]
    assert runs[0]["reason"] == "no answer within 15 s while proving"
    before = runs[1]["params"]["before"]
    assert runs[0]["params"] == {"before": before, "after": None, "requested": None}
    assert not runs[0]["checks"][0]["passed"]


def test_macs_prints_rows_that_sum_to_the_total(capsys) -> None:
    assert run("macs", "models:chain", *SMALL, "--ratios", "0.5", "--json", "-") == 0
    data = json.loads(capsys.readouterr().out)
    for table in (data["dense"], *data["runs"]):
        assert sum(row["macs"] for row in table["layers"]) == table["macs"]
        assert sum(row["params"] for row in table["layers"]) == table["params"]


def test_inputs_by_name_and_the_users_own_pruner_are_taken(capsys) -> None:
    named = ("verify", "models:named", "--inputs", "models:inputs", "--ratios", "0.5")
    assert run(*named, "--json", "-") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["subject"]["input_size"] is None
    own = ("--pruner", "models:pruner", "--ratios", "0.5", "--json", "-")
    assert run("verify", "models:chain", *SMALL, *own) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    # 4 - int(4 * 0.5) = 2 and 5 - int(5 * 0.5) = 3, however it ranks.
    assert [group["requested"] for group in runs[0]["groups"]] == [2, 3, 0]
    assert runs[0]["channels"]["removed"] == 5
    assert runs[0]["macs"]["requested"] == runs[0]["macs"]["after"]


def test_every_check_holds_for_a_pruner_of_several_steps(capsys) -> None:
    own = ("--pruner", "models:stepwise", "--ratios", "0.6", "--min-channels", "1", "--json", "-")
    assert run("verify", "models:chain", *SMALL, *own) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    # 4 - int(4 * 0.4) = 3 and 5 - int(5 * 0.4) = 3 in the end.
    assert entry["channels"] == {"prunable": 9, "requested": 6, "removed": 6}


def test_the_catalogue_lists_itself(capsys) -> None:
    assert run("checks", "--json", "-") == 0
    listed = json.loads(capsys.readouterr().out)["checks"]
    assert [check["name"] for check in listed] == list(CATALOGUE)
    assert [check["name"] for check in listed if check["of_pruning"]] == list(OF_PRUNING)
    for check in listed:
        assert check["meaning"].endswith(".")
    assert run("checks") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CATALOGUE) + 3


def test_checks_are_chosen_by_name(capsys) -> None:
    arguments = ("verify", "models:chain", *SMALL, "--ratios", "0.3", "--json", "-")
    for names, expected in (
        ((), OF_PRUNING),
        (("--checks", "survives_pickling, ratio_met"), ("survives_pickling", "ratio_met")),
        (("--checks", "all"), tuple(CATALOGUE)),
    ):
        assert run(*arguments, *names) == 0
        (entry,) = json.loads(capsys.readouterr().out)["runs"]
        assert tuple(check["name"] for check in entry["checks"]) == expected
        assert all(check["passed"] for check in entry["checks"])


def test_a_pruner_function_may_train_between_its_steps(capsys) -> None:
    own = ("--pruner", "models:trained", "--ratios", "0.6", "--min-channels", "1")
    assert run("verify", "models:chain", *SMALL, *own) == 0
    output = capsys.readouterr().out
    assert "skipped kept_weights_are_originals: the network was trained between the steps" in output
    assert "| exact " in output


@pytest.fixture
def heard():
    """What runs in the background of a script, as CI may, hears no Ctrl-C, nor do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("command", "seconds"),
    # While torch is imported, and at work.
    [(command, seconds) for seconds in (1, 6) for command in part(["verify", "report"], seconds)],
)
def test_ctrl_c_ends_a_command_with_130_and_nothing_half_written(
    command: str, seconds: int, tmp_path
) -> None:
    arguments = {
        "verify": ["models.py:Endless", *SMALL, "--json", "out/x.json", "--ratios", "0.5"],
        "report": ["models.py:chain", *SMALL, "--out", "out", "--ratios", "0.001:0.9:0.001"],
    }[command]
    process = subprocess.Popen(
        [sys.executable, "-m", "analysis", command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "NO_COLOR": "1"},
    )
    time.sleep(seconds)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes hear it
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (out, err) == ("", "interrupted; nothing was written\n")
    assert [path for path in tmp_path.glob("out/*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_and_what_works_for_it(name: str, tmp_path) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"no {name} on this platform")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "analysis",
            "verify",
            "models.py:Endless",
            *SMALL,
            "--ratios",
            "0.5",
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)},
    )
    time.sleep(6)
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == "terminated; nothing was written\n"
    assert process.returncode == 128 + number
    assert list(tmp_path.glob("pruning-analysis-*")) == []
    left = True
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)  # whoever is left in its session
        except ProcessLookupError:
            left = False
            break
        time.sleep(0.1)
    assert not left


def test_what_the_users_code_prints_does_not_mix_with_the_json(capsys) -> None:
    assert run("groups", "models:noisy", *SMALL, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


def test_weights_are_read_from_a_state_dict(capsys) -> None:
    model = make(Chain, seed=7)
    with torch.no_grad():
        model.first.weight[:] = torch.arange(1.0, 5.0).view(4, 1, 1, 1)
    torch.save(model.state_dict(), "chain.pt")
    assert run("verify", "models:chain", *SMALL, "--weights", "chain.pt", "--ratios", "0.5") == 0


def test_json_goes_to_a_file_whole(capsys, tmp_path) -> None:
    assert run("groups", "models:chain", *SMALL, "--json", "out/groups.json") == 0
    assert json.loads((tmp_path / "out/groups.json").read_text())["schema"] == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["groups.json"]


def test_a_failing_pruner_is_a_verdict(capsys) -> None:
    options = ("--ratios", "0.5", "--pruner", "models:failing_pruner", "--json", "-")
    assert run("verify", "models:chain", *SMALL, *options) == 1
    entry = json.loads(capsys.readouterr().out)["runs"][0]
    assert entry["verdict"] == "unprunable"
    told = (
        r"the pruner function raised RuntimeError: not today \(.*models\.py:\d+: def failing_.*\)"
    )
    assert re.fullmatch(told, entry["reason"])
    assert entry["macs"]["after"] is None


IN_RANGE = "numbers in [0, 1), at most 1000"

BAD = {
    "unknown model": (("verify", "mobilenet_v22"), "did you mean 'mobilenet_v2'?"),
    "unknown module": (("verify", "nowhere:f"), "cannot import 'nowhere'"),
    "unknown file": (("verify", "nowhere.py:f"), "no file 'nowhere.py'"),
    "unknown attribute": (("verify", "models.py:f"), "has no 'f'"),
    "syntax error": (("verify", "broken.py:factory"), "SyntaxError"),
    "not callable": (("verify", "models.py:number"), "is of type int; expected something to call"),
    "factory with arguments": (("verify", "models.py:needs"), "takes no argument"),
    "factory that raises": (("verify", "models.py:fails"), "raised ValueError: no data"),
    "factory without module": (("verify", "models.py:nothing"), "returned a NoneType"),
    "refused size": (("verify", "models:chain", "--input-size", "1,6,6"), "--input-size"),
    "not a size": (("verify", "models:chain", "--input-size", "3x6"), "'3x6' is not a size"),
    "unknown policy": (("verify", "models:chain", *SMALL, "--ignore", "half"), "unknown policy"),
    "unknown importance": (("verify", "models:chain", "--importance", "l3"), "choice: 'l3'"),
    "unknown scope": (("verify", "models:chain", "--scope", "some"), "invalid choice: 'some'"),
    "ratio of one": (("verify", "models:chain", "--ratios", "0.5,1"), IN_RANGE),
    "negative ratio": (("verify", "models:chain", "--ratios=-0.1"), IN_RANGE),
    "no ratio": (("verify", "models:chain", "--ratios", ""), IN_RANGE),
    "ratio not a number": (("verify", "models:chain", "--ratios", "nan"), IN_RANGE),
    "endless": (("verify", "models:chain", "--ratios", "0:inf:0.1"), IN_RANGE),
    "failing inputs": (("verify", "models:chain", "--inputs", "models:fails"), "raised ValueError"),
    "failing policy": (
        ("verify", "models:chain", *SMALL, "--ignore", "models:failing_policy"),
        "the policy function raised KeyError",
    ),
    "fine range": (("verify", "models:chain", "--ratios", "0.1:0.2:1e-9"), IN_RANGE),
    "seed out of range": (("verify", "models:chain", "--seed", "9" * 30), "2**63"),
    "empty json": (("verify", "models:chain", "--json", ""), "it is a folder"),
    "factory that exits": (("verify", "models:leaves"), "raised SystemExit"),
    "no inputs": (("verify", "models:chain", "--inputs", "models:nothing"), "returned None"),
    "size beyond memory": (
        ("verify", "models:chain", "--input-size", "3,99999999,99999999"), "--input-size",
    ),
    "endless range": (("verify", "models:chain", "--ratios", "0:0.5:0"), "not positive"),
    "round to nothing": (("verify", "models:chain", "--round-to", "0"), "at least 1"),
    "cap of nothing": (("verify", "models:chain", "--max-pruning-ratio", "0"), "in (0, 1]"),
    "no budget": (("verify", "models:chain", "--budget", "-1"), "positive number of seconds"),
    "unknown device": (("verify", "models:chain", *SMALL, "--device", "abacus"), "--device"),
    "missing weights": (("verify", "models:chain", "--weights", "no.pt"), "no such file"),
    "corrupt weights": (("verify", "models:chain", "--weights", "models.py"), "cannot be read"),
    "corrupt safetensors": (
        ("verify", "models:chain", "--weights", "corrupt.safetensors"), "cannot be read",
    ),
    "unknown check": (
        ("verify", "models:chain", *SMALL, "--checks", "forward_run"),
        "unknown check 'forward_run'; did you mean 'forward_runs'?",
    ),
    "no check": (("verify", "models:chain", *SMALL, "--checks", ","), "no check was named"),
    "no function": (("verify", "models.py"), "say which function, as in models.py:function"),
    "close attribute": (("verify", "models.py:chian"), "did you mean 'chain'?"),
    "close policy": (
        ("verify", "models:chain", *SMALL, "--ignore", "skip-chanels"), "mean 'skip-channels'?",
    ),
    "policy of nothing": (
        ("verify", "models:chain", *SMALL, "--ignore", "models:no_policy"),
        "the policy function returned a NoneType; expected a list",
    ),
    "refused inputs": (
        ("verify", "models:named", "--inputs", "models:flat_inputs"),
        "does not run on (image=a tensor of shape (1, 4, 6, 6), vector=a tensor of shape (1, 5)): "
        "`image` raised in conv2d",
    ),
    "foreign pruner": (
        ("verify", "models:chain", *SMALL, "--pruner", "models:foreign"),
        "the pruner was built on another Chain",
    ),
    "weights of nobody": (("verify", "models:chain", "--weights", "default"), "publishes none"),
    "no pruner": (
        ("verify", "models:chain", *SMALL, "--pruner", "models:no_pruner"), "the pruner is a str",
    ),
    "unwritable json": (("verify", "models:chain", "--json", "/proc/no/x.json"), "cannot write"),
    "json is a folder": (("verify", "models:chain", "--json", "."), "it is a folder"),
    "unwritable report": (("report", "--out", "/proc/no"), "cannot write"),
    "two sizes": (
        ("verify", "models:named", *SMALL, "--inputs", "models:inputs"), "leave out --input-size",
    ),
    "policy beside a pruner": (
        ("verify", "models:chain", *SMALL, "--pruner", "models:pruner", "--ignore", "none"),
        "leave out --ignore",
    ),
    "name that is imported": (
        ("verify", "imports.py:nope"), "imports.py has no 'nope'; it defines only\n",
    ),
    "no model": (("verify",), "required: MODEL"),
    "no command": ((), "required: COMMAND"),
    "unknown command": (("trim",), "invalid choice: 'trim'"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_exits_2_with_one_clear_line(arguments, message, capsys) -> None:
    try:
        status = main(list(arguments))
    except SystemExit as usage:
        status = usage.code
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_weights_of_another_network_are_refused(capsys) -> None:
    torch.save({"other": torch.ones(1)}, "other.pt")
    assert run("verify", "models:chain", *SMALL, "--weights", "other.pt") == 2
    assert "does not fit 'models:chain'" in capsys.readouterr().err


def test_weights_are_read_from_a_safetensors_file(capsys) -> None:
    model = make(Chain, seed=7)
    save_model(model, "chain.safetensors")
    arguments = ("verify", "models:chain", *SMALL, "--scope", "local", "--ratios", "0.5")
    assert run(*arguments, "--weights", "chain.safetensors", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["subject"]["weights"] == "chain.safetensors"
    torch.save(model.state_dict(), "chain.pt")
    loaded = subjects.build(subjects.resolve("models:chain"), "chain.safetensors")
    same = subjects.build(subjects.resolve("models:chain"), "chain.pt", seed=3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert torch.equal(same.state_dict()[name], tensor)


def test_a_file_of_a_whole_module_is_refused_with_the_reason(capsys) -> None:
    torch.save(make(Chain), "whole.pt")
    assert run("verify", "models:chain", *SMALL, "--weights", "whole.pt") == 2
    output = capsys.readouterr().err
    assert "'whole.pt' is refused: it is a pickle that calls nets.Chain when it is loaded" in output
    assert "expected weights alone" in output


def test_an_untrusted_pickle_is_not_executed(capsys, tmp_path) -> None:
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harmed"), "w"))

    torch.save(Harm(), "harm.pt")
    assert run("verify", "models:chain", *SMALL, "--weights", "harm.pt") == 2
    assert not (tmp_path / "harmed").exists()


def test_the_module_runs_as_a_command_without_a_progress_bar_in_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "verify", "models.py:chain", *SMALL, "--ratios", "0.5"],
        capture_output=True,
        text=True,
        check=False,
        env={**__import__("os").environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "exact" in done.stdout


def test_macs_prints_columns_calls_and_shapes(capsys) -> None:
    assert run("macs", "models:chain", *SMALL, "--json", "-") == 0
    dense = json.loads(capsys.readouterr().out)["dense"]
    rows = {row["layer"]: row for row in dense["layers"]}
    assert rows["norm"]["columns"]["normalization"] == rows["norm"]["macs"] == 2 * 4 * 36
    assert (rows["second"]["output_shape"], rows["second"]["calls"]) == ([1, 5, 6, 6], 1)
    assert sum(dense["columns"].values()) == dense["macs"]


def test_macs_finds_the_ratio_for_a_target(capsys) -> None:
    arguments = ("macs", "models:chain", *SMALL, "--scope", "local", "--target", "0.5")
    assert run(*arguments, "--json", "-") == 0
    target = json.loads(capsys.readouterr().out)["target"]
    # Channels left when a local ratio r goes: 4 and 5 less n - int(n (1 - r)). With half of the
    # first (r = 0.5: 2 and 2 are left) 54 x 36 + ... MACs are left; one step less is too many.
    dense = 4 * 27 * 36 + 2 * 4 * 36 + 4 * 5 * 36 + 5 * 2
    left = {
        ratio: a * 27 * 36 + 2 * a * 36 + a * b * 36 + b * 2
        for ratio, a, b in ((0.0, 4, 5), (0.1, 3, 4), (0.21, 3, 3), (0.3, 2, 3), (0.41, 2, 2))
    }
    first = min(ratio for ratio, macs in left.items() if macs <= 0.5 * dense)
    assert target["point"]["macs"] == left[first]
    assert target["reason"] == ""
    saved = sum(group["macs"] for group in target["savings"]["groups"])
    assert saved == pytest.approx(dense - left[first])

    assert run(*arguments) == 0
    out = capsys.readouterr().out
    assert "is the smallest that leaves at most 50.0% of the MACs" in out
    assert "saving by group:" in out


def test_verify_seeks_the_ratio_of_its_targets_and_gates_ratios_by_them(capsys) -> None:
    assert run("verify", "models:chain", *SMALL, "--target", "macs=0.6", "--json", "-") == 0
    (sought,) = json.loads(capsys.readouterr().out)["runs"]
    assert run("macs", "models:chain", *SMALL, "--target", "0.6", "--json", "-") == 0
    reach = json.loads(capsys.readouterr().out)["target"]
    assert sought["ratio"] == reach["ratio"]
    assert sought["macs"]["after"] == reach["point"]["macs"]
    both = ("--ratios", "0.3,0.5", "--target", "macs=0.6", "--fold-bn")
    assert run("verify", "models:chain", *SMALL, *both) == 1
    out = capsys.readouterr().out
    assert "at most 60.0% of the MACs, MACs and parameters with batch norms folded" in out
    assert "ratio 0.3: meets_target: at most 60.0% of the MACs are to be left, and" in out
    assert "ratio 0.5: meets_target" not in out


def test_macs_says_why_no_ratio_reaches_a_target(capsys) -> None:
    arguments = ("macs", "models:chain", *SMALL, "--ignore", "models:keep_second", "--target")
    assert run(*arguments, "0.01") == 0
    out = capsys.readouterr().out
    assert "no ratio leaves 1.0% of the MACs: the least is" in out
    assert "ignored: 5 of 5 channels of `second` stay" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "0"), "expected the share that may stay, in (0, 1], or a number"),
        (("--target", "1.2"), "expected the share that may stay, in (0, 1], or a number"),
        (("--target", "half"), "expected the share that may stay or a number, as macs=0.45"),
        (("--target", "0.5", "--pruner", "models:pruner"), "leave out --pruner"),
    ],
)
def test_a_target_that_cannot_be_asked_is_refused_in_one_line(arguments, message, capsys) -> None:
    try:
        status = run("macs", "models:chain", *SMALL, *arguments)
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_the_lint_of_ignored_layers_names_types_and_forgotten_outputs(capsys) -> None:
    options = (*SMALL, "--ignore", "models:typed", "--lint")
    assert run("groups", "models:chain", *options, "--json", "-") == 1
    lint = json.loads(capsys.readouterr().out)["lint"]
    kinds = {(found["kind"], found["layer"], found["is_error"]) for found in lint["findings"]}
    assert kinds >= {("type", "Linear", True), ("forgotten-output", "head", True)}
    (lock,) = lint["locks"]
    assert run("groups", "models:chain", *SMALL, "--ignore", "first,head", "--lint") == 0
    assert "count for both" in capsys.readouterr().out
    # Without the four channels of `first`: 3*4*9 + 2*4 + 4*5 of 153 parameters are gone.
    assert (lock["root"], lock["params"], lock["needed"]) == ("first", 108 + 8 + 20, "")
    assert [entry["policy"] for entry in lint["untouched"]] == [
        "as given", "skip-channels", "classifier",
    ]  # fmt: skip
    assert run("groups", "models:chain", *SMALL, "--ignore", "classifier", "--lint") == 0
    assert "lint: 0 errors" in capsys.readouterr().out
    assert run("groups", "models:chain", *SMALL, "--lint", "--pruner", "models:pruner") == 2
    assert "leave out --pruner" in capsys.readouterr().err


def test_a_sweep_marks_what_drops_out_before_anything_is_pruned(capsys) -> None:
    options = ("--scope", "local", "--sweep", "0.5,0.7,0.8")
    assert run("macs", "models:chain", *SMALL, *options, "--json", "-") == 0
    half, most, beyond = json.loads(capsys.readouterr().out)["sweep"]
    # int(4 * 0.3) = 1 and int(5 * 0.3) = 1 stay at 0.7; int(4 * 0.2) = 0 would stay at 0.8.
    assert [group["root"] for group in beyond["dropped"]] == ["first", "second"]
    assert {group["reason"] for group in beyond["dropped"]} == {"would-empty"}
    assert half["dropped"] == most["dropped"] == []
    assert (half["leaves_more_than"], beyond["leaves_more_than"]) == (None, 0.7)
    assert beyond["params"] == 153
    assert run("macs", "models:chain", *SMALL, *options) == 0
    printed = capsys.readouterr().out
    assert "more than 0.7 leaves" in printed
    assert "first (would-empty), second (would-empty)" in printed


def test_dropped_groups_are_listed_with_what_was_asked_and_exit_1(capsys) -> None:
    options = ("--ratios", "0.9", "--scope", "local")
    assert run("verify", "models:chain", *SMALL, *options) == 1
    printed = capsys.readouterr().out
    assert "group first: asked 4 of 4, removed 0: would-empty" in printed
    assert "no_group_dropped: 2 of 3 groups lost none of the requested" in printed


def test_a_threshold_lets_a_check_pass(capsys) -> None:
    options = ("--ratios", "0.6", "--scope", "local")
    assert run("verify", "models:chain", *SMALL, *options) == 1
    assert "nothing_collapsed" in capsys.readouterr().out
    assert run("verify", "models:chain", *SMALL, *options, "--min-channels", "1") == 0


def test_a_frozen_model_is_unchanged_with_frozen_as_the_reason(capsys) -> None:
    assert run("verify", "models:frozen", *SMALL, "--ratios", "0.5", "--json", "-") == 1
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert entry["verdict"] == "unchanged"
    assert [group["reason"] for group in entry["groups"]] == ["frozen", "frozen", "ignored"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--ratio-tolerance", "-1"), ("--max-dropped", "some"), ("--min-channels", "0"),
        ("--max-lost", "1.5"),
    ],
)  # fmt: skip
def test_a_threshold_that_is_none_is_refused(option: str, value: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        run("verify", "models:chain", option, value)
    assert left.value.code == 2
    assert repr(value) in capsys.readouterr().err


def test_weights_are_random_only_where_it_is_known_that_they_are_drawn(capsys) -> None:
    for model, weights in (("models:chain", "as built"), ("squeezenet1_1", "random")):
        assert run("groups", model, "--input-size", "3,32,32", "--json", "-") == 0
        assert json.loads(capsys.readouterr().out)["subject"]["weights"] == weights


def test_widths_are_asked_by_a_file(tmp_path, capsys) -> None:
    file = tmp_path / "widths.json"
    file.write_text('{"first": 3, "second": 2}')
    asked = ("--widths", str(file))
    assert run("prune", "models:chain", *SMALL, *asked, "--json", "-") == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    assert found["widths"] == {"first": 3, "second": 2}
    assert (found["verdict"], found["params"]["after"]) == ("exact", 81 + 6 + 6 + 2 + 4 + 2)
    assert run("macs", "models:chain", *SMALL, *asked, "--convention", "flops") == 0
    printed = capsys.readouterr().out
    assert f"the widths leave {2 * (36 * 81 + 36 * 6 + 4):,} of " in printed
    assert "FLOPs by `flops`: 2 a product of convolutions and linear layers." in printed


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ('{"frist": 3}', "did you mean 'first'?"),
        ('{"first": 5}', "`first` has 4 channels, and 5 are to be left of it"),
        ('{"first": "3"}', "'first' is to have '3' channels; expected a whole number"),
        ("[3]", "widths are a list; expected a dict"),
        ("{", "widths.json: Expecting property name"),
    ],
)
def test_widths_that_cannot_be_used_take_one_line(tmp_path, capsys, text, output) -> None:
    file = tmp_path / "widths.json"
    file.write_text(text)
    try:
        status = run("verify", "models:chain", *SMALL, "--widths", str(file))
    except SystemExit as left:  # what is no set of widths is bad usage
        status = left.code
    assert status == 2
    said = capsys.readouterr().err.strip()
    assert output in said
    assert "\n" not in said


def test_the_unit_of_a_convention_heads_its_columns(capsys) -> None:
    assert run("macs", "models:chain", *SMALL, "--convention", "pytorchcv") == 0
    assert re.search(r"\| +FLOPs \|", capsys.readouterr().out)
    options = ("--convention", "pytorchcv", "--sweep", "0.5", "--scope", "local")
    assert run("macs", "models:chain", *SMALL, *options) == 0
    assert re.search(r"\| ratio \| +FLOPs \|", capsys.readouterr().out)
    assert run("macs", "models:chain", *SMALL, "--convention", "thop", "--ratios", "0.5") == 2
    assert "counted by fvcore, not thop" in capsys.readouterr().err


def test_a_folder_in_place_of_a_network_is_refused_with_what_takes_it(models, capsys) -> None:
    os.mkdir("pruned")
    assert run("compare", "models.py:chain", "pruned") == 2
    told = capsys.readouterr().err
    assert "'pruned' is a folder: compare takes a file of it, verify --shipped the folder" in told


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_an_answer_that_cannot_be_written_is_a_line_and_no_traceback() -> None:
    command = "from analysis.command_line.main import main; raise SystemExit(main(['checks']))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "pruning-analysis checks: cannot write the answer: No space left on device\n"
    )
