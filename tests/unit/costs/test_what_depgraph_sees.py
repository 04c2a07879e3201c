"""The predicted cost of torch-pruning's cut is that of its real cut, or there is none."""

from typing import Any

import pytest
import torch
import torch_pruning as tp
from drawn import part
from torch import Tensor, nn
from torch.nn.functional import linear

from analysis import cost_account, count_macs, ratio_curve, verify
from analysis.errors import InputError
from analysis.network.reached import reached_layers


class Net(nn.Module):
    """Convolutions and a classifier of their mean; what is between says the kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu()).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class BehindNoGrad(Net):
    """A backbone that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.middle, self.head = nn.Linear(12, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.features(x).mean((2, 3))
        return self.head(self.middle(x).relu())


class ReadByNoGrad(Net):
    """What is trained is read by a layer that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.aside = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))
        with torch.no_grad():
            scale = self.aside(x)
        return self.head(x * scale)


class Detached(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Classes(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).argmax(1)


class Chosen(Net):
    """The best places by a score, which has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.features(x).flatten(2).transpose(1, 2)
        best = self.score(tokens)[..., 0].topk(5, 1).indices
        return self.head(tokens.gather(1, best[..., None].expand(-1, -1, tokens.shape[-1])).mean(1))


class Gated(Net):
    """A gate of one channel, as spatial attention has."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return self.head((x * self.gate(both).sigmoid()).mean((2, 3)))


class Pooled(Net):
    """A mean that is weighted by one score a place."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.middle, self.head = nn.Linear(12, 1), nn.Linear(12, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.features(x).flatten(2).transpose(1, 2)
        pooled = (self.score(tokens).softmax(1) * tokens).sum(1)
        return self.head(self.middle(pooled).relu())


class Multiplied(Net):
    """Channels that a parameter makes, and not a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.made = nn.Parameter(torch.randn(3, 10))
        self.middle, self.head = nn.Linear(10, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle((x.mean((2, 3)) @ self.made).relu()).relu())


class Borrowed(Net):
    """Weights of a layer that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(linear(self.features(x).mean((2, 3)), self.other.weight * 2).relu())


class Recurrent(Net):
    layer: Any = nn.LSTM

    def __init__(self) -> None:
        super().__init__()
        self.steps = self.layer(12, 12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(self.features(x).flatten(2).transpose(1, 2))[0].mean(1))


class Gru(Recurrent):
    layer = nn.GRU


class Attending(Net):
    """Residual attention on a table that no layer makes: a module that begins no group."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.table = nn.Embedding(9, 12)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.table(torch.arange(9))[None].expand(len(x), -1, -1)
        y = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.head(y.mean(1)) + super().forward(x)


class ByPlace(Net):
    """A parameter that has a value for each place, and none for a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(9))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.features(x).flatten(2).transpose(1, 2)
        return self.head((tokens + self.places[:, None]).mean(1))


class Scaled(Net):
    """Parameters that have a value for each channel, and one for all."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.all = nn.Parameter(torch.rand(12)), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)) * self.scale * self.all)


class WrittenTo(Net):
    """A parameter that forward writes to, which it may not where gradients are wanted."""

    def forward(self, x: Tensor) -> Tensor:
        self.head.bias.clamp_(-1, 1)
        return super().forward(x)


class Frozen(Net):
    def __init__(self) -> None:
        super().__init__()
        self.first.requires_grad_(False)


class AllFrozen(Net):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class Plain(Net):
    """What has to have a price."""


KINDS: tuple[type[Net], ...] = (
    Plain, BehindNoGrad, ReadByNoGrad, Detached, Classes, Chosen, Gated, Pooled, Multiplied,
    Borrowed, Recurrent, Gru, Attending, ByPlace, Scaled,
    WrittenTo, Frozen, AllFrozen,
)  # fmt: skip

PRICED = {Plain, BehindNoGrad, Gated, Pooled, Multiplied, Scaled, Frozen, AllFrozen}
"""Where torch-pruning's cut is right, whatever it leaves whole."""


def made(kind: type[Net]) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def left_by_torch_pruning(model: Net, inputs: Tensor, ratio: float, scope: str) -> Any:
    """MACs and parameters that are counted once it has pruned; None if that is not right."""
    try:
        pruner = tp.pruner.MagnitudePruner(
            model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio,
            ignored_layers=[model.head], global_pruning=scope == "global", num_heads={},
            out_channel_groups={}, in_channel_groups={},
        )  # fmt: skip
    except (IndexError, RuntimeError):
        return None
    verdict = verify(model, inputs, pruner).verdict
    if not (verdict.passes or (verdict == "unchanged" and pruner.current_step)):
        return None
    return count_macs(model, inputs).macs, sum(each.numel() for each in model.parameters())


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize(
    ("kind", "scope"),
    [(kind, scope) for kind in KINDS for scope in part(["local", "global"], kind.__name__)],
)
def test_a_ratio_costs_what_torch_pruning_leaves_or_has_no_price(kind, scope) -> None:
    inputs = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    account = cost_account(made(kind), inputs, ["head"], scope=scope)
    for ratio in (0.3, 0.6):
        left = left_by_torch_pruning(made(kind), inputs, ratio, scope)
        curve = account.curve([ratio])
        assert len(curve.points) == (kind in PRICED), curve.unknown
        assert all((point.macs, point.params) == left for point in curve.points)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Detached, "no output of the network has a gradient"),
        (Chosen, "it does not see `score`"),
        (ReadByNoGrad, "it does not see `aside`"),
        (Borrowed, "it does not see `other`"),
        (Recurrent, "it does not cut the recurrent layer `steps` as a whole"),
        (ByPlace, "it includes `places`, which has none of its channels"),
        (WrittenTo, "with gradients, by which DepGraph traces it, it raises: a leaf Variable"),
        (Gru, "DepGraph has no rule for the recurrent layer `steps`"),
    ],
)
def test_a_cut_without_a_cost_has_a_reason(kind, why) -> None:
    inputs = torch.randn(2, 3, 7, 7)
    with pytest.raises(InputError, match=why):
        ratio_curve(made(kind), inputs, [0.5], ignored_layers=["head"])


def test_the_network_is_as_it_was_and_no_gradient_is_kept() -> None:
    model = made(Frozen).train()
    reached = reached_layers(model, torch.randn(2, 3, 7, 7))
    assert reached.layers == {"second", "head"}
    assert model.training
    assert [each.requires_grad for each in model.first.parameters()] == [False, False]
    assert all(each.grad is None for each in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
