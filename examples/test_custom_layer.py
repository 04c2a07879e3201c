"""A network with a layer and a parameter of its own, which neither side can know.

``customized_pruners`` describes to torch-pruning how the layer is cut, and ``unwrapped_parameters``
which axis of the parameter holds channels. `register_layer` describes the layer to the proof.
"""

import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis import parametrize_with_checks, register_layer
from analysis.layers import per_channel


class Gate(nn.Module):
    """Each channel is scaled by how strong it is, by a learned slope."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.slope * x.mean((2, 3), keepdim=True))


class GatePruner(tp.pruner.BasePruningFunc):
    """How torch-pruning cuts a gate: what comes in goes out."""

    def prune_out_channels(self, layer: nn.Module, idxs: list[int]) -> nn.Module:
        keep = [index for index in range(len(layer.slope)) if index not in set(idxs)]
        layer.slope = nn.Parameter(layer.slope.data[keep])
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        return len(layer.slope)

    get_in_channels = get_out_channels


# Its inputs and outputs hold channels on axis 1, its tensors on axis 0.
register_layer(Gate, per_channel(axis=1, dim=0))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.gate = Gate(16)
        self.second = nn.Conv2d(16, 24, 3, padding=1)
        self.shift = nn.Parameter(torch.randn(1, 24, 1, 1))
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.gate(self.first(x))) + self.shift
        return self.head(x.relu().mean((2, 3)))


def described(model: nn.Module, inputs: torch.Tensor, ratio: float):
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=ratio,
        ignored_layers=[model.head],
        customized_pruners={Gate: GatePruner()},
        root_module_types=[nn.Conv2d, nn.Linear],
        unwrapped_parameters=[(model.shift, 1)],
    )


@parametrize_with_checks(Gated, input_size=(3, 16, 16), ratios=[0.5], pruner=described)
def test_gated(check) -> None:
    check()
