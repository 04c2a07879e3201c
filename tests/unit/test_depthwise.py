"""The faster depthwise convolution is torch's."""

import pytest
import torch
from torch import nn

from analysis.depthwise import FastDepthwise


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 5, "stride": 2, "padding": 2},
        {"kernel_size": (3, 5), "stride": (1, 2), "padding": (0, 2), "dilation": (2, 1)},
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)
def test_every_geometry_gives_torchs_result(options, bias: bool) -> None:
    layer = nn.Conv2d(6, 6, groups=6, bias=bias, **options).double()
    x = torch.randn(2, 6, 9, 11, dtype=torch.float64)
    expected = layer(x)
    with FastDepthwise():
        found = layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(6, 6, 3, groups=3), nn.Conv2d(6, 4, 3)],
    ids=["multiplier", "grouped", "dense"],
)
def test_other_convolutions_are_left_to_torch(layer: nn.Conv2d) -> None:
    layer.double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    expected = layer(x)
    with FastDepthwise():
        assert torch.equal(layer(x), expected)


def test_a_wrong_number_of_channels_is_still_refused() -> None:
    layer = nn.Conv2d(6, 6, 3, groups=6).double()
    with pytest.raises(RuntimeError, match="6 channels"), FastDepthwise():
        layer(torch.randn(1, 5, 9, 9, dtype=torch.float64))
