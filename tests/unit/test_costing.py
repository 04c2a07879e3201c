"""Counts worked out by hand."""

import pytest
import torch
from nets import Chain, Grouped, Named, Residual, inputs_for, make
from torch import nn

from analysis import count_macs
from analysis.costing import saved_bytes
from analysis.errors import InputError


def test_each_layer_has_the_macs_of_its_definition() -> None:
    rows = count_macs(make(Chain), torch.randn(1, 3, 6, 6)).by_layer()
    positions = 6 * 6
    assert rows["first"].macs == 3 * 4 * 3 * 3 * positions
    assert rows["norm"].macs == 2 * 4 * positions  # fvcore: two an element
    assert rows["second"].macs == 4 * 5 * positions
    assert rows["head"].macs == 5 * 2
    assert rows["first"].params == 3 * 4 * 3 * 3
    assert rows["second"].params == 4 * 5 + 5
    assert rows["norm"].params == 8


def test_a_depthwise_and_a_grouped_convolution_read_one_group_each() -> None:
    rows = count_macs(make(Residual), torch.randn(1, 3, 6, 6)).by_layer()
    assert rows["block.depthwise"].macs == 8 * 3 * 3 * 36
    rows = count_macs(make(Grouped), torch.randn(1, 3, 6, 6)).by_layer()
    assert rows["grouped"].macs == 8 * (8 // 2) * 3 * 3 * 4 * 4


def test_rows_sum_to_the_totals_and_to_the_models_own_parameters() -> None:
    model = make(Residual)
    table = count_macs(model, torch.randn(1, 3, 6, 6))
    assert table.macs == sum(row.macs for row in table.layers)
    assert table.params == sum(parameter.numel() for parameter in model.parameters())


def test_what_is_not_counted_is_listed() -> None:
    class Odd(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(3, 3)

    table = count_macs(make(Odd), torch.randn(1, 3, 6, 6))
    assert dict(table.uncounted)["aten::mean"] == 1
    assert table.uncalled == ("unused",)
    assert table.by_layer()["unused"].params == 12


def test_a_function_the_model_calls_itself_is_the_models_own_row() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.adaptive_avg_pool2d(self.conv(x), 1)

    rows = count_macs(Pooled(), torch.randn(1, 3, 5, 5)).by_layer()
    assert rows[""].macs == 4 * 5 * 5


def test_inputs_by_name_are_counted() -> None:
    inputs = {"image": torch.randn(1, 3, 6, 6), "vector": torch.randn(1, 5)}
    rows = count_macs(make(Named), inputs).by_layer()
    assert rows["image"].macs == 3 * 6 * 3 * 3 * 4 * 4
    assert rows["vector"].macs == 5 * 8


def test_the_model_is_left_as_found_even_after_an_error() -> None:
    model = make(Chain).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    count_macs(model, inputs_for(model))
    with pytest.raises(InputError):
        count_macs(model, torch.randn(1, 2, 6, 6))
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_size_is_that_of_the_saved_file(tmp_path) -> None:
    model = make(Chain)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    # The archive names its folder after the file; nothing else may differ.
    assert saved_bytes(model) == pytest.approx((tmp_path / "state.pt").stat().st_size, abs=400)


def test_a_shared_parameter_is_counted_once() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    table = count_macs(nn.Sequential(first, second), torch.randn(1, 3))
    assert (table.params, table.macs) == (9, 18)


def test_inputs_that_the_model_refuses_are_named() -> None:
    with pytest.raises(InputError, match=r"cannot be counted: `first` raised in conv2d on"):
        count_macs(make(Chain), torch.randn(1, 2, 6, 6))
