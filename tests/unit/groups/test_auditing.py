"""DepGraph's numbering against the network's, before pruning."""

import pytest
import torch
import torchvision
from blocks import Attention, build
from nets import Concat, Residual, inputs_for, make

from analysis.groups.auditing import audit
from analysis.groups.depgraph import dependency_groups


def misread(model, inputs):
    return audit(model, inputs, dependency_groups(model, inputs))


@pytest.mark.parametrize("kind", [Concat, Residual])
def test_a_network_that_is_followed_rightly_has_nothing_misread(kind) -> None:
    model = make(kind)
    assert not any(misread(model, inputs_for(model)).values())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "convnext_tiny"])
def test_every_group_of_a_known_network_is_right(name: str) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    found = misread(model, torch.randn(1, 3, 32, 32))
    assert len(found) > 10
    assert not any(found.values())


def test_a_flip_is_told_with_both_maps() -> None:
    model = build("flip")
    (entry,) = misread(model, torch.randn(1, *model.size))["first"]
    assert entry.layer == "second"
    assert entry.places == entry.believed == tuple(range(8))
    assert entry.found == tuple(range(7, -1, -1))


def test_channels_of_two_places_that_are_added_are_told_as_several() -> None:
    model = build("channels of two places added")
    (entry,) = misread(model, torch.randn(1, *model.size))["first"]
    assert set(entry.found) == {None}


def test_a_flattened_channels_last_image_is_misread_where_the_maps_differ() -> None:
    model = build("flattened with channels last")
    (entry,) = misread(model, torch.randn(1, *model.size))["first"]
    right = [place for place in range(128) if place // 16 != place % 8]
    assert entry.places == tuple(right)
    assert entry.believed == tuple(place // 16 for place in right)
    assert entry.found == tuple(place % 8 for place in right)


def test_attention_over_heads_is_followed() -> None:
    model = Attention(fused=True, scale="torch").eval()
    assert not any(misread(model, torch.randn(1, *model.size)).values())


def test_a_spatial_attention_of_one_channel_is_not_taken_for_a_misreading() -> None:
    class Spatial(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 1)
            self.weigh = torch.nn.Conv2d(8, 1, 1)
            self.second = torch.nn.Conv2d(8, 2, 1)

        def forward(self, x):
            x = self.first(x)
            return self.second(x * self.weigh(x).sigmoid())

    assert not any(misread(Spatial().eval(), torch.randn(1, 3, 4, 4)).values())
