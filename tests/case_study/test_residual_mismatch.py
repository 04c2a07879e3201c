"""Claim 2: what happens when a layer is cut without its group."""

from functools import cache

import pytest
from case import SKIPS, SUBJECTS
from drawn import part

from analysis import reproduce_residual_mismatch
from analysis.proof.mismatch import reproduce_depthwise_mismatch
from analysis.records import Verdict


@pytest.fixture(params=SUBJECTS)
def dense(request, dense_of):
    return dense_of(request.param)


@pytest.fixture
def residual(dense):
    return {entry.block: entry for entry in _residual(dense)}


@pytest.fixture(params=part(SUBJECTS))
def depthwise(request, dense_of):
    """Of one of the two networks, which have the same convolutions; the report has both."""
    return _depthwise(dense_of(request.param))


@cache
def _residual(dense):
    return reproduce_residual_mismatch(dense.model, dense.inputs)


@cache
def _depthwise(dense):
    return reproduce_depthwise_mismatch(dense.model, dense.inputs)


def test_there_is_evidence_for_each_of_the_ten_skips(residual) -> None:
    assert tuple(residual) == SKIPS


@pytest.mark.parametrize("block", SKIPS)
def test_cutting_the_projection_alone_raises_at_the_addition(dense, residual, block: str) -> None:
    found = residual[block]
    width = dict(dense.model.named_modules())[f"{block}.conv.2"].out_channels
    assert found.layers == (f"{block}.conv.2", f"{block}.conv.3")
    assert (found.raised_in, found.function) == (block, "add")
    assert [shape[1] for shape in found.shapes] == [width, width - width // 2]
    assert f"tensor a ({width}) must match the size of tensor b ({width // 2})" in found.error


@pytest.mark.parametrize("block", SKIPS)
def test_cutting_depgraphs_group_for_the_same_root_is_exact(residual, block: str) -> None:
    assert residual[block].group.verdict is Verdict.EXACT


def test_every_depthwise_convolution_cut_without_its_expansion_refuses_its_input(depthwise) -> None:
    assert len(depthwise) == 17
    for found in depthwise:
        convolution = found.layers[0]
        assert (found.raised_in, found.function) == (convolution, "conv2d")
        read, weight = found.shapes
        assert read[1] == 2 * weight[0]
        assert "channels" in found.error


def test_every_depthwise_convolution_cut_with_its_group_is_exact(depthwise) -> None:
    assert {found.group.verdict for found in depthwise} == {Verdict.EXACT}


def test_the_model_is_not_changed(dense, residual) -> None:
    assert dense.model.features[3].conv[2].out_channels == 24
    assert not any(module._forward_hooks for module in dense.model.modules())
