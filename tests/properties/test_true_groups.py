"""A network cut by its groups is the dense one without the removed channels."""

import copy
from typing import Any

import pytest
import torch
import torch_pruning as tp
import torchvision
from blocks import PROVED, Attention, build
from cutting import (
    Numbers,
    cut,
    distance,
    drawn,
    gone_of,
    in_double,
    masked,
    numbers_of,
    over_kept,
    randomised,
)
from drawn import BLOCKS, Attend, Drawn, draws, part, rows_of
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttention

from analysis import inspect_groups
from analysis.groups.depgraph import dependency_groups
from analysis.records import Group, Verdict

EXACT = 1e-9

COMBINED = {"first": {
    "softmax over channels", "mean over channels", "direction of the channels",
    "softmax with the sequence first", "flip behind a softmax",
}, "body.0": {
    "response norm", "weights standardised", "weights normalised over 3 x 3",
}}  # fmt: skip
"""Blocks that take something over the channels that a layer makes."""

FAULTS: dict[str, str] = {}
OVERHELD: dict[str, str] = {}


def images(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def groups_of(model: nn.Module, inputs: Any) -> tuple[Group, ...]:
    with in_double():
        return inspect_groups(model, inputs)


def rescaled(
    dense: nn.Module, gone: dict[tuple[str, int], set[int]], numbers: Numbers
) -> nn.Module:
    """Queries times what makes up for a scale that the width of a head decides."""
    for name, layer in dense.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(layer, ShiftedWindowAttention):
            made, width = layer.qkv, layer.qkv.in_features
            lost = len(gone.get((f"{prefix}qkv.weight", 1), ()))
            queries = width
        elif isinstance(layer, Attend) or (isinstance(layer, Attention) and layer.scale != "fixed"):
            own = "qkv" if hasattr(layer, "qkv") else "q"
            made, queries = getattr(layer, own), layer.project.in_features
            width = queries
            places = gone.get((f"{prefix}{own}.weight", 0), set())
            lost = sum(place < queries for place in places)
        else:
            continue
        # Of heads that went whole, the others keep their width.
        heads = getattr(layer, "heads", 1)
        of_heads = numbers.get((name, "heads"), heads) / heads
        scale = ((width - lost) / width / of_heads) ** -0.5
        with torch.no_grad():
            made.weight[:queries] *= scale
            made.bias[:queries] *= scale
    return dense


def departure(model: nn.Module, inputs: Any, groups: tuple[Group, ...], seed: int) -> float:
    chosen = drawn(groups, seed)
    gone = gone_of(groups, chosen)
    numbers = numbers_of(groups, chosen)
    dense = rescaled(masked(model, groups, chosen), gone, numbers)
    return distance(dense, cut(model, gone, numbers), inputs)


def without(groups: tuple[Group, ...], names: set[str]) -> tuple[Group, ...]:
    return tuple(group for group in groups if group.name not in names)


def named(faults: dict[str, str]) -> list[Any]:
    return [
        pytest.param(
            name,
            marks=pytest.mark.xfail(strict=True, reason=faults[name]) if name in faults else (),
        )
        for name in PROVED
        if name != "cast to single precision"
    ]


@pytest.mark.parametrize("name", named(FAULTS))
def test_every_block(name: str) -> None:
    model = randomised(build(name))
    inputs = images(2, *model.size)
    groups = groups_of(model, inputs)
    mixed = {layer for layer, blocks in COMBINED.items() if name in blocks}
    for seed in range(6):
        assert departure(model, inputs, without(groups, mixed), seed) < EXACT
    assert sum(bool(group.together) for group in groups) > 0


@pytest.mark.parametrize("name", named(OVERHELD))
def test_every_group_of_every_block_has_removable_channels(name: str) -> None:
    model = build(name)
    if name == "response norm":
        pytest.skip("a norm over neighbours fixes its channels")
    groups = inspect_groups(model, torch.randn(2, *model.size))
    assert [group.name for group in groups if not group.together] == [
        group.name for group in groups if group.is_output
    ]
    assert all(len(group.together) > 1 for group in groups if not group.is_output)


@pytest.mark.parametrize(
    "name", ["softmax over channels", "mean over channels", "flip behind a softmax"]
)
def test_a_function_of_all_channels_is_that_of_those_that_stay(name: str) -> None:
    model = randomised(build(name))
    inputs = images(2, *model.size)
    groups = groups_of(model, inputs)
    for seed in range(3):
        chosen = drawn(groups, seed)
        (gone,) = (places for group, places in zip(groups, chosen, strict=True)
                   if group.name == "first")  # fmt: skip
        kept = torch.tensor([channel for channel in range(8) if channel not in gone])
        dense = masked(model, groups, chosen)
        plain = dense.function
        if name == "flip behind a softmax":
            dense.function = lambda m, x, kept=kept: over_kept(
                lambda y: y.softmax(1), kept
            )(x).flip(1)  # fmt: skip
        else:
            dense.function = lambda m, x, kept=kept, plain=plain: over_kept(
                lambda y: plain(m, y), kept
            )(x)  # fmt: skip
        assert distance(dense, cut(model, gone_of(groups, chosen)), inputs) < EXACT


@draws(40)
@given(chosen=rows_of(sorted(BLOCKS)), seed=st.integers(0, 2**16))
def test_every_drawn_network(chosen: list[tuple[str, int]], seed: int) -> None:
    with torch.random.fork_rng():
        model = randomised(Drawn(chosen, seed), seed)
    inputs = images(2, 3, 5, 5)
    groups = groups_of(model, inputs)
    assert departure(model, inputs, groups, seed) < EXACT


MODELS = [
    "resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5", "efficientnet_b0",
    "regnet_y_400mf", "swin_t", "squeezenet1_1",
]  # fmt: skip


@pytest.mark.parametrize("name", part(MODELS))
def test_every_known_network(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = randomised(torchvision.models.get_model(name, weights=None))
    inputs = images(2, 3, 64, 64)
    groups = groups_of(model, inputs)
    assert departure(model, inputs, groups, 1) < EXACT
    free = [group for group in groups if group.together]
    assert len(free) > 0.9 * len(groups)


# ---------------------------------------------------------------------- DepGraph

Axes = dict[tuple[str, str], frozenset[int]]
"""By layer and axis the positions."""


def followed(group: Group, channels: tuple[int, ...]) -> Axes:
    """What goes with channels, in DepGraph's words: an axis of a layer for all of its tensors."""
    found: dict[tuple[str, str], set[int]] = {}
    for member in group.members:
        places = {place for channel in channels for place in member.positions[channel]}
        if places:
            found.setdefault((member.layer, member.axis), set()).update(places)
    return {axis: frozenset(places) for axis, places in found.items()}


def depgraph_is_right(model: nn.Module, inputs: Tensor, root: str, channel: int) -> bool:
    """Whether torch-pruning's own cut of one channel is the dense network that does not read it."""
    small, dense = copy.deepcopy(model), copy.deepcopy(model)
    with in_double():
        graph = tp.DependencyGraph().build_dependency(small, example_inputs=inputs)
    layer = small.get_submodule(root)
    cutter = graph.get_pruner_of_module(layer).prune_out_channels
    group = graph.get_pruning_group(layer, cutter, [channel])
    names = {module: name for name, module in small.named_modules()}
    for dependency, places in group:
        module = dependency.target.module
        if module in names and not graph.is_out_channel_pruning_fn(dependency.handler):
            weight = dense.get_submodule(names[module]).weight.data
            dim = 0 if getattr(module, "transposed", False) else 1
            weight.index_fill_(dim, torch.tensor(places), 0.0)
    group.prune()
    try:
        return distance(dense, small, inputs) < EXACT
    except (RuntimeError, AssertionError):
        return False


def agreements(model: nn.Module, inputs: Tensor, every: int = 1) -> int:
    """Channels of which both tell the same, of groups where DepGraph is right."""
    groups = groups_of(model, inputs)
    by_maker = {
        (member.layer, position): (group, channel)
        for group in groups
        for member in group.members
        if member.axis == "out" and member.dim == (0 if member.tensor.endswith("weight") else -1)
        for channel, places in enumerate(member.positions)
        for position in places
    }
    counted = 0
    with in_double():
        theirs = dependency_groups(model, inputs)
    for other in theirs[::every]:
        if other.is_output or not other.prunable or other.untraced:
            continue
        channel = other.width // 2
        if not depgraph_is_right(model, inputs, other.root, channel):
            continue
        group, place = by_maker[other.root, channel]
        (together,) = (each for each in group.together if place in each)
        # A parameter that no layer of torch's owns is named after its module by one alone.
        parameters = {name: name.rpartition(".")[0] or name for name, _ in model.named_parameters()}
        wanted = {
            (parameters.get(member.layer, member.layer), member.axis): frozenset(
                at for at, root in enumerate(member.roots) if root == channel
            )
            for member in other.members
        }
        assert followed(group, together) == {k: v for k, v in wanted.items() if v}, other.root
        counted += 1
    return counted


PLAIN = [
    name
    for name, (_, verdict) in PROVED.items()
    if verdict is Verdict.EXACT
    and name not in OVERHELD
    and name not in ("cast to single precision", "transposed", "transposed, depthwise")
]


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", PLAIN)
def test_blocks_that_depgraph_reads_rightly_are_read_alike(name: str) -> None:
    model = randomised(build(name))
    assert agreements(model, images(2, *model.size))


@pytest.mark.parametrize(
    ("name", "every"),
    part([("resnet18", 2), ("mobilenet_v2", 6), ("squeezenet1_1", 6), ("efficientnet_b0", 10)]),
)
def test_known_networks_that_depgraph_reads_rightly_are_read_alike(name: str, every: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = randomised(torchvision.models.get_model(name, weights=None))
    assert agreements(model, images(1, 3, 32, 32), every) > 2


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@draws(12)
@given(
    chosen=rows_of([
        "concat", "conv", "inverted bottleneck", "residual", "scaled", "squeeze and excitation",
    ]),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_drawn_networks_that_depgraph_reads_rightly_are_read_alike(
    chosen: list[tuple[str, int]], seed: int
) -> None:
    with torch.random.fork_rng():
        model = randomised(Drawn(chosen, seed), seed)
    agreements(model, images(2, 3, 5, 5))
