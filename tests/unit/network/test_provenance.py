"""Which channel feeds which, against maps worked out from what each operator is known to do."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F  # noqa: N812

from analysis.network.provenance import JOINED, Mixing, trace_channels


class Through(nn.Module):
    """Eight channels, a function of them, and a layer that reads what comes out."""

    def __init__(self, function, reads: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.function = function
        self.second = nn.Conv2d(reads, 2, 1) if reads != 8 * 16 else nn.Linear(reads, 2)

    def forward(self, x):
        return self.second(self.function(self.first(x)))


X = torch.randn(1, 3, 4, 4)


def arriving(function, reads: int = 8) -> list[int | None]:
    flow = trace_channels(Through(function, reads).eval(), X, {"first": range(8)})
    return dict(flow.arrivals())["second"]


MAPS = {
    "flip": (lambda x: x.flip(1), [7, 6, 5, 4, 3, 2, 1, 0]),
    "roll": (lambda x: x.roll(3, 1), [5, 6, 7, 0, 1, 2, 3, 4]),
    "shuffle": (
        lambda x: x.view(-1, 2, 4, 4, 4).transpose(1, 2).flatten(1, 2), [0, 4, 1, 5, 2, 6, 3, 7],
    ),
    "chunk and cat": (
        lambda x: torch.cat(x.chunk(4, 1)[::-1], 1), [6, 7, 4, 5, 2, 3, 0, 1],
    ),
    "index": (lambda x: x[:, [3, 3, 0, 1, 2, 7, 6, 6]], [3, 3, 0, 1, 2, 7, 6, 6]),
    "stack": (
        lambda x: torch.stack([x[:, :4], x[:, 4:]], 2).flatten(1, 2), [0, 4, 1, 5, 2, 6, 3, 7],
    ),
    "activations": (lambda x: F.hardswish(F.relu6(F.gelu(x).sigmoid())), list(range(8))),
    "pooling": (lambda x: F.max_pool2d(F.avg_pool2d(x, 2), 2), list(range(8))),
    "padded": (lambda x: F.pad(x[:, 2:], (0, 0, 0, 0, 1, 1)), [None, 2, 3, 4, 5, 6, 7, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_the_map_of_an_operator_is_found(name: str) -> None:
    function, expected = MAPS[name]
    assert list(arriving(function)) == expected


def test_a_flattened_channels_last_image_has_its_channels_side_by_side() -> None:
    found = arriving(lambda x: x.permute(0, 2, 3, 1).flatten(1), 8 * 16)
    assert list(found) == [place % 8 for place in range(8 * 16)]
    found = arriving(lambda x: x.flatten(1), 8 * 16)
    assert list(found) == [place // 16 for place in range(8 * 16)]


def test_pixel_shuffle_folds_four_channels_into_one() -> None:
    assert list(arriving(lambda x: F.pixel_shuffle(x, 2), 2)) == [JOINED, JOINED]


def test_channels_of_two_places_that_are_added_are_joined() -> None:
    found = arriving(lambda x: x + x.flip(1))
    assert list(found) == [JOINED] * 8
    flow = trace_channels(Through(lambda x: x + x.flip(1)).eval(), X, {"first": range(8)})
    assert not [event for event in flow.events if isinstance(event, Mixing)]


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: x.softmax(1), "softmax"),
        (lambda x: x - x.mean(1, keepdim=True), "mean"),
        (lambda x: F.normalize(x, dim=1), "normalize"),
        (lambda x: x * x.amax(1, keepdim=True), "amax"),
    ],
    ids=["softmax", "mean", "normalize", "amax"],
)
def test_an_operator_that_mixes_is_named_and_the_order_behind_it_is_seen(
    function, operator
) -> None:
    network = Through(lambda x: function(x).flip(1)).eval()
    flow = trace_channels(network, X, {"first": range(8)})
    assert Mixing("", operator) in flow.events
    assert list(dict(flow.arrivals())["second"]) == [7, 6, 5, 4, 3, 2, 1, 0]


def test_what_is_not_followed_does_not_arrive() -> None:
    network = Through(lambda x: x).eval()
    flow = trace_channels(network, X, {"first": [None, 0, None, 1, None, None, None, 5]})
    expected = [None, 0, None, 1, None, None, None, 5]
    assert list(dict(flow.arrivals())["second"]) == expected


def test_one_forward_pass_is_enough_and_the_network_is_not_changed() -> None:
    network = Through(lambda x: x.flip(1)).eval()
    calls = []
    network.first.register_forward_hook(lambda *_: calls.append(1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trace_channels(network, X, {"first": range(8)})
    assert len(calls) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.second._forward_pre_hooks


def test_a_network_for_one_size_of_batch_is_run_once_an_item() -> None:
    class OneImage(Through):
        def forward(self, x):
            return super().forward(x.reshape(1, 3, 4, 4))

    network = OneImage(lambda x: x.roll(1, 1)).eval()
    flow = trace_channels(network, X, {"first": range(8)})
    assert list(dict(flow.arrivals())["second"]) == [7, 0, 1, 2, 3, 4, 5, 6]


def test_large_inputs_are_run_in_several_passes_with_the_same_answer() -> None:
    network = Through(lambda x: x.flip(1)).eval()
    calls = []
    network.first.register_forward_hook(lambda *_: calls.append(1))
    flow = trace_channels(network, torch.randn(1, 3, 600, 600), {"first": range(8)})
    assert list(dict(flow.arrivals())["second"]) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert len(calls) == 3


def test_attention_passes_values_on_and_stops_queries_and_keys() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made = nn.Linear(4, 12)
            self.project = nn.Linear(4, 4)

        def forward(self, x):
            q, k, v = self.made(x).chunk(3, -1)
            return self.project(F.scaled_dot_product_attention(q, k, v))

    flow = trace_channels(Attend().eval(), torch.randn(1, 5, 4), {"made": range(12)})
    assert list(dict(flow.arrivals())["project"]) == [8, 9, 10, 11]


def test_torchvisions_channel_shuffle_is_found_in_shufflenet() -> None:
    """Second block of a stage: its branch reads the upper half of the shuffled channels."""
    model = torchvision.models.shufflenet_v2_x0_5().eval()
    left, right = "stage2.0.branch1.2", "stage2.0.branch2.5"
    numbers = {left: range(24), right: range(24, 48)}
    flow = trace_channels(model, torch.randn(1, 3, 64, 64), numbers)
    shuffled = [channel for pair in zip(range(24), range(24, 48), strict=True) for channel in pair]
    assert list(dict(flow.arrivals())["stage2.1.branch2.0"]) == shuffled[24:]
