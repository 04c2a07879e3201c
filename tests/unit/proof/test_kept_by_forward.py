"""Networks whose forward keeps a tensor that the next one uses."""

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis import inspect_groups, verify
from analysis.network.inference import copy_of, outputs_of
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import Config, Verdict

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")


class Attention(nn.Module):
    """Gathers a bias for each head and distance once, as LeViT does."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.scores = nn.Linear(6, 32)
        self.values = nn.Linear(6, 32)
        self.first = nn.Linear(32, 16)
        self.last = nn.Linear(16, 4)
        self.bias = nn.Parameter(torch.zeros(4, 5))
        places = torch.arange(5)
        self.register_buffer("far", (places[:, None] - places).abs(), persistent=False)
        if how == "None":
            self.table = None
        if how in ("dict", "list"):
            self.table = {} if how == "dict" else []

    def gathered(self) -> Tensor:
        found = self.bias[:, self.far]
        if self.how == "deleted":
            if not hasattr(self, "table"):
                self.table = found
            return self.table
        if self.how == "None":
            if self.table is None:
                self.table = found
            return self.table
        if self.how == "dict":
            return self.table.setdefault("cpu", found)
        self.table[:] = self.table or [found]
        return self.table[0]

    def forward(self, x: Tensor) -> Tensor:
        heads, values = (
            layer(x).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (self.scores, self.values)
        )
        scores = (heads @ heads.mT + self.gathered()).softmax(-1)
        return self.last(self.first((scores @ values).transpose(1, 2).flatten(2)).relu())


HOWS = ["dict", "list", "None", "deleted"]


def inputs() -> Tensor:
    return torch.randn(2, 5, 6)


def pruner_of(model: nn.Module, x: Tensor):
    """Half of what the layer behind attention makes."""
    return tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.scores, model.values, model.last],
    )


@pytest.mark.parametrize("how", HOWS)
def test_what_a_run_with_gradients_has_kept_is_no_reason_to_refuse_a_copy(how) -> None:
    model = Attention(how).eval()
    expected = model(inputs().zero_())  # keeps a tensor that is no leaf
    assert torch.equal(outputs_of(copy_of(model), inputs().zero_())[0], expected)


@pytest.mark.parametrize("how", HOWS)
def test_no_run_of_the_analysis_leaves_anything_on_the_model(how) -> None:
    model = Attention(how).eval()
    inspect_groups(model, inputs())
    analyse(model, inputs())
    assert not getattr(model, "table", None)


@pytest.mark.parametrize("how", HOWS)
def test_a_table_that_the_pruner_made_the_network_keep_is_no_fault(how) -> None:
    """The proof writes other values where all were zero; the table still has the zeros."""
    torch.manual_seed(0)
    model, x = Attention(how).eval(), inputs()
    found = verify(model, x, pruner_of(model, x))
    assert model.first.out_features == 8
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")


class Widening(nn.Module):
    """Keeps a table of its own width: once pruned, it raises where it has run before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 4)
        self.bias, self.table = nn.Parameter(torch.randn(16)), {}

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) + self.table.setdefault("bias", self.bias * 2))


def test_a_table_of_the_dense_width_breaks_the_pruned_network() -> None:
    model, x = Widening().eval(), inputs()
    pruner = tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.last],
    )
    assert verify(model, x, pruner).verdict is Verdict.BROKEN


@pytest.mark.parametrize("how", HOWS)
def test_gradients_reach_what_a_kept_table_was_made_of(how) -> None:
    model = Attention(how)
    outcome = prune_and_prove(
        analyse(model, inputs()),
        Config(0.5, "local"),
        "none",
        pruner_factory=lambda network, x, ratio: pruner_of(network, x),
    )
    assert outcome.run.verification.verdict is Verdict.EXACT
    dense, pruned = outcome.reached_parameters
    assert dense == pruned == {name for name, _ in model.named_parameters()}


class Masked(nn.Module):
    """Multiplies by a mask, if anybody has set one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.mask = nn.Linear(6, 16), nn.Linear(16, 4), None

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.first(x).relu())
        return y if self.mask is None else y * self.mask


def test_a_tensor_that_the_pruner_sets_is_not_taken_for_one_that_forward_keeps() -> None:
    class Masking(tp.pruner.BasePruner):
        def step(self, interactive: bool = False):
            yield from super().step(interactive=True)
            self.model.mask = torch.tensor([1.0, 0.0, 1.0, 1.0])

    model, x = Masked().eval(), inputs()
    pruner = Masking(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.last],
    )
    assert verify(model, x, pruner).verdict is Verdict.WRONG


def test_a_read_only_configuration_is_left_alone() -> None:
    class Frozen(dict[str, int]):
        def update(self, *_: object) -> None:
            raise TypeError("read-only")

        clear = update

    class Configured(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = Frozen(width=3)
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * self.config["width"]

    model = Configured().eval()
    assert [group.name for group in inspect_groups(model, torch.zeros(1, 3))] == ["layer"]
    assert model.config["width"] == 3
