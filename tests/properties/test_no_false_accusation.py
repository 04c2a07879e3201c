"""No sound pruning is accused: random networks of random blocks, pruned at random, all pass."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch_pruning as tp
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import SqueezeExcitation

from analysis import verify
from analysis.records import Verdict

Block = Callable[[int, int], nn.Module]


class Residual(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x)


class Concat(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Tokens(nn.Module):
    """A module of tokens (N, T, C) on images (N, C, H, W)."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.inside(x.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape_as(x) if tokens.shape[-1] == x.shape[1] else tokens


class Scale(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(1, channels, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attend(nn.Module):
    """Two heads; q, k and v by one layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.project(mixed.transpose(1, 2).flatten(2))


def _conv(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c, out, 3, padding=1), nn.BatchNorm2d(out), nn.SiLU())


def _mobile(c: int, out: int) -> nn.Module:
    wide = 2 * c
    return nn.Sequential(
        nn.Conv2d(c, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
        nn.Conv2d(wide, wide, 3, padding=1, groups=wide), nn.BatchNorm2d(wide), nn.Hardswish(),
        nn.Conv2d(wide, out, 1), nn.BatchNorm2d(out),
    )  # fmt: skip


def _excited(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c, out, 1), nn.Sigmoid(), SqueezeExcitation(out, 4))


def _transposed(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(c, out, 3, padding=1), nn.PReLU(out))


def _grouped(c: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c, out, 3, padding=1, groups=2), nn.BatchNorm2d(out), nn.Tanh())


def _normed(norm: Callable[[int], nn.Module]) -> Block:
    return lambda c, out: nn.Sequential(nn.Conv2d(c, out, 1), norm(out), nn.GELU())


BLOCKS: dict[str, Block] = {
    "conv": _conv,
    "inverted bottleneck": _mobile,
    "squeeze and excitation": _excited,
    "transposed": _transposed,
    "grouped": _grouped,
    "layer norm": _normed(LayerNorm2d),
    "group norm": _normed(lambda c: nn.GroupNorm(2, c)),
    "instance norm": _normed(lambda c: nn.InstanceNorm2d(c, affine=True)),
    "scaled": _normed(Scale),
    "residual": lambda c, _: Residual(_mobile(c, c)),
    "residual with a scale": lambda c, _: Residual(nn.Sequential(_conv(c, c), Scale(c))),
    "concat": lambda c, out: nn.Sequential(Concat(_conv(c, out), nn.Identity()), nn.ReLU()),
    "branches": lambda c, out: Concat(_conv(c, out), _grouped(c, 4), nn.AvgPool2d(3, 1, 1)),
    "feed-forward on tokens": lambda c, _: Residual(
        Tokens(nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 12), nn.GELU(), nn.Linear(12, c)))
    ),
    "attention on tokens": lambda c, _: Residual(Tokens(nn.Sequential(nn.LayerNorm(c), Attend(c)))),
}


class Drawn(nn.Module):
    """Blocks in a row on 3x5x5 images, then a classifier."""

    def __init__(self, chosen: list[tuple[str, int]], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        channels, blocks = 8, [nn.Conv2d(3, 8, 3, padding=1)]
        probe = torch.zeros(1, 8, 5, 5)
        for name, width in chosen:
            block = BLOCKS[name](channels, width).eval()
            probe = block(probe)
            channels = probe.shape[1]
            blocks.append(block)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean((2, 3)))


IMPORTANCES = {
    "random": tp.importance.RandomImportance,
    "magnitude": lambda: tp.importance.MagnitudeImportance(p=2),
}


def pruner_for(model: Drawn, inputs: tuple[Tensor], importance: str, **options):
    heads = {layer.qkv: 2 for layer in model.modules() if isinstance(layer, Attend)}
    return tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=IMPORTANCES[importance](),
        ignored_layers=[model.head],
        num_heads=heads,
        out_channel_groups={},
        in_channel_groups={},
        **options,
    )


def _loses_alike(layer: nn.GroupNorm, idxs: list[int]) -> bool:
    """Whether every group loses as many channels, so that no channel changes its group."""
    size = layer.num_channels // layer.num_groups
    cut = [sum(index // size == group for index in idxs) for group in range(layer.num_groups)]
    return len(set(cut)) == 1


def _is_aligned(layer: nn.Conv2d, idxs: list[int], is_out: bool) -> bool:
    """Whether every block of a grouped convolution loses as many rows, and the same columns.

    Behind a concatenation torch-pruning cuts grouped convolutions and group norms across their
    blocks: such a pruning is not sound.
    """
    size = (layer.out_channels if is_out else layer.in_channels) // layer.groups
    cut = [{i % size for i in idxs if i // size == block} for block in range(layer.groups)]
    return len({len(block) if is_out else frozenset(block) for block in cut}) == 1


def plain_outcome(model: Drawn, inputs: tuple[Tensor], importance: str, **options) -> set[Verdict]:
    """What may be said of this pruning, seen without the proof: torch-pruning alone is run.

    torch-pruning 1.6.1 keeps a LayerNorm's values in the order of a Python set (its ``sort`` of a
    tensor sorts a copy), so a set that does not iterate in order is a pruning that is wrong.
    """
    pruner = pruner_for(model, inputs, importance, **options)
    scrambled = False
    blocks = [layer for layer in model.modules() if isinstance(layer, Attend)]
    made = {block.qkv: list(range(block.qkv.out_features)) for block in blocks}
    read = {block.project: list(range(block.project.in_features)) for block in blocks}
    try:
        for _ in range(pruner.iterative_steps):
            for group in pruner.step(interactive=True):
                for dep, idxs in group:
                    layer = dep.target.module
                    is_out = pruner.DG.is_out_channel_pruning_fn(dep.handler)
                    alive = (made if is_out else read).get(layer)
                    if alive is not None:
                        alive[:] = [c for place, c in enumerate(alive) if place not in idxs]
                    if isinstance(layer, nn.LayerNorm):
                        kept = list(set(range(layer.normalized_shape[-1])) - set(idxs))
                        scrambled |= kept != sorted(kept)
                    if isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.in_channels:
                        assume(_is_aligned(layer, idxs, is_out))
                    if isinstance(layer, nn.GroupNorm):
                        assume(_loses_alike(layer, idxs))
                group.prune()
    except (IndexError, RuntimeError, AssertionError, ValueError):
        return {Verdict.UNPRUNABLE}
    # In a second step torch-pruning cuts q, k and v where the first step's channels were.
    for block in blocks:
        for part in range(3):
            numbers = range(part * block.width, (part + 1) * block.width)
            kept = [c - numbers.start for c in made[block.qkv] if c in numbers]
            assume(kept == read[block.project])
    try:
        model(*inputs)
    except RuntimeError:
        return {Verdict.BROKEN}
    return {Verdict.WRONG} if scrambled else {Verdict.EXACT, Verdict.RENORMALIZED}


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(
    chosen=st.lists(
        st.tuples(st.sampled_from(sorted(BLOCKS)), st.sampled_from([4, 8, 12])),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**16),
    ratio=st.sampled_from([0.25, 0.5, 0.75]),
    steps=st.sampled_from([1, 1, 2]),
    is_global=st.booleans(),
    importance=st.sampled_from(sorted(IMPORTANCES)),
)
def test_every_drawn_network_passes_if_torch_pruning_prunes_it(
    chosen, seed, ratio, steps, is_global, importance
) -> None:
    options = {"pruning_ratio": ratio, "iterative_steps": steps, "global_pruning": is_global}
    with torch.random.fork_rng():
        model = Drawn(chosen, seed).eval()
        inputs = (torch.randn(2, 3, 5, 5),)
        torch.manual_seed(seed)
        expected = plain_outcome(copy.deepcopy(model), inputs, importance, **options)
        torch.manual_seed(seed)
        answer = verify(model, inputs, pruner_for(model, inputs, importance, **options))
    assert answer.verdict in {*expected, Verdict.UNCHANGED}, answer.reason
