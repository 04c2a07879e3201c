"""Claim 1: which layers of MobileNetV2 must be cut together, and why."""

import pytest
import torchvision
from case import SKIPS, SUBJECTS


@pytest.fixture(params=SUBJECTS)
def dense(request, dense_of):
    return dense_of(request.param)


def blocks(model):
    """Names of the inverted residuals, with what torchvision says of their skip."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torchvision.models.mobilenetv2.InvertedResidual)
    }


def test_the_skips_are_the_ten_that_torchvision_declares(dense) -> None:
    declared = tuple(name for name, block in blocks(dense.model).items() if block.use_res_connect)
    assert declared == SKIPS


def test_additions_are_found_in_exactly_those_blocks(dense) -> None:
    found = [block for group in dense.groups for block in group.additions]
    assert sorted(found) == sorted(SKIPS)


def test_each_joined_group_spans_the_block_before_its_first_skip_and_every_skip_after(
    dense,
) -> None:
    joined = {group.additions: group for group in dense.groups if group.additions}
    for additions, group in joined.items():
        first = int(additions[0].split(".")[1])
        projections = {
            member.layer.rsplit(".conv.", 1)[0]
            for member in group.members
            if member.axis == "out" and member.kind == "Conv2d"
        }
        assert projections == {f"features.{first - 1}", *additions}


def test_expansion_channels_are_in_no_joined_group(dense) -> None:
    for name, block in blocks(dense.model).items():
        depthwise = [
            f"{name}.{inner}"
            for inner, module in block.named_modules()
            if getattr(module, "groups", 1) > 1
        ]
        (group,) = [group for group in dense.groups if depthwise[0] in group.layers]
        assert group.additions == ()
        # All that makes and filters these channels is in this block (or, without an
        # expansion, in the stem before it).
        home = {name} if len(block.conv) > 3 else {name, "features.0"}
        assert {layer.rsplit(".conv.", 1)[0] for layer in group.layers} <= home | {
            "features.0.0", "features.0.1",
        }  # fmt: skip


def test_every_output_axis_is_in_one_group_and_every_input_axis_in_at_most_one(dense) -> None:
    axes = [(member.layer, member.axis) for group in dense.groups for member in group.members]
    assert len(axes) == len(set(axes))
    layers = {
        name
        for name, module in dense.model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    }
    assert {layer for layer, axis in axes if axis == "out"} == layers


def test_every_width_is_the_layers_own(dense) -> None:
    modules = dict(dense.model.named_modules())
    for group in dense.groups:
        for member in group.members:
            weight = modules[member.layer].weight
            axis = 0 if member.axis == "out" else 1
            assert member.width == weight.shape[axis] == group.width


def test_every_member_says_why_it_is_coupled(dense) -> None:
    expected = {
        "root", "sequence", "batch norm", "depthwise", "residual addition", "classifier input",
    }  # fmt: skip
    found = {member.coupling for group in dense.groups for member in group.members}
    assert found == expected


def test_only_the_classifier_is_output(dense) -> None:
    assert [group.root for group in dense.groups if group.is_output] == ["classifier.1"]
