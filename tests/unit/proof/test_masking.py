"""The oracle against sums written out by hand."""

import pytest
import torch
from nets import Chain, inputs_for, make
from torch import nn

from analysis.proof.masking import masked, tagged
from analysis.records import Cut


def test_a_silenced_channel_is_absent_from_the_readers_sum() -> None:
    reader = nn.Conv2d(3, 2, 1, bias=False)
    x = torch.randn(1, 3, 4, 4)
    with masked(nn.Sequential(reader), [Cut("0", "in", 3, (1,))]):
        found = reader(x)
    weight = reader.weight[:, :, 0, 0]
    expected = sum(weight[:, channel, None, None] * x[:, channel][:, None] for channel in (0, 2))
    torch.testing.assert_close(found, expected)


def test_what_batch_norm_makes_of_a_removed_channel_does_not_leak() -> None:
    """Silencing the producer instead would leave beta alive in the reader."""
    model = make(Chain).double()
    with torch.no_grad():
        model.norm.bias.fill_(3.0)
    x = inputs_for(model).double()
    with masked(model, [Cut("first", "out", 4, (0,)), Cut("second", "in", 4, (0,))]):
        found = model(x)
    with torch.no_grad():
        model.second.weight[:, 0] = 0
    torch.testing.assert_close(found, model(x))


@pytest.mark.parametrize("shape", [(2, 6), (2, 5, 6), (2, 3, 4, 6)])
def test_a_linear_layer_reads_its_last_axis(shape: tuple[int, ...]) -> None:
    layer = nn.Linear(6, 2)
    x = torch.randn(shape)
    with masked(nn.Sequential(layer), [Cut("0", "in", 6, (0, 5))]):
        found = layer(x)
    expected = x[..., 1:5] @ layer.weight[:, 1:5].T + layer.bias
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(4, 2, 3), (2, 4, 9)),
        (nn.Conv2d(4, 2, 3, dilation=2), (2, 4, 9, 9)),
        (nn.Conv3d(4, 2, 3), (2, 4, 5, 5, 5)),
        (nn.Conv2d(4, 2, 3, groups=2), (2, 4, 9, 9)),
        (nn.Conv2d(4, 2, 3), (4, 9, 9)),
    ],
    ids=["1d", "dilated", "3d", "grouped", "unbatched"],
)
def test_a_convolution_reads_the_axis_before_the_spatial_ones(layer, shape) -> None:
    x = torch.randn(shape)
    axis = len(shape) - 1 - len(layer.kernel_size)
    silent = x.clone()
    silent.select(axis, 2).zero_()
    with masked(nn.Sequential(layer), [Cut("0", "in", 4, (2,))]):
        found = layer(x)
    torch.testing.assert_close(found, layer(silent))


def test_a_removed_channel_that_is_not_finite_stays_silent() -> None:
    layer = nn.Linear(2, 1)
    with masked(nn.Sequential(layer), [Cut("0", "in", 2, (1,))]):
        found = layer(torch.tensor([[1.0, torch.inf]]))
    assert found.isfinite().all()


def test_a_layer_called_by_keyword_is_silenced_too() -> None:
    layer = nn.Linear(2, 1)
    with masked(nn.Sequential(layer), [Cut("0", "in", 2, (1,))]):
        torch.testing.assert_close(
            layer(input=torch.tensor([[1.0, 9.0]])), layer(torch.tensor([[1.0, 0.0]]))
        )


def test_the_model_is_as_before_after_the_block_and_after_an_error() -> None:
    model = make(Chain)
    x = inputs_for(model)
    before = model(x)
    with pytest.raises(ZeroDivisionError), masked(model, [Cut("second", "in", 4, (0,))]):
        _ = 1 / 0
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


def test_a_removed_part_of_a_parameter_is_tagged_inside_the_block() -> None:
    model = nn.Module()
    model.scale = nn.Parameter(torch.arange(1.0, 9.0).view(1, 4, 2))
    with tagged(model, [Cut("scale", "out", 4, (0, 3), dim=1)]):
        assert model.scale.isnan().tolist() == [[[True] * 2, [False] * 2, [False] * 2, [True] * 2]]
        assert model.scale[0, 1].tolist() == [3, 4]
    assert model.scale.tolist() == [[[1, 2], [3, 4], [5, 6], [7, 8]]]


def test_a_layer_that_is_not_called_is_silenced_in_its_tensors() -> None:
    """As in torchvision's window attention, whose forward uses the weights of ``inner``."""
    model = nn.Module()
    model.inner = nn.Linear(3, 2)
    weight = model.inner.weight.detach().clone()
    cuts = [Cut("inner", "in", 3, (1,)), Cut("inner", "out", 2, (0,))]
    with masked(model, cuts, inside=["inner"]):
        expected = weight.clone()
        expected[0], expected[:, 1] = 0, 0
        assert torch.equal(model.inner.weight, expected)
        assert model.inner.bias[0] == 0
        assert model.inner.bias[1] != 0
    assert torch.equal(model.inner.weight, weight)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4)], ids=lambda norm: norm._get_name()
)
def test_of_a_norm_that_is_emptied_nothing_is_left_to_its_reader(norm) -> None:
    reader = nn.Linear(4, 3)
    every = (0, 1, 2, 3)
    with masked(nn.Sequential(norm, reader), [Cut("0", "out", 4, every), Cut("1", "in", 4, every)]):
        found = reader(norm(torch.randn(5, 4)))
    torch.testing.assert_close(found, reader.bias.expand(5, 3))
