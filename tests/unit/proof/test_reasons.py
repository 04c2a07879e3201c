"""Reasons: the cause first and once, the layer, the line of the model, and a way out."""

import pytest
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional
from torchvision.models.swin_transformer import SwinTransformer

from analysis import verify
from analysis.errors import BudgetExceededError
from analysis.groups.depgraph import dependency_groups
from analysis.network.failures import locate_failure
from analysis.pipeline import analyse, prune_and_prove
from analysis.processes import budgets
from analysis.records import OWN_PRUNER, Config, Verdict, Verification

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, width: int = 8, read: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, width, 3, padding=1)
        self.head = nn.Linear(read, 4)

    def middle(self, x):
        return self.second(self.first(x).relu())

    def forward(self, x):
        return self.head(self.middle(x).mean((2, 3)))


class Swapped(Net):
    def middle(self, x):
        one, other = super().middle(x).chunk(2, 1)
        return torch.cat([other, one], 1)


class Gathered(Net):
    """`third` predicts the positions at which `first` is read."""

    def __init__(self) -> None:
        super().__init__()
        self.third = nn.Conv2d(8, 2, 1)

    def middle(self, x):
        made = self.first(x)
        grid = self.third(made).tanh().permute(0, 2, 3, 1)
        return functional.grid_sample(made, grid, align_corners=False)


class Padded(Net):
    def __init__(self) -> None:
        super().__init__(12, 12)

    def middle(self, x):
        made = self.first(x)
        return self.second(made) + functional.pad(made, (0, 0, 0, 0, 0, 4))


class Shuffled(Net):
    def __init__(self) -> None:
        super().__init__(8, 2)

    def middle(self, x):
        return functional.pixel_shuffle(super().middle(x), 2)


class Lone(Net):
    """One channel is broadcast over eight."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(8, 1, 1)

    def middle(self, x):
        made = super().middle(x)
        return made * self.gate(made).sigmoid()


class Contracted(Net):
    """torch-pruning takes the contracted dimension of a parameter for one that is emptied."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8))

    def forward(self, x):
        return torch.einsum("bc,oc->bo", self.middle(x).mean((2, 3)), self.weight)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.recurrent = nn.GRU(8, 8, batch_first=True)

    def forward(self, x):
        return self.recurrent(self.first(x))[0]


class Asserting(Net):
    def middle(self, x):
        made = super().middle(x)
        if made.shape[1] != 8:
            raise AssertionError
        return made


class Mapped(Net):
    def forward(self, x):
        return {"scores": super().forward(x), "loss": None}


def pruner_of(model: nn.Module, inputs=IMAGE, ratio: float = 0.5, ignored=("head",), **options):
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=ratio,
        ignored_layers=[model.get_submodule(name) for name in ignored],
        num_heads={},
        out_channel_groups={},
        in_channel_groups={},
        **options,
    )


def made(kind) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def by_us(kind, inputs=IMAGE, policy="classifier") -> Verification:
    return prune_and_prove(
        analyse(made(kind), inputs), Config(0.5, "local"), policy
    ).run.verification


def by_users(kind) -> Verification:
    model = made(kind)
    return verify(model, IMAGE, pruner_of(model))


BOTH_WAYS = pytest.mark.parametrize("prune", [by_us, by_users])

# What DepGraph numbers wrongly, the operator by which it came there, and the layer to exclude.
MISREAD = {
    Swapped: ("channel 15 of `second`", "chunk", "one, other = super()", "second"),
    Gathered: ("channel 7 of `third`", "tanh", "grid = self.third(made)", "third"),
    Padded: ("channel 11 of `first`", "pad", "return self.second(made) +", "first"),
    Shuffled: ("channel 7 of `head`", "mean", "return self.head(self.middle(x)", "second"),
}


@BOTH_WAYS
@pytest.mark.parametrize("kind", MISREAD)
def test_the_cause_comes_first_and_once_with_the_line_of_the_model(kind, prune) -> None:
    channel, operator, line, _ = MISREAD[kind]
    found = prune(kind)
    assert found.verdict is Verdict.UNPRUNABLE
    assert found.reason.startswith(f"DepGraph couples {channel}")
    assert found.reason.count("DepGraph couples") == 1
    assert f"operator {operator} in the model's own forward, " in found.reason
    assert "test_reasons.py:" in found.reason
    assert line in found.reason
    assert found.reason.index(line) < found.reason.index("raised IndexError")
    assert "Backward" not in found.reason


@BOTH_WAYS
@pytest.mark.parametrize("kind", MISREAD)
def test_the_layer_that_is_said_to_be_excluded_is_a_way_out(kind, prune) -> None:
    *_, layer = MISREAD[kind]
    assert prune(kind).reason.endswith(f"a way out: exclude `{layer}`")
    model = made(kind)
    found = verify(model, IMAGE, pruner_of(model, ignored=("head", layer)))
    assert found.verdict is not Verdict.UNPRUNABLE


def test_a_chunk_is_distinguished_from_a_split_by_sizes() -> None:
    class BySizes(Swapped):
        def middle(self, x):
            whole = Net.middle(self, x)
            half = whole.shape[1] // 2
            one, other = whole.split([half, whole.shape[1] - half], 1)
            return torch.cat([other, one], 1)

    assert "a split by a list of sizes, not of this" in by_users(Swapped).reason
    assert by_users(BySizes).verdict is not Verdict.UNPRUNABLE


@BOTH_WAYS
def test_a_parametrization_is_named_with_how_to_remove_it(prune) -> None:
    def kind():
        model = Net()
        nn.utils.parametrizations.weight_norm(model.second)
        return model

    found = prune(kind)
    assert found.verdict is Verdict.UNPRUNABLE
    assert found.reason.startswith("at layer `second`, whose `weight` is computed in each call")
    assert "remove_parametrizations" in found.reason
    model = made(kind)
    nn.utils.parametrize.remove_parametrizations(model.second, "weight")
    assert verify(model, IMAGE, pruner_of(model)).verdict is Verdict.EXACT


def test_what_an_operator_does_inside_is_named_by_the_module_that_calls_it() -> None:
    found = by_us(Recurrent, torch.randn(2, 5, 6))
    assert found.verdict is Verdict.UNPRUNABLE
    assert found.reason.startswith("at operator gru in `recurrent`, ")
    assert "return self.recurrent(self.first(x))[0]" in found.reason


def test_an_output_that_depgraph_cannot_unpack_names_output_transform() -> None:
    def bare(model, inputs, ratio):
        return pruner_of(model, inputs, ratio)

    def text(model, inputs, ratio):
        return pruner_of(model, inputs, ratio, output_transform=lambda output: output["scores"])

    def verdict(factory) -> Verification:
        dense = analyse(made(Mapped), IMAGE)
        config = Config(0.5, "local", policy=OWN_PRUNER)
        outcome = prune_and_prove(dense, config, "classifier", pruner_factory=factory)
        return outcome.run.verification

    assert verdict(bare).reason.startswith("the model's output holds None, which DepGraph cannot")
    assert "output_transform" in verdict(bare).reason
    assert verdict(text).verdict is Verdict.EXACT


def test_a_graph_that_joins_nothing_is_why_nothing_goes() -> None:
    class Frozen(Net):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    found = by_users(Frozen)
    assert found.verdict is Verdict.UNCHANGED
    assert "no output of the network has a gradient" in found.reason


@pytest.mark.filterwarnings("ignore:Unwrapped parameters")
@BOTH_WAYS
@pytest.mark.parametrize(
    ("kind", "reason"), [(Lone, "single-channel"), (Contracted, "would-empty")]
)
def test_why_a_group_is_left_whole_is_what_torch_pruning_says_itself(kind, reason, prune) -> None:
    found = {group.root: group for group in prune(kind).groups}
    assert (found["second"].removed, found["second"].reason) == (0, reason)
    assert found["second"].requested == {"single-channel": 0, "would-empty": 4}[reason]
    assert (found["first"].requested, found["first"].removed) == (4, 4)


def test_an_assertion_of_the_model_is_reported_with_its_line() -> None:
    model = made(Asserting)
    model.second = nn.Conv2d(8, 6, 3)
    failure = str(locate_failure(model, IMAGE))
    assert failure.startswith("the model's own forward raised: AssertionError (")
    assert "test_reasons.py:" in failure
    assert failure.endswith("raise AssertionError)")


@pytest.mark.filterwarnings("ignore:Maximum recursive depth")
# An alarm that rings in a callback of the collector is lost, and rings again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_time_out_names_the_operator_that_depgraph_looks_at() -> None:
    # Windows of attention, on which DepGraph does not end.
    swin = SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=3).eval()
    with pytest.raises(BudgetExceededError) as caught, budgets.limited(3):
        dependency_groups(swin, torch.randn(1, 3, 64, 64))
    assert "while reading the " in caught.value.reason
    assert ", at operator " in caught.value.reason
    assert "torchvision/models/swin_transformer.py:" in caught.value.reason
