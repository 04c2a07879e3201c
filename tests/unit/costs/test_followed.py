"""The counts of one pass, with and without labels, compared with fvcore's."""

from typing import Any

import pytest
import torch
import torchvision
from blocks import PROVED, build
from drawn import part
from torch import Tensor, nn

from analysis import count_macs
from analysis.costs.counting import by_fvcore
from analysis.costs.followed import counted
from analysis.errors import InputError
from analysis.groups.inspecting import labelled
from analysis.records import LayerCost


@pytest.mark.parametrize(
    "name",
    part(["mobilenet_v2", "googlenet", "densenet121", "convnext_tiny", "vit_b_16", "swin_t"]),
)
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_each_layer_and_column_is_as_fvcore_counts_it(name: str) -> None:
    model, images = (
        torchvision.models.get_model(name, weights=None).eval(),
        torch.zeros(1, 3, 224, 224),
    )
    expected = by_fvcore(model, images)
    for table in (count_macs(model, images), counted(labelled(model, images))):
        assert (table.macs, table.params) == (expected.macs, expected.params)
        assert list(map(counts_of, table.layers)) == list(map(counts_of, expected.layers))
        assert table.uncalled == expected.uncalled


def counts_of(row: LayerCost) -> tuple[object, ...]:
    return row.layer, row.kind, row.columns, row.params, row.calls


@pytest.mark.parametrize("name", PROVED)
def test_each_kind_of_block_is_as_fvcore_counts_it(name: str) -> None:
    model, images = build(name).eval(), torch.zeros(2, *build(name).size)
    expected, found = by_fvcore(model, images), count_macs(model, images)
    assert list(map(counts_of, found.layers)) == list(map(counts_of, expected.layers))
    assert found.uncalled == expected.uncalled


def test_a_single_channel_which_has_no_label_costs_what_it_does() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1),
        nn.BatchNorm2d(1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1, 1),
    ).eval()
    images = torch.zeros(2, 1, 5, 5)
    table = counted(labelled(model, images))
    # A product for each of 50 positions, two for each of the norm's, one for each that is pooled.
    assert [row.macs for row in table.layers] == [50, 100, 50, 2]
    assert table.macs == count_macs(model, images).macs


@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AvgPool2d])
def test_a_window_of_a_pooling_is_a_number_a_tuple_or_a_list(pool: type[nn.Module]) -> None:
    def counts(window: Any) -> list[tuple[object, ...]]:
        model = nn.Sequential(nn.Conv2d(3, 4, 1), pool(window), nn.Flatten()).eval()
        return [*map(counts_of, count_macs(model, torch.zeros(2, 3, 6, 6)).layers)]

    assert counts(3) == counts((3, 3)) == counts([3, 3])


class Chained(nn.Module):
    """A product of three matrices in one operator, for which fvcore has no handle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(torch.linalg.multi_dot([x, x.mT, x]))


def test_what_fvcore_has_no_rule_for_is_counted_all_the_same() -> None:
    table = count_macs(Chained().eval(), torch.zeros(4, 6))
    # (4, 8) by (8, 4) by (4, 8) takes 4 * 8 * 4 twice.
    assert table.macs == 4 * 6 * 8 + 2 * 4 * 8 * 4 + 4 * 8 * 5
    with pytest.raises(InputError, match="linalg_multi_dot"):
        by_fvcore(Chained().eval(), torch.zeros(4, 6))


def test_an_operator_without_a_rule_is_listed() -> None:
    class Added(Chained):
        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.second(torch.addr(x, x.mean(1), x.mean(0)))

    table = count_macs(Added().eval(), torch.zeros(4, 6))
    assert table.macs == 4 * 6 * 8 + 4 * 8 * 5
    assert ("aten::addr", 1) in table.uncounted
