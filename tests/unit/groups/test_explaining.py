"""What is in no group is listed with the reason, and any layer can be asked for."""

import pytest
import torch
from torch import nn

from analysis.groups.depgraph import dependency_groups
from analysis.groups.explaining import outside, why
from analysis.groups.inspecting import labelled

INPUTS = (torch.tensor([[1, 2, 3]]),)


class Words(nn.Module):
    """An embedding behind no gradient, a recurrent layer, and what is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.recurrent = nn.GRU(8, 6, batch_first=True)
        self.head = nn.Linear(6, 4)
        self.never = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(5))
        self.drop = nn.Dropout()

    def forward(self, words):
        with torch.no_grad():
            embedded = self.embed(words)
        total = self.scale.sum().detach()
        return self.head(self.drop(self.recurrent(embedded)[0]))[:, -1], total


def test_layers_with_parameters_that_are_in_no_group_are_listed_with_the_reason() -> None:
    found = {each.layer: (each.kind, each.why) for each in outside(labelled(Words(), INPUTS))}
    assert found == {
        "never": ("Linear", "it is never called, or calls no operator, on the example inputs"),
        "scale": ("parameter", "its values are never combined with an activation"),
    }


def test_layers_that_only_torch_pruning_has_in_no_group_are_distinguished() -> None:
    model = Words()
    followed = labelled(model, INPUTS)
    members = {each.layer for group in dependency_groups(model, INPUTS) for each in group.members}
    more = {each.layer: each.why for each in outside(followed, members)}
    assert "embed" not in members
    assert more["embed"] == "torch-pruning reads no group with it"
    assert "never called" in more["never"]


@pytest.mark.parametrize("layer", ["", "embed", "recurrent", "head", "never", "scale", "drop"])
def test_any_layer_can_be_asked_for(layer: str) -> None:
    said = why(labelled(Words(), INPUTS), layer)
    assert (f"`{layer}`" if layer else "the model itself") in said


def test_a_network_all_of_whose_layers_are_in_groups_has_none_outside() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    assert outside(labelled(model, torch.randn(2, 3))) == ()


class Padded(nn.Module):
    """A shortcut of four channels, filled with zeros to eight."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.narrow(x)
        return self.head(self.wide(x.relu()) + nn.functional.pad(x, (0, 0, 0, 0, 2, 2)))


def test_a_layer_is_said_to_have_as_many_channels_of_a_group_as_it_has() -> None:
    followed = labelled(Padded(), torch.randn(1, 3, 4, 4))
    assert why(followed, "narrow").startswith("`narrow` has 4 of the 8 channels of group ")
    assert why(followed, "wide").startswith("`wide` has the 8 channels of group ")
