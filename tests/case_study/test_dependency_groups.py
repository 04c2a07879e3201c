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


def owners(model):
    """Layers with parameters or buffers of their own."""
    return {name for name, _ in model.named_modules() if name} & {
        name.rpartition(".")[0] for name in model.state_dict()
    }


def test_every_output_axis_is_in_one_group_and_every_input_axis_in_at_most_one(dense) -> None:
    axes = [(member.tensor, member.dim) for group in dense.groups for member in group.members]
    assert len(axes) == len(set(axes))
    made = {each.layer for group in dense.groups for each in group.members if each.axis == "out"}
    assert made == owners(dense.model)


def test_every_tensor_of_every_layer_is_cut_along_its_channels(dense) -> None:
    """Counted from the layers alone: a depthwise filter and a norm have one axis of channels."""
    expected = set()
    for name, tensor in dense.model.state_dict().items():
        if tensor.dim():
            expected.add((name, 0))
        module = dense.model.get_submodule(name.rpartition(".")[0])
        reads = name != "features.0.0.weight" and getattr(module, "groups", 1) == 1
        if tensor.dim() > 1 and reads:  # the stem reads the image
            expected.add((name, 1))
    found = {(m.tensor, m.dim) for group in dense.groups for m in group.members}
    assert found == expected


def test_every_width_is_the_layers_own(dense) -> None:
    state = dense.model.state_dict()
    for group in dense.groups:
        for member in group.members:
            assert member.width == state[member.tensor].shape[member.dim] == group.width
            assert member.positions == tuple((channel,) for channel in range(group.width))


def test_every_channel_may_go_alone_except_the_classes(dense) -> None:
    for group in dense.groups:
        assert bool(group.together) is (group.name != "classifier.1")
        assert not group.together or group.together == tuple((c,) for c in range(group.width))


def test_every_group_says_why_it_is_coupled(dense) -> None:
    found = {coupling.why for group in dense.groups for coupling in group.couplings}
    assert found == {"sequence", "normalisation", "depthwise", "addition"}
    for group in dense.groups:
        depthwise = any(member.kind.startswith("depthwise") for member in group.members)
        assert depthwise is any(coupling.why == "depthwise" for coupling in group.couplings)


def test_only_the_classifier_is_output(dense) -> None:
    assert [group.name for group in dense.groups if group.is_output] == ["classifier.1"]


def test_torch_prunings_graph_couples_the_same_layers(dense) -> None:
    def axes(groups):
        return {frozenset((m.layer, m.axis) for m in group.members) for group in groups}

    assert axes(dense.groups) == axes(dense.dependency_groups)
    assert {each.additions for each in dense.groups} == {
        each.additions for each in dense.dependency_groups
    }
