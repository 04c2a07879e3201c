"""`GroupPruner`: torch-pruning's ranking without its traps."""

import copy
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch_pruning as tp
import torchvision
from blocks import PROVED
from drawn import part
from kinds import KINDS
from nets import Chain, Concat, Flipped, Residual, inputs_for, make
from torch import Tensor, nn
from torch_pruning.pruner import importance as importances

from analysis import GroupPruner, verify, verify_steps
from analysis.command_line.main import main
from analysis.errors import InputError
from analysis.records import Reason, Verdict

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")

SAME = [
    "Chain", "Residual", "Concat", "Grouped", "Flattened", "a channel gate", "a class token",
    "root mean square norm",
    *(
        name
        for name, (_, verdict) in PROVED.items()
        if verdict in (Verdict.EXACT, Verdict.RENORMALIZED)
        # torch-pruning needs the heads given, and then prunes them differently.
        and "attention" not in name and name != "transformer layer"
    ),
]  # fmt: skip
"""Small networks that torch-pruning reads rightly without options."""

RANKS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "l1": (lambda: "l1", lambda: importances.MagnitudeImportance(p=1)),
    "l2": (lambda: "l2", lambda: importances.MagnitudeImportance(p=2)),
    "magnitude": (lambda: importances.MagnitudeImportance(p=1),) * 2,
    "batch norm": (importances.BNScaleImportance,) * 2,
    "lamp": (importances.LAMPImportance,) * 2,
}
"""What our pruner is asked to rank by, and what torch-pruning's is."""


def distinct(model: nn.Module) -> nn.Module:
    """The network with scales of its norms that differ: fresh ones are all ties."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.weight is not None:
                layer.weight.copy_(torch.rand(layer.weight.shape, generator=draw) + 0.5)
    return model.eval()


def differing(
    model: nn.Module, inputs: Tensor, head: str, rank: str, scope: str, steps: int
) -> list[str]:
    """Tensors that are not the same when both pruners have taken half of the channels."""
    mine, theirs = copy.deepcopy(model), copy.deepcopy(model)
    ours, upstreams = RANKS[rank]
    pruners = (
        GroupPruner(
            mine, inputs, 0.5, ignore=[head], scope=scope, importance=ours(), iterative_steps=steps
        ),
        tp.pruner.MagnitudePruner(
            theirs, inputs, importance=upstreams(), pruning_ratio=0.5,
            global_pruning=scope == "global", iterative_steps=steps,
            ignored_layers=[theirs.get_submodule(head)],
            out_channel_groups={}, in_channel_groups={}, num_heads={},
        ),
    )  # fmt: skip
    for _ in range(steps):
        for pruner in pruners:
            pruner.step()
    pairs = zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True)
    left = [name for (name, one), other in pairs if not torch.equal(one, other)]
    # Ties and empty comparisons hide what is wrong: something must have gone.
    assert sum(p.numel() for p in mine.parameters()) < sum(p.numel() for p in model.parameters()), (
        "nothing was cut"
    )
    return left


@pytest.mark.parametrize(
    ("name", "scope", "steps"),
    [(name, *how) for name in SAME for how in part([("local", 1), ("global", 3)], name)],
)
def test_where_torch_pruning_is_right_the_same_channels_go(
    name: str, scope: str, steps: int
) -> None:
    model = distinct(KINDS[name]())
    assert differing(model, inputs_for(model), "head", "l1", scope, steps) == []


WITH_NORMS = ["Residual", "a channel gate", "conv3d", "instance norm", "shared layer"]


@pytest.mark.parametrize(
    ("name", "scope", "rank"),
    [
        (name, *how)
        for name in WITH_NORMS
        for how in part(product(["local", "global"], ["l2", "magnitude", "lamp"]), name)
    ],
)
def test_another_importance_ranks_as_it_does_in_torch_pruning(
    name: str, scope: str, rank: str
) -> None:
    model = distinct(KINDS[name]())
    for steps in (1, 3):
        assert differing(model, inputs_for(model), "head", rank, scope, steps) == []


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("name", ["Residual", "a channel gate", "Chain", "conv1d, dilated"])
def test_a_group_that_an_importance_has_no_score_for_stays(name: str, scope: str) -> None:
    """Of Chain and the dilated network one group has no batch norm, of the others none."""
    model = distinct(KINDS[name]())
    assert differing(model, inputs_for(model), "head", "batch norm", scope, 1) == []
    assert differing(model, inputs_for(model), "head", "batch norm", scope, 3) == []


@pytest.mark.parametrize(
    ("name", "head", "rank", "scope", "steps"),
    [
        (*network, *how)
        for network in (("resnet18", "fc"), ("mobilenet_v2", "classifier.1"))
        for how in part(
            [("l1", "local", 3), ("l2", "global", 1), ("batch norm", "global", 3)], network
        )
    ],
)
def test_networks_that_people_prune_lose_the_same_channels(
    name: str, head: str, rank: str, scope: str, steps: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = distinct(torchvision.models.get_model(name, weights=None))
    assert differing(model, torch.randn(1, 3, 64, 64), head, rank, scope, steps) == []


# ---------------------------------------------------------------------- the limits


def scores_by_hand(layer: nn.Conv2d, reader: nn.Module) -> Tensor:
    """The l1 norms of what makes and reads each channel, added: as all are averaged alike."""
    read = reader.weight.abs().view(len(reader.weight), layer.out_channels, -1)
    return layer.weight.abs().sum((1, 2, 3)) + read.sum((0, 2))


class Wide(nn.Module):
    """Two convolutions and a classifier: 3 -> 12 -> 10 -> 2 channels, no norm."""

    size = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3)
        self.second = nn.Conv2d(12, 10, 1)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).mean((2, 3)))


class Pairs(Wide):
    """The channels of the first convolution go in pairs: a grouped convolution of pairs reads them.

    3 -> 12 -> 12 -> 2 channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(12, 12, 1, groups=2)
        self.head = nn.Linear(12, 2)


def cut(kind: Callable[[], nn.Module], ratio: float, steps: int = 1, **options: Any) -> nn.Module:
    model = make(kind)  # type: ignore[arg-type]
    pruner = GroupPruner(
        model, inputs_for(model), ratio, ignore=["head"], iterative_steps=steps, **options
    )
    for _ in range(steps):
        pruner.step()
    model(inputs_for(model))
    return model


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_no_layer_is_emptied_and_its_highest_ranked_channel_stays(scope: str, steps: int) -> None:
    dense = make(Wide)
    model = cut(Wide, 0.99, steps, scope=scope)
    assert (model.first.out_channels, model.second.out_channels) == (1, 1)
    if steps == 1:
        highest = int(scores_by_hand(dense.first, dense.second).argmax())
        assert torch.equal(model.first.weight[0], dense.first.weight[highest])
        highest = int(scores_by_hand(dense.second, dense.head).argmax())
        assert torch.equal(model.head.weight[:, 0], dense.head.weight[:, highest])


def test_the_account_says_what_stays_so_that_no_layer_is_emptied() -> None:
    model = make(Wide)
    pruner = GroupPruner(model, inputs_for(model), 0.99, ignore=["head"])
    found = verify(model, inputs_for(model), pruner)
    assert found.verdict is Verdict.EXACT
    output = {each.root: (each.requested, each.removed, each.reason) for each in found.groups}
    # 12 - int(12 * 0.01) and 10 - int(10 * 0.01) are asked for.
    assert output["first"] == (12, 11, Reason.WOULD_EMPTY)
    assert output["second"] == (10, 9, Reason.WOULD_EMPTY)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("cap", [0.1, 0.25, 0.5, 0.8])
def test_a_cap_holds_of_what_has_gone(cap: float, scope: str, steps: int) -> None:
    model = cut(Wide, 0.9, steps, scope=scope, max_pruning_ratio=cap)
    most = {0.1: (1, 1), 0.25: (3, 2), 0.5: (6, 5), 0.8: (9, 8)}[cap]
    assert (12 - model.first.out_channels, 10 - model.second.out_channels) == most


@pytest.mark.parametrize("multiple", [2, 3, 4, 5, 8, 12, 20])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_round_to_leaves_the_nearest_multiple_that_can_be_left(ratio: float, multiple: int) -> None:
    model = cut(Wide, ratio, round_to=multiple)
    for width, left in ((12, model.first.out_channels), (10, model.second.out_channels)):
        plain = max(int(width * (1 - ratio)), 1)
        # Without any multiple that one may leave, nothing goes.
        may = [count for count in range(1, width + 1) if count % multiple == 0] or [width]
        assert left in may
        assert abs(left - plain) == min(abs(count - plain) for count in may)


@pytest.mark.parametrize("multiple", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_round_to_counts_what_goes_together(ratio: float, multiple: int) -> None:
    """Both groups of 6 lose alike, so that 2, 4, … 12 channels are left."""
    model = cut(Pairs, ratio, round_to=multiple)
    plain = max(2 * int(6 * (1 - ratio)), 2)
    may = [count for count in range(2, 13, 2) if count % multiple == 0]
    for left in (model.first.out_channels, model.second.out_channels):
        assert abs(left - plain) == min((abs(count - plain) for count in may), default=12 - plain)


def test_a_cap_holds_against_rounding() -> None:
    """At 0.5 of 12 the cap leaves 9, of which 8 would be nearest, and 12 is what may be left."""
    assert cut(Wide, 0.5, round_to=4, max_pruning_ratio=0.25).first.out_channels == 12


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("least", [1, 3, 10, 11, 50])
def test_each_group_keeps_the_requested_number_of_channels(
    least: int, scope: str, steps: int
) -> None:
    model = cut(Wide, 0.99, steps, scope=scope, min_channels=least)
    assert model.first.out_channels == min(least, 12)
    assert model.second.out_channels == min(least, 10)


# ---------------------------------------------------------------------- ratios of layers


def test_a_layer_may_have_a_ratio_of_its_own_by_name_or_module() -> None:
    model = make(Wide)
    by_name = cut(Wide, 0.5, ratios_by_layer={"first": 0.75})
    pruner = GroupPruner(
        model, inputs_for(model), 0.5, ignore=["head"], ratios_by_layer={model.first: 0.75}
    )
    pruner.step()
    for found in (by_name, model):
        assert (found.first.out_channels, found.second.out_channels) == (3, 5)
    assert torch.equal(by_name.first.weight, model.first.weight)


def test_a_tuple_of_layers_is_ranked_together_where_the_scope_is_global() -> None:
    for scope in ("local", "global"):
        model = make(Concat)
        pruner = GroupPruner(
            model, inputs_for(model), 0.0, ignore=["head"], scope=scope,
            ratios_by_layer={(model.left, "right"): 0.5},
        )  # fmt: skip
        pruner.step()
        left = model.left.out_channels, model.right.out_channels
        assert sum(left) == 5
        assert model.join.out_channels == 4
        assert scope == "global" or left == (2, 3)
        planned = {each.root: (each.scope, each.ratio) for each in pruner.planned}
        assert (planned["left"][0] == planned["right"][0]) is (scope == "global")
        assert planned["left"][1] == planned["right"][1] == 0.5


def test_a_tuple_ranked_together_loses_its_lowest() -> None:
    model = make(Concat)
    dense = copy.deepcopy(model)
    read = dense.join.weight.abs().sum((0, 2, 3))
    own = [
        layer.weight.abs().sum((1, 2, 3)) + read[first : first + layer.out_channels]
        for layer, first in ((dense.left, 0), (dense.right, 4))
    ]
    # A group's scores are divided by their mean.
    scores = torch.cat([each / each.mean() for each in own])
    stay = scores.argsort()[5:].sort().values
    GroupPruner(
        model, inputs_for(model), 0.0, ignore=["head"], scope="global",
        ratios_by_layer={("left", "right"): 0.5},
    ).step()  # fmt: skip
    made = torch.cat([dense.left.weight, dense.right.weight])[stay]
    assert torch.equal(torch.cat([model.left.weight, model.right.weight]), made)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({"frist": 0.5}, "frist"),
        ({"head": 0.5}, "head"),
        ({nn.Linear(2, 2): 0.5}, "not part of the model"),
        ({"first": 0.5, ("first",): 0.3}, "another ratio is asked"),
        ({"first": 1.5}, "1.5"),
        ({"first": "half"}, "half"),
        ({3: 0.5}, "3"),
    ],
)
def test_a_ratio_of_a_layer_that_cannot_be_asked_is_one_clear_line(
    ratios: dict[Any, Any], said: str
) -> None:
    model = make(Wide)
    with pytest.raises(InputError, match=said) as caught:
        GroupPruner(model, inputs_for(model), 0.5, ignore=["head"], ratios_by_layer=ratios)
    assert "\n" not in str(caught.value)
    assert "ignored layer" not in str(caught.value)


# ---------------------------------------------------------------------- steps


def test_an_interactive_step_cuts_only_marked_groups() -> None:
    model = make(Wide)
    dense = copy.deepcopy(model)
    pruner = GroupPruner(model, inputs_for(model), 0.5, ignore=["head"])
    seen = []
    for group in pruner.step(interactive=True):
        seen.append(group.removal.root)
        assert model.first.out_channels == 12  # nothing is cut before the last one
        if group.removal.root == "second":
            group.prune()
    assert seen == ["first", "second"]
    assert torch.equal(model.first.weight, dense.first.weight)
    assert (model.second.in_channels, model.second.out_channels) == (12, 5)
    assert pruner.axes.keys() == {("second.weight", 0), ("second.bias", 0), ("head.weight", 1)}
    model(inputs_for(model))


def train(model: nn.Module) -> None:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        model(inputs_for(model, 4)).square().sum().backward()
        optimizer.step()
    model.eval()


@pytest.mark.parametrize("scope", ["local", "global"])
def test_what_is_planned_is_in_the_numbers_before_the_first_step(scope: str) -> None:
    """Biases name the channels: what is left of them tells what has gone."""
    model = make(Wide)
    with torch.no_grad():
        model.first.bias.copy_(torch.arange(12.0))
        model.second.bias.copy_(torch.arange(10.0))
    pruner = GroupPruner(
        model, inputs_for(model), 0.75, ignore=["head"], scope=scope, iterative_steps=3
    )
    for _ in range(3):
        pruner.step()
        with torch.no_grad():  # as training would: what was ranked lowest now is highest
            for layer in (model.first, model.second):
                norms = layer.weight.abs().sum((1, 2, 3), keepdim=True)
                layer.weight.div_(norms**2)
        planned = {each.root: each for each in pruner.planned}
        for root, width in (("first", 12), ("second", 10)):
            left = model.get_submodule(root).bias.int().tolist()
            gone = tuple(sorted({*range(width)} - {*left}))
            assert planned[root].expected == gone
            assert planned[root].width == width
            assert pruner.axes[f"{root}.weight", 0] == left


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("kind", [Chain, Residual, Concat, Flipped])
def test_every_step_is_proved_also_with_training_in_between(
    kind: type[nn.Module], scope: str
) -> None:
    model = make(kind)
    inputs = inputs_for(model)
    pruner = GroupPruner(model, inputs, 0.5, ignore=["head"], scope=scope, iterative_steps=3)
    steps = []
    for step in verify_steps(model, inputs, pruner):
        assert step.verdict is Verdict.EXACT, step.reason
        for group in step.groups:
            assert group.requested == group.removed
        steps.append(step)
        train(model)
    widths = {layer: model.get_submodule(layer).weight.shape[0] for layer in
              (group.root for group in steps[-1].groups)}  # fmt: skip
    assert {group.root: group.left for group in steps[-1].groups} == widths
    assert len(steps) == 3
    if scope == "local":
        # The sum of the steps is what one step would take.
        assert all(
            group.left == int(group.width * 0.5) for group in steps[-1].groups
            if group.root != "head"
        )  # fmt: skip


def test_verify_takes_it_and_compares_requested_and_removed() -> None:
    model = make(Flipped)
    inputs = inputs_for(model)
    found = verify(model, inputs, GroupPruner(model, inputs, 0.5, ignore=["head"]))
    assert found.verdict is Verdict.EXACT
    assert [(each.root, each.requested, each.removed) for each in found.groups] == [
        ("first", 2, 2), ("second", 3, 3), ("head", 0, 0),
    ]  # fmt: skip


def test_a_pruner_that_has_been_stepped_is_not_proved() -> None:
    model = make(Chain)
    inputs = inputs_for(model)
    pruner = GroupPruner(model, inputs, 0.5, ignore=["head"])
    pruner.step()
    with pytest.raises(InputError, match="1 of its 1 steps"):
        verify(model, inputs, pruner)


def test_verify_catches_a_cut_that_is_not_the_groups(monkeypatch) -> None:
    """The pruner is not trusted: a network whose weights it moved is wrong."""
    model = make(Chain)
    inputs = inputs_for(model)
    pruner = GroupPruner(model, inputs, 0.5, ignore=["head"])
    plain = pruner._first.take

    def moved(sets: Any, gone: Any) -> None:
        with torch.no_grad():
            model.second.weight.copy_(model.second.weight.flip(1))
        plain(sets, gone)

    monkeypatch.setattr(pruner._first, "take", moved)
    assert verify(model, inputs, pruner).verdict is Verdict.WRONG


def test_it_is_a_pruner_for_the_command_line(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "own.py").write_text("from nets import Flipped as flipped\n")
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("own", None)
    size = ("--input-size", "3,6,6", "--ratios", "0.5")
    assert main(["verify", "own.py:flipped", *size, "--scope", "local"]) == 1
    assert main(["verify", "own.py:flipped", *size, "--pruner", "analysis:GroupPruner"]) == 0
    assert "exact" in capsys.readouterr().out


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ratio": 1.0}, "ratio 1"),
        ({"ratio": 50}, "0.5"),
        ({"ratio": -0.1}, "-0.1"),
        ({"ratio": "0.5"}, "0.5"),
        ({"ratio": float("nan")}, "nan"),
        ({"scope": "groups"}, "groups"),
        ({"importance": "l3"}, "l3"),
        ({"importance": 2}, "2"),
        ({"round_to": 0}, "round_to"),
        ({"round_to": 2.5}, "round_to"),
        ({"max_pruning_ratio": 0.0}, "max_pruning_ratio"),
        ({"max_pruning_ratio": 50}, "max_pruning_ratio"),
        ({"min_channels": 0}, "min_channels"),
        ({"min_channels": True}, "min_channels"),
        ({"iterative_steps": 0}, "iterative_steps"),
        ({"iterative_steps": 1.0}, "iterative_steps"),
        ({"ignore": ["nothing"]}, "nothing"),
        ({"ratios_by_layer": [("first", 0.5)]}, "ratios_by_layer"),
    ],
)
def test_what_cannot_be_asked_is_one_line(options: dict[str, Any], said: str) -> None:
    model = make(Wide)
    with pytest.raises(InputError, match=said) as caught:
        GroupPruner(model, inputs_for(model), **({"ignore": ["head"]} | options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("importance", "said"),
    [
        (lambda group: torch.ones(3), r"\(3,\)"),
        (lambda group: torch.ones(12, 1), r"\(12, 1\)"),
        (lambda group: [1.0] * 12, "list"),
        (lambda group: 1.0, "float"),
        (lambda group: torch.full((12,), torch.nan), "NaN"),
    ],
)
def test_scores_of_another_shape_are_one_line(importance: Callable[[Any], Any], said: str) -> None:
    model = make(Wide)
    with pytest.raises(InputError, match=said) as caught:
        GroupPruner(model, inputs_for(model), 0.5, ignore=["head", "second"], importance=importance)
    assert "`first`" in str(caught.value)
    assert "\n" not in str(caught.value)
