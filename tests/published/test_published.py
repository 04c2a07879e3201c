"""Printed figures are those of the cost model for a dense network and its widths."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
import torch
from torch import nn
from torch_pruning.pruner import MagnitudePruner
from torch_pruning.pruner.importance import MagnitudeImportance

from analysis import GroupPruner, count_macs
from analysis.network.inference import copy_of
from analysis.records import CONVENTIONS
from tests.published.predicting import agrees, example_of, figure, followed, in_order, predicted
from tests.published.rows import ROWS, Row, asked_of, dense, image

TESTED = in_order(row for row in ROWS if row.tested)
_WRONG = ("misprint", "unexplained")


def marked(row: Row) -> object:
    """The row as a parameter, expected to fail where it is known to be printed wrongly."""
    wrong = pytest.mark.xfail(reason=f"{row.verdict}: {row.reason}", strict=True)
    return pytest.param(row, id=row.id, marks=[wrong] if row.verdict in _WRONG else [])


@pytest.mark.parametrize("row", [marked(row) for row in TESTED])
def test_the_closed_form_gives_the_printed_figure(row: Row) -> None:
    assert row.printed_of(predicted(row)) == Decimal(row.value)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.id) for row in TESTED if row.verdict == "agrees"]
)
def test_a_figure_that_is_off_by_one_in_its_last_digit_fails(row: Row) -> None:
    for step in (row.last_digit, -row.last_digit):
        planted = replace(row, value=str(Decimal(row.value) + step))
        assert not agrees(planted, predicted(row))


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.id) for row in TESTED if row.verdict in _WRONG]
)
def test_a_row_that_is_printed_wrongly_says_so_with_a_reason(row: Row) -> None:
    assert row.reason
    right = replace(row, value=str(row.printed_of(predicted(row))))
    assert agrees(right, predicted(row))
    assert not agrees(row, predicted(row))


BY_ID = {row.id: row for row in ROWS}
_STEM = {row.id: (int(row.input_size) // 2) ** 2 * 27 * 24 for row in TESTED
         if "leaves out the first" in row.reason}  # fmt: skip


@pytest.mark.parametrize("name", _STEM)
def test_figures_that_leave_out_the_first_convolution(name: str) -> None:
    row = BY_ID[name]
    assert agrees(row, predicted(row) - _STEM[name])


@pytest.mark.parametrize("row", [row for row in TESTED if row.reason == "ten times too small"])
def test_figures_that_are_ten_times_too_small(row: Row) -> None:
    assert agrees(row, predicted(row) / 10)


@pytest.mark.parametrize("name", ["foolwood-vgg19-0.3-macs", "foolwood-vgg19-0.3-params"])
def test_figures_of_a_width_that_was_misread(name: str) -> None:
    row = BY_ID[name]
    assert agrees(row, predicted(replace(row, widths=row.widths.replace("244", "224"))))


def test_figures_of_another_row() -> None:
    full, printed = BY_ID["us-mbv2-1.0-macs"], BY_ID["amc-mbv2-0.75-macs"]
    assert agrees(printed, predicted(full))
    linear, printed = 512 * 512, BY_ID["chip-vgg16-dense-macs"]
    assert agrees(printed, predicted(printed) + linear)
    repeated = {row.value for row in TESTED if row.id.startswith("keras-mbv1-")}
    assert repeated == {"529"}
    assert agrees(BY_ID["autoslim-mnasnet-532-macs"], predicted(BY_ID["autoslim-mnasnet-539-macs"]))


def is_uniform(row: Row) -> bool:
    """Whether one ratio holds for all widths, and leaves some of each."""
    return bool(row.option("ratio=") or row.option("each")) and row.option("ratio=") != "1.00"


UNIFORM = sorted(
    (row for row in TESTED if is_uniform(row) and row.verdict == "agrees"),
    key=lambda row: (str(asked_of(row).key), row.input_size, row.widths, row.setting),
)
_COUNTED: dict[object, tuple[nn.Module, dict[str, int]]] = {}


def pruned_of(row: Row) -> tuple[nn.Module, dict[str, int]]:
    """The network pruned to a row's widths; the last is kept, with its MACs by convention."""
    asked = asked_of(row)
    key = asked.key, row.input_size, tuple(asked.widths.items())
    if key not in _COUNTED:
        _COUNTED.clear()
        model = copy_of(dense(asked.key))
        network = followed(asked.key, row.input_size, example_of(row))
        heads = "alike" if asked.key[0] == "vit" else "whole"
        pruner = GroupPruner(
            model, image(row), widths=asked.widths, ignore="none", heads=heads, followed=network
        )
        pruner.step()
        _COUNTED[key] = model, {}
    return _COUNTED[key]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in UNIFORM])
def test_a_network_pruned_to_the_widths_counts_as_printed(row: Row) -> None:
    model, macs = pruned_of(row)
    params = sum(tensor.numel() for tensor in model.parameters())
    convention = row.convention
    if row.quantity == "params":
        assert row.convention in ("conv-linear", "tensorflow-slim", "paddle")
        if convention != "conv-linear":
            params = count_macs(model, image(row), convention=convention).params
        assert agrees(row, figure(row, 0, params))
    else:
        if convention not in macs:
            macs[convention] = count_macs(model, image(row), convention=convention).macs
        assert agrees(row, figure(row, macs[convention], params))


RATIOS = {
    (row.network, row.option("ratio=")): row
    for row in UNIFORM
    if row.network in ("resnet18", "resnet50") and row.option("ratio=")
}


@pytest.mark.parametrize("row", [pytest.param(r, id="-".join(k)) for k, r in RATIOS.items()])
def test_torch_pruning_leaves_the_printed_widths_at_the_printed_ratio(row: Row) -> None:
    asked = asked_of(row)
    model = copy_of(dense(asked.key))
    heads = [] if row.option("head") else [model.fc]
    pruner = MagnitudePruner(
        model,
        torch.zeros(1, 3, 64, 64),
        MagnitudeImportance(1),
        pruning_ratio=float(row.option("ratio=")),
        ignored_layers=heads,
        round_to=2 if row.option("head") else 1,
    )
    pruner.step()
    layers = dict(model.named_modules())
    for name, width in asked.widths.items():
        assert getattr(layers[name], "out_channels", None) in (width, None), name


def test_at_least_300_rows_are_tested_and_the_others_say_why_not() -> None:
    found = Counter(row.verdict for row in ROWS)
    assert len(TESTED) >= 300
    assert set(found) == {"agrees", "misprint", "unexplained", "not expressed"}
    assert all(row.reason for row in ROWS if not row.tested)
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_every_row_names_a_source_and_a_convention() -> None:
    assert all(row.source for row in ROWS)
    assert all(row.convention in CONVENTIONS for row in TESTED)
