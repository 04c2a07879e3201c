"""Running in float64: every requested dtype is, and depthwise convolutions equal torch's."""

import pytest
import torch
from torch import nn

from analysis.network.float64 import in_float64


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
@pytest.mark.parametrize("width", [11, 57], ids=["short rows", "long rows"])
def test_every_geometry_gives_torchs_result(options, bias: bool, width: int) -> None:
    layer = nn.Conv2d(6, 6, groups=6, bias=bias, **options).double()
    x = torch.randn(2, 6, 9, width, dtype=torch.float64)
    expected = layer(x)
    with in_float64(layer):
        found = layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    assert found.stride() == expected.stride()  # a forward pass may ask for a view of it


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(6, 6, 3, groups=3), nn.Conv2d(6, 4, 3)],
    ids=["multiplier", "grouped", "dense"],
)
def test_other_convolutions_are_left_to_torch(layer: nn.Conv2d) -> None:
    layer.double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    expected = layer(x)
    with in_float64(layer):
        assert torch.equal(layer(x), expected)


def test_a_wrong_number_of_channels_is_still_refused() -> None:
    layer = nn.Conv2d(6, 6, 3, groups=6).double()
    with pytest.raises(RuntimeError, match="6 channels"), in_float64(layer):
        layer(torch.randn(1, 5, 9, 9, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_depthwise_convolution_is_mapped_over_a_batch_as_torchs_is() -> None:
    layer = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False).double()
    x = torch.randn(3, 2, 6, 9, 9, dtype=torch.float64)
    expected = torch.stack([layer(each) for each in x])
    with in_float64(layer):
        found = torch.func.vmap(layer)(x)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


class Casting(nn.Module):
    """Asks for single precision in every way that a forward pass may."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        x = x.float().relu().to(torch.float32).type(torch.float32).half()
        x = x + torch.zeros(3) + torch.linspace(0, 1, 3, dtype=torch.float32)
        return self.layer(x.to(device="cpu", dtype=torch.bfloat16)).softmax(-1, dtype=torch.float32)


def test_a_network_that_asks_for_single_precision_runs_in_double() -> None:
    network = Casting()
    x = torch.randn(4, 3, dtype=torch.float64)
    moved = x.relu() + torch.linspace(0, 1, 3, dtype=torch.float64)
    weight, bias = network.layer.weight.double(), network.layer.bias.double()
    expected = (moved @ weight.T + bias).softmax(-1)
    with in_float64(network):
        found = network(x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    assert network.layer.weight.dtype == torch.get_default_dtype() == torch.float32
