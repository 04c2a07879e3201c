"""The pruned network runs at every advised ratio."""

import pytest
import torch
from torch import Tensor, nn

from analysis import ratio_curve, ratio_for_macs, ratio_for_params


class Few(nn.Module):
    """Runs with eight channels of sixteen, on which the groups are tried, and not with few."""

    def __init__(self, fewest: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 4, 1)
        self.fewest = fewest

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        if x.shape[1] < self.fewest:
            raise ValueError(f"{x.shape[1]} channels are too few")
        return self.last(x)


@pytest.mark.parametrize("ask", [ratio_for_macs, ratio_for_params])
def test_a_ratio_at_which_the_network_does_not_run_is_not_advised(ask) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(1, 3, 6, 6)
    reach = ask(Few(3).eval(), inputs, 0.15, ignored_layers=["last"])
    assert reach.point is None
    (unknown,) = reach.unknown
    assert "the pruned network does not run" in unknown.why
    assert "2 channels are too few" in unknown.why
    # A smaller one is: three channels stay there, each as dear as any.
    assert reach.least.ratio < unknown.first
    assert ask(Few(3).eval(), inputs, 3 / 15, ignored_layers=["last"]).point is not None


def test_what_runs_is_advised_as_before() -> None:
    torch.manual_seed(0)
    model, inputs = Few(0).eval(), torch.randn(1, 3, 6, 6)
    reach = ratio_for_macs(model, inputs, 0.15, ignored_layers=["last"])
    assert reach.point is not None
    assert not reach.unknown
    (left,) = ratio_curve(model, inputs, [reach.ratio], ignored_layers=["last"]).macs
    assert left == reach.point.macs <= 0.15 * reach.dense.macs
