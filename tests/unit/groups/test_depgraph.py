"""Dependency groups of networks small enough to read."""

import pytest
import torch
import torch_pruning as tp
import torchvision
from nets import Chain, Concat, Flattened, Grouped, Named, Residual, inputs_for, make
from torch import nn

from analysis.errors import InputError, UnprunableError
from analysis.groups.depgraph import dependency_groups, groups_cut_by, read
from analysis.records import DependencyGroup


def by_layer(groups: tuple[DependencyGroup, ...], layer: str) -> DependencyGroup:
    return next(group for group in groups if layer in group.layers)


def test_an_addition_joins_the_stem_and_the_projection_but_not_the_expansion() -> None:
    model = make(Residual)
    groups = dependency_groups(model, inputs_for(model))
    joined = by_layer(groups, "stem")
    assert joined is by_layer(groups, "block.project")
    assert joined.additions == ("block",)
    assert "block.expand" not in joined.layers
    assert by_layer(groups, "block.expand").additions == ()


class Gated(nn.Module):
    """A gate that scales channels, two numbers that scale everything, and an output of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.excite, self.wide = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x) * 0.5
        x = x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.head((self.wide(x) * 2.0).mean((2, 3)))


def test_a_product_of_activations_is_of_the_group_that_it_joins_and_no_other() -> None:
    groups = dependency_groups(Gated(), torch.randn(1, 3, 6, 6))
    gated = by_layer(groups, "stem")
    assert gated is by_layer(groups, "excite")
    assert gated.products == ("",)  # the model's own forward
    assert {group.root for group in groups if group.products} == {gated.root}
    assert not [group for group in groups if group.additions]


def test_a_pointwise_convolution_has_its_own_kind() -> None:
    groups = dependency_groups(Gated(), torch.randn(1, 3, 6, 6))
    found = {member.layer: member.pointwise for group in groups for member in group.members}
    assert found == {"stem": False, "squeeze": True, "excite": True, "wide": False, "head": False}


def test_each_member_says_why_it_is_coupled() -> None:
    model = make(Residual)
    groups = dependency_groups(model, inputs_for(model))
    inner = by_layer(groups, "block.expand")
    why = {(member.layer, member.axis): member.coupling for member in inner.members}
    assert why == {
        ("block.depthwise", "out"): "root",
        ("block.norm", "out"): "batch norm",
        ("block.project", "in"): "sequence",
        ("block.expand", "out"): "depthwise",
    }
    joined = by_layer(groups, "stem")
    outer = {(m.layer, m.axis): (m.coupling, m.via) for m in joined.members}
    assert outer["block.expand", "in"] == ("sequence", "")
    assert outer["head", "in"] == ("classifier input", "")
    producers = {outer["stem", "out"], outer["block.project", "out"]}
    assert ("residual addition", "block") in producers


def test_only_the_group_of_the_classifier_is_output() -> None:
    model = make(Residual)
    outputs = [
        group.root for group in dependency_groups(model, inputs_for(model)) if group.is_output
    ]
    assert outputs == ["head"]


def test_an_output_that_is_also_read_inside_is_output() -> None:
    model = make(Named)
    inputs = {"image": torch.randn(1, 3, 6, 6), "vector": torch.randn(1, 5)}
    groups = dependency_groups(model, inputs)
    assert by_layer(groups, "vector").is_output
    assert by_layer(groups, "head").is_output
    assert not by_layer(groups, "image").is_output


def test_a_convolutional_classifier_is_output() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    groups = dependency_groups(model, torch.randn(1, 3, 4, 4))
    assert [group.is_output for group in groups] == [False, True]


def test_a_concatenation_gives_each_branch_its_part_of_the_reader() -> None:
    model = make(Concat)
    groups = dependency_groups(model, inputs_for(model))
    reader = {
        branch: next(m for m in by_layer(groups, branch).members if m.layer == "join")
        for branch in ("left", "right")
    }
    assert reader["left"].roots == (0, 1, 2, 3, *[-1] * 6)
    assert reader["right"].roots == (*[-1] * 4, 0, 1, 2, 3, 4, 5)


def test_a_flattened_channel_is_followed_by_each_of_its_positions() -> None:
    model = make(Flattened)
    groups = dependency_groups(model, inputs_for(model))
    head = next(m for m in by_layer(groups, "first").members if m.layer == "head")
    assert head.roots == tuple(channel for channel in range(4) for _ in range(4))


def test_a_grouped_convolution_says_how_many_blocks_are_cut_alike() -> None:
    model = make(Grouped)
    groups = dependency_groups(model, inputs_for(model))
    assert by_layer(groups, "first").channel_groups == 2
    assert by_layer(groups, "grouped").channel_groups == 2


def test_ignored_layers_hold_their_whole_group() -> None:
    model = make(Residual)
    groups = dependency_groups(
        model, inputs_for(model), ignored_layers=[model.block.project, "head"]
    )
    assert {group.root for group in groups if group.ignored} == {
        by_layer(groups, "stem").root,
        "head",
    }


def test_ignoring_a_container_ignores_its_layers() -> None:
    model = make(Residual)
    groups = dependency_groups(model, inputs_for(model), ignored_layers=["block"])
    assert [group.ignored for group in groups] == [True, True, False]


def test_an_ignored_layer_of_another_model_is_refused() -> None:
    model = make(Residual)
    with pytest.raises(InputError, match="not part of the model"):
        dependency_groups(model, inputs_for(model), ignored_layers=[nn.Linear(2, 2)])


def test_frozen_layers_are_read_too_and_stay_frozen() -> None:
    model = make(Residual).requires_grad_(False)
    assert len(dependency_groups(model, inputs_for(model))) == 3
    assert not any(parameter.requires_grad for parameter in model.parameters())


class Swapped(nn.Module):
    """Chunks of channels put in another order, which DepGraph numbers beyond the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.first(x).chunk(2, 1)
        return self.second(torch.cat((right.chunk(2, 1)[0], left, right.chunk(2, 1)[1]), 1))


def test_a_group_that_does_not_fit_its_layers_says_so_with_the_line() -> None:
    group, _ = dependency_groups(Swapped().eval(), torch.randn(1, 4, 4, 4))
    assert "channel 7 of `first`, whose output axis has 4 channels" in group.untraced
    assert (
        "operator chunk in the model's own forward, tests/unit/groups/test_depgraph.py:"
        in group.untraced
    )
    assert "left, right = self.first(x).chunk(2, 1)" in group.untraced


def test_a_model_that_torch_pruning_cannot_trace_names_operator_and_line() -> None:
    model = torchvision.models.shufflenet_v2_x0_5().eval()
    with pytest.raises(UnprunableError) as caught:
        dependency_groups(model, torch.randn(1, 3, 64, 64))
    assert "raised ZeroDivisionError" in str(caught.value)
    assert "at operator view in `stage" in str(caught.value)
    assert "torchvision/models/shufflenetv2.py:" in str(caught.value)
    assert "x.view(batchsize, num_channels, height, width)" in str(caught.value)


def test_inputs_that_the_model_refuses_are_named() -> None:
    with pytest.raises(InputError, match=r"`first` raised in conv2d on \(1, 2, 6, 6\)"):
        dependency_groups(make(Chain), torch.randn(1, 2, 6, 6))


def pruner_on(model: nn.Module) -> tp.pruner.BasePruner:
    return tp.pruner.BasePruner(
        model, inputs_for(model), importance=tp.importance.MagnitudeImportance(p=1)
    )


def cut_by(pruner, model: nn.Module, inputs) -> tuple[DependencyGroup, ...]:
    return groups_cut_by(pruner, model, inputs, read(pruner, inputs))


@pytest.mark.parametrize("frozen", ["block.expand", "block", "head"])
def test_frozen_layers_of_a_users_pruner_are_those_of_a_graph_of_our_own(frozen) -> None:
    """Found by labels, and by DepGraph's second trace."""
    model = make(Residual)
    model.get_submodule(frozen).requires_grad_(False)
    found = cut_by(pruner_on(model), model, inputs_for(model))
    expected = dependency_groups(model, inputs_for(model))
    assert [(each.root, each.width, each.frozen, bool(each.untraced)) for each in found] == [
        (each.root, each.width, each.frozen, bool(each.untraced)) for each in expected
    ]


def test_a_layer_that_goes_with_a_frozen_one_is_not_cut_rightly() -> None:
    model = make(Residual)
    model.stem.requires_grad_(False)
    found = cut_by(pruner_on(model), model, inputs_for(model))
    output = {layer: each.untraced for each in found for layer in each.layers if each.untraced}
    assert output["block.project"].startswith("`stem` is frozen")
    assert "head" not in output


def test_a_norm_that_is_trained_does_not_make_a_frozen_layer_one_that_a_pruner_sees() -> None:
    model = make(Chain)
    model.first.requires_grad_(False)
    first, *others = cut_by(pruner_on(model), model, inputs_for(model))
    assert (first.root, first.frozen, first.untraced) == ("first", True, "")
    assert not any(each.frozen or each.untraced for each in others)


class Routed(nn.Module):
    """Can also be run without what DepGraph numbers beyond the last channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.swapped = nn.Conv2d(4, 4, 1), Swapped()

    def forward(self, x: torch.Tensor, plain: bool = False) -> torch.Tensor:
        x = self.stem(x)
        return self.swapped.second(self.swapped.first(x)) if plain else self.swapped(x)


def test_frozen_layers_do_not_bring_in_a_graph_without_the_pruners_forward_fn() -> None:
    model, x = Routed().eval(), torch.randn(1, 4, 4, 4)
    model.stem.requires_grad_(False)
    assert any(each.untraced for each in dependency_groups(model, x))
    pruner = tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.MagnitudeImportance(p=1),
        forward_fn=lambda network, given: network(given, plain=True),
    )
    found = cut_by(pruner, model, x)
    assert [(each.root, each.frozen, each.untraced) for each in found] == [
        ("stem", True, ""),
        ("swapped.first", False, ""),
        ("swapped.second", False, ""),
    ]
