"""Layers that no table lists, cut by a pruner of the user's own, are proved from their tensors."""

from collections.abc import Collection
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional

from analysis import verify
from analysis.records import Verdict, Verification

WIDTH = 8


class Scale(nn.Module):
    """One number a channel, and a table that no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(WIDTH, 1, 1) + 0.5)
        self.register_buffer("shift", torch.randn(1, WIDTH, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class ChannelsFirstNorm(nn.Module):
    """As ConvNeXt's: a layer norm over axis 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.bias = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class RootMeanSquare(nn.Module):
    """As Llama's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)
        x = self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        return x.movedim(-1, 1)


class Whitening(nn.Module):
    """A matrix of which the rows and the columns are the same channels."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("oc,nchw->nohw", self.matrix, x)


class TwoScales(nn.Module):
    """Both in one tensor: twice as long as there are channels."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Parameter(torch.rand(2 * WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.both.view(2, -1, 1, 1).unbind()
        return x * scale + shift


class Gate(nn.Module):
    """Made of layers that are known, and cut as one."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(WIDTH, 3), nn.Linear(3, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


class MixedGate(Scale):
    """A softmax over channels."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.scale + self.shift).softmax(1)


class Net(nn.Module):
    """The layer between two convolutions."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.layer = kind()
        self.second = nn.Conv2d(WIDTH, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.layer(self.first(x).tanh())).relu()
        return self.head(x.mean((2, 3)))


Cuts = dict[str, tuple[int, ...]]
"""By name of a tensor, the dimensions along which a pruner cuts it."""


def cut(layer: nn.Module, cuts: Cuts, gone: Collection[int]) -> nn.Module:
    """What a pruner of the user's own does: take these channels from tensors of a layer."""
    for name, dims in cuts.items():
        owner, _, own = name.rpartition(".")
        part = layer.get_submodule(owner)
        tensor = getattr(part, own).data
        for dim in dims:
            blocks = tensor.shape[dim] // layer.width
            kept = [
                block * layer.width + channel
                for block in range(blocks)
                for channel in range(layer.width)
                if channel not in set(gone)
            ]
            tensor = tensor.index_select(dim, torch.tensor(kept))
        is_parameter = own in part._parameters
        setattr(part, own, nn.Parameter(tensor) if is_parameter else tensor)
    layer.width -= len(gone)
    return layer


class Pruner(tp.function.BasePruningFunc):
    def __init__(self, cuts: Cuts, *, off_by: int = 0) -> None:
        super().__init__()
        self._cuts, self._off_by = cuts, off_by

    def prune_out_channels(self, layer: Any, idxs: list[int]) -> nn.Module:
        return cut(layer, self._cuts, [(each + self._off_by) % layer.width for each in idxs])

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int:
        return int(layer.width)

    get_in_channels = get_out_channels


KINDS: dict[str, tuple[type[nn.Module], Cuts]] = {
    "scale": (Scale, {"scale": (0,), "shift": (1,)}),
    "channels first norm": (ChannelsFirstNorm, {"weight": (0,), "bias": (0,)}),
    "root mean square": (RootMeanSquare, {"weight": (0,)}),
    "whitening": (Whitening, {"matrix": (0, 1)}),
    "two scales": (TwoScales, {"both": (0,)}),
    "gate": (Gate, {"squeeze.weight": (1,), "excite.weight": (0,), "excite.bias": (0,)}),
    "mixed": (MixedGate, {"scale": (0,), "shift": (1,)}),
}


def verdict_on(
    kind: type[nn.Module], cuts: Cuts, *, off_by: int = 0, **options: Any
) -> Verification:
    torch.manual_seed(0)
    model, x = Net(kind).eval(), torch.randn(2, 3, 5, 5)
    model.layer.width = WIDTH
    pruner = tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.head],
        customized_pruners={kind: Pruner(cuts, off_by=off_by)},
        root_module_types=[nn.Conv2d, nn.Linear],
        **options,
    )
    found = verify(model, x, pruner)
    assert model.second.in_channels == WIDTH // 2
    return found


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("scale", Verdict.EXACT),
        ("channels first norm", Verdict.RENORMALIZED),
        ("root mean square", Verdict.RENORMALIZED),
        ("whitening", Verdict.EXACT),
        ("two scales", Verdict.EXACT),
        ("gate", Verdict.EXACT),
        ("mixed", Verdict.MIXED),
    ],
)
def test_a_layer_of_the_users_own_is_proved(name: str, verdict: Verdict, steps: int) -> None:
    found = verdict_on(*KINDS[name], iterative_steps=steps)
    assert (found.verdict, found.structure) == (verdict, "proved"), found.reason
    assert found.kept["layer"]["out"] == found.kept["first"]["out"]


@pytest.mark.parametrize("name", ["scale", "channels first norm", "whitening", "gate"])
def test_a_pruner_that_removes_other_channels_of_a_layer_is_reported(name: str) -> None:
    assert verdict_on(*KINDS[name], off_by=1).verdict is Verdict.WRONG


def test_a_pruner_that_forgets_a_tensor_breaks_the_network() -> None:
    kind, cuts = KINDS["channels first norm"]
    found = verdict_on(kind, {"weight": cuts["weight"]})
    assert found.verdict is Verdict.BROKEN
    assert "`layer`" in found.reason


def test_a_value_that_a_pruner_writes_into_a_layer_is_reported() -> None:
    class Doubling(Pruner):
        def prune_out_channels(self, layer: Any, idxs: list[int]) -> nn.Module:
            pruned = super().prune_out_channels(layer, idxs)
            pruned.scale.data *= 2
            return pruned

        prune_in_channels = prune_out_channels

    torch.manual_seed(0)
    model, x = Net(Scale).eval(), torch.randn(2, 3, 5, 5)
    model.layer.width = WIDTH
    pruner = tp.pruner.BasePruner(
        model, x, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[model.head], customized_pruners={Scale: Doubling(KINDS["scale"][1])},
        root_module_types=[nn.Conv2d, nn.Linear],
    )  # fmt: skip
    found = verify(model, x, pruner)
    assert found.verdict is Verdict.WRONG
    assert "`layer.scale` is not the dense network's" in found.reason


class Projection(nn.Module):
    """A linear layer of the user's own, which reads one group and makes another."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(WIDTH, WIDTH))
        self.shift = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.matrix.t()) + self.shift


class ProjectionPruner(tp.function.BasePruningFunc):
    """Its matrix holds (in, out)."""

    @staticmethod
    def _left(size: int, gone: list[int]) -> Tensor:
        return torch.tensor([each for each in range(size) if each not in set(gone)])

    def prune_out_channels(self, layer: Any, idxs: list[int]) -> nn.Module:
        kept = self._left(layer.matrix.shape[1], idxs)
        layer.matrix = nn.Parameter(layer.matrix.data[:, kept])
        layer.shift = nn.Parameter(layer.shift.data[kept])
        return layer

    def prune_in_channels(self, layer: Any, idxs: list[int]) -> nn.Module:
        layer.matrix = nn.Parameter(layer.matrix.data[self._left(layer.matrix.shape[0], idxs)])
        return layer

    def get_out_channels(self, layer: Any) -> int:
        return int(layer.matrix.shape[1])

    def get_in_channels(self, layer: Any) -> int:
        return int(layer.matrix.shape[0])


@pytest.mark.parametrize("between", [nn.GELU, nn.Sigmoid, nn.Softmax])
def test_layers_of_the_users_own_that_make_channels_are_proved(between: type[nn.Module]) -> None:
    torch.manual_seed(0)
    activation = nn.Softmax(-1) if between is nn.Softmax else between()
    model = nn.Sequential(Projection(), activation, Projection(), nn.Linear(WIDTH, 3)).eval()
    x = torch.randn(4, WIDTH)
    pruner = tp.pruner.BasePruner(
        model, x, importance=tp.importance.RandomImportance(), pruning_ratio=0.5,
        ignored_layers=[model[3]], customized_pruners={Projection: ProjectionPruner()},
        root_module_types=[Projection],
    )  # fmt: skip
    found = verify(model, x, pruner)
    assert model[2].matrix.shape == (WIDTH // 2, WIDTH // 2)
    expected = Verdict.MIXED if between is nn.Softmax else Verdict.EXACT
    assert (found.verdict, found.structure) == (expected, "proved"), found.reason
