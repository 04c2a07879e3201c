"""No sound pruning is accused: random networks of random blocks, pruned at random, all pass."""

import copy

import pytest
import torch
import torch_pruning as tp
from drawn import BLOCKS, MORE_BLOCKS, OUTPUTS, Attend, Drawn, draws, note_network, rows_of
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from analysis import verify
from analysis.network.inference import tensors_of
from analysis.records import Verdict

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
        output_transform=tensors_of,
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
@draws(250)
@given(
    chosen=rows_of(sorted(BLOCKS)),
    seed=st.integers(0, 2**16),
    ratio=st.sampled_from([0.25, 0.5, 0.75]),
    steps=st.sampled_from([1, 1, 2]),
    is_global=st.booleans(),
    importance=st.sampled_from(sorted(IMPORTANCES)),
)
def test_every_drawn_network_passes_if_torch_pruning_prunes_it(
    chosen, seed, ratio, steps, is_global, importance
) -> None:
    note_network(chosen, seed)
    options = {"pruning_ratio": ratio, "iterative_steps": steps, "global_pruning": is_global}
    with torch.random.fork_rng():
        model = Drawn(chosen, seed).eval()
        inputs = (torch.randn(2, 3, 5, 5),)
        torch.manual_seed(seed)
        expected = plain_outcome(copy.deepcopy(model), inputs, importance, **options)
        torch.manual_seed(seed)
        answer = verify(model, inputs, pruner_for(model, inputs, importance, **options))
    assert answer.verdict in {*expected, Verdict.UNCHANGED}, answer.reason


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@draws(40)
@given(
    before=st.sampled_from(sorted(BLOCKS.keys() - {"attention on tokens"})),
    more=rows_of(sorted(MORE_BLOCKS)),
    seed=st.integers(0, 2**16),
    ratio=st.sampled_from([0.25, 0.5]),
    output=st.sampled_from(sorted(OUTPUTS)),
)
def test_functions_over_channels_are_taken_over_those_that_stay(
    before, more, seed, ratio, output
) -> None:
    chosen = [(before, 8), *more]
    note_network(chosen, seed, output)
    with torch.random.fork_rng():
        model = Drawn(chosen, seed, output).eval()
        inputs = (torch.randn(2, 3, 5, 5),)
    expected = plain_outcome(copy.deepcopy(model), inputs, "magnitude", pruning_ratio=ratio)
    answer = verify(model, inputs, pruner_for(model, inputs, "magnitude", pruning_ratio=ratio))
    over = {Verdict.MIXED} if Verdict.EXACT in expected else set()
    assert answer.verdict in {*expected, *over, Verdict.UNCHANGED}, answer.reason
