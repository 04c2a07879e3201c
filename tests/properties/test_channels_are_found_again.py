"""The kept channels of a drawn network are found from it and its pruning alone."""

import torch
from drawn import BLOCKS, MORE_BLOCKS, Drawn, draws, note_network, rows_of
from hypothesis import given
from hypothesis import strategies as st
from pairs import by_groups, distinct, numbered, positions

from analysis.comparing.compared import Reference
from analysis.network.inference import named_tensors


@draws(10)
@given(chosen=rows_of(sorted(BLOCKS | MORE_BLOCKS)), seed=st.integers(0, 2**16))
def test_every_position_that_stayed_is_found(chosen: list[tuple[str, int]], seed: int) -> None:
    note_network(chosen, seed)
    with torch.random.fork_rng():
        dense = distinct(Drawn(chosen, seed).eval(), seed)
    inputs = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    other = numbered(dense)
    pruned = by_groups(dense, inputs, other)
    reference = Reference.of(dense, inputs)
    found = reference.recovered(named_tensors(pruned))
    expected = positions(dense, other)
    assert {axis: found.positions[axis].tolist() for axis in expected} == expected
    # What the pruner leaves unproved is another test's.
    assert reference.compared(pruned).verdict.passes
