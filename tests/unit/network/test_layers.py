"""How each kind of layer holds its channels, against sums and statistics written out by hand."""

import pytest
import torch
from torch import nn
from torchvision.models.convnext import LayerNorm2d

from analysis.network.layers import KINDS, has_own_forward, is_depthwise, kind_of
from analysis.proof.masking import masked
from analysis.records import Cut

KEPT = [0, 2, 3]


def over_kept(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the masked dense network makes of the kept channels; the others must be zero."""
    cut = Cut("0", "out", 4, (1,))
    with masked(nn.Sequential(layer), [cut]), torch.no_grad():
        found = layer(x)
    axis = kind_of(layer).axis(layer)
    assert not found.index_select(axis, torch.tensor([1])).any()
    return found.index_select(axis, torch.tensor(KEPT))


def randomised(layer: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(0.5, 1.5)
    return layer.double()


def test_a_layer_norm_takes_its_statistics_over_the_kept_channels() -> None:
    layer = randomised(nn.LayerNorm(4))
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    expected = torch.empty(2, 5, 3, dtype=torch.float64)
    for item in range(2):
        for token in range(5):
            values = [float(x[item, token, channel]) for channel in KEPT]
            mean = sum(values) / 3
            variance = sum((value - mean) ** 2 for value in values) / 3
            for place, channel in enumerate(KEPT):
                normal = (values[place] - mean) / (variance + layer.eps) ** 0.5
                expected[item, token, place] = normal * layer.weight[channel] + layer.bias[channel]
    torch.testing.assert_close(over_kept(layer, x), expected)


def test_a_layer_norm_of_images_is_one_of_tokens_on_another_axis() -> None:
    layer = randomised(LayerNorm2d(4))
    tokens = randomised(nn.LayerNorm(4, eps=layer.eps))
    tokens.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    expected = over_kept(tokens, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(over_kept(layer, x), expected)


def test_an_rms_norm_takes_its_mean_square_over_the_kept_channels() -> None:
    layer = randomised(nn.RMSNorm(4, eps=1e-3))
    x = torch.randn(5, 4, dtype=torch.float64)
    for token, found in zip(x, over_kept(layer, x), strict=True):
        mean_square = sum(float(token[channel]) ** 2 for channel in KEPT) / 3
        for place, channel in enumerate(KEPT):
            value = (
                float(token[channel]) / (mean_square + 1e-3) ** 0.5 * layer.weight[channel].item()
            )
            assert float(found[place]) == pytest.approx(value)


def test_a_group_norm_takes_them_in_each_group_over_channels_and_positions() -> None:
    layer = randomised(nn.GroupNorm(2, 4))
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    found = over_kept(layer, x)
    for members in ([0], [2, 3]):  # channel 1 of the first group went
        values = x[:, members].flatten(1)
        mean = values.mean(1).view(-1, 1, 1, 1)
        variance = values.var(1, correction=0).view(-1, 1, 1, 1)
        for channel in members:
            normal = (x[:, channel : channel + 1] - mean) / (variance + layer.eps).sqrt()
            expected = normal * layer.weight[channel] + layer.bias[channel]
            place = KEPT.index(channel)
            torch.testing.assert_close(found[:, place : place + 1], expected)


def test_attention_leaves_removed_channels_out_of_every_product() -> None:
    """One channel of each of two heads goes; queries, keys, values and scale written out."""
    layer = randomised(nn.MultiheadAttention(4, 2, batch_first=True)).eval()
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    kept = [[0], [3]]  # of each head
    with masked(nn.Sequential(layer), [Cut("0", "out", 4, (1, 2))]), torch.no_grad():
        found, _ = layer(x, x, x)
    with torch.no_grad():
        weight = [layer.in_proj_weight[4 * part : 4 * part + 4] for part in range(3)]
        bias = [layer.in_proj_bias[4 * part : 4 * part + 4] for part in range(3)]
        read = x[0][:, [0, 3]]
        q, k, v = (read @ weight[part][:, [0, 3]].T + bias[part] for part in range(3))
        summed = torch.zeros(3, 4, dtype=torch.float64)
        for channels in kept:
            scores = q[:, channels] @ k[:, channels].T / len(channels) ** 0.5
            mixed = scores.softmax(-1) @ v[:, channels]
            summed += mixed @ layer.out_proj.weight[:, channels].T
        expected = summed + layer.out_proj.bias
    torch.testing.assert_close(found[0][:, [0, 3]], expected[:, [0, 3]])


@pytest.mark.parametrize(
    ("layer", "out", "into"),
    [
        (nn.Conv2d(6, 4, 3), (1,), (0, 5)),
        (nn.Conv2d(8, 4, 3, groups=2), (0, 3), (1, 6)),
        (nn.ConvTranspose2d(6, 4, 3), (1,), (0, 5)),
        (nn.ConvTranspose2d(8, 4, 3, groups=2), (0, 2), (1, 6)),
        (nn.Linear(6, 4), (1, 2), (3,)),
    ],
    ids=["conv", "grouped", "transposed", "grouped transposed", "linear"],
)
def test_what_is_left_of_a_weight_computes_the_kept_outputs(layer, out, into) -> None:
    """A smaller layer with the restricted tensors against the whole one on silent inputs."""
    layer = randomised(layer)
    made = getattr(layer, "out_channels", None) or layer.out_features
    read = getattr(layer, "in_channels", None) or layer.in_features
    kept_out = [channel for channel in range(made) if channel not in out]
    kept_in = [channel for channel in range(read) if channel not in into]
    shape = (2, read) if isinstance(layer, nn.Linear) else (2, read, 5, 5)
    x = torch.randn(shape, dtype=torch.float64)
    silent = x.index_fill(1, torch.tensor(into), 0.0)
    sizes = (len(kept_in), len(kept_out))
    if isinstance(layer, nn.Linear):
        small = nn.Linear(*sizes)
    else:
        small = type(layer)(*sizes, 3, groups=layer.groups)
    kind = kind_of(layer)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            indices = torch.tensor(kept_out), torch.tensor(kept_in)
            getattr(small, name).data = kind.restrict(layer, name, parameter, *indices)
        torch.testing.assert_close(small(x[:, kept_in]), layer(silent)[:, kept_out])


def test_a_convolution_with_as_many_blocks_as_outputs_is_not_depthwise_if_it_reads_more() -> None:
    assert is_depthwise(nn.Conv2d(4, 4, 3, groups=4))
    assert not is_depthwise(nn.Conv2d(4, 2, 3, groups=2))
    assert not is_depthwise(nn.Conv2d(4, 8, 3, groups=4))


def test_every_kind_that_the_readme_promises_has_a_row() -> None:
    named = [each if isinstance(each, str) else each.__name__ for row in KINDS for each in row]
    known = {name.rpartition(".")[2].lstrip("_") for name in named}
    assert {
        "ConvNd", "Linear", "Embedding", "MultiheadAttention", "BatchNorm", "FrozenBatchNorm2d",
        "InstanceNorm", "PReLU", "GroupNorm", "LayerNorm2d", "LayerNorm", "RMSNorm",
    } <= known  # fmt: skip


def test_a_layer_of_pytorchs_own_computes_what_its_row_says() -> None:
    class Named(nn.Conv2d):
        """Nothing but a name."""

    class Standardized(nn.Conv2d):
        def _conv_forward(self, input, weight, bias):  # noqa: A002  # its name in PyTorch
            return super()._conv_forward(input, weight - weight.mean((1, 2, 3), True), bias)

    class Doubled(nn.BatchNorm2d):
        def forward(self, input):  # noqa: A002  # its name in PyTorch
            return 2 * super().forward(input)

    own = [nn.Conv1d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.BatchNorm2d(2), nn.LSTM(1, 1)]
    assert all(has_own_forward(layer) for layer in [*own, Named(1, 1, 1)])
    assert not has_own_forward(Standardized(1, 1, 1))
    assert not has_own_forward(Doubled(2))
