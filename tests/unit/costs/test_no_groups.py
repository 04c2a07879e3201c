"""Networks of which nothing can be pruned, in the functions that predict costs."""

import pytest
import torch
from torch import Tensor, nn

from analysis import ratio_curve, ratio_for_macs, ratio_for_params


class Scale(nn.Module):
    """One number, which has no channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Messages(nn.Module):
    """Sums over the edges of a graph, which multiply nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = nn.Embedding(10, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.nodes(x)
        return torch.zeros_like(h).index_add(0, x.flip(0), h)


NETWORKS = [
    pytest.param(Scale(), torch.randn(2, 3), 0, 1, id="a number"),
    pytest.param(nn.LayerNorm(4), torch.randn(2, 4), 5 * 8, 8, id="a norm"),
    pytest.param(nn.Linear(1, 1), torch.randn(3, 1), 3, 2, id="one channel"),
    pytest.param(Messages(), torch.tensor([0, 1, 2]), 0, 80, id="messages"),
]


@pytest.mark.parametrize(("model", "inputs", "macs", "params"), NETWORKS)
def test_every_ratio_costs_what_the_dense_network_does(model, inputs, macs, params) -> None:
    curve = ratio_curve(model, inputs, [0.0, 0.5])
    assert curve.macs == (macs, macs)
    assert curve.params == (params, params)


@pytest.mark.parametrize(("model", "inputs", "macs", "params"), NETWORKS)
def test_no_ratio_is_known_to_leave_half(model, inputs, macs, params) -> None:
    reach = ratio_for_params(model, inputs, 0.5)
    assert reach.point is None
    assert not reach.unknown
    assert reach.least.params == params
    assert ratio_for_macs(model, inputs, 1.0).point.macs == macs
