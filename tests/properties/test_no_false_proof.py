"""No fault is proved: random networks of random blocks, pruned rightly, with one fault planted."""

import pytest
import torch
from blocks import half_pruner
from drawn import BLOCKS, MORE_BLOCKS, OUTPUTS, Drawn, draws, note_network, rows_of
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.groups.depgraph import dependency_groups
from analysis.network.failures import locate_failure
from analysis.network.inference import copy_of, tensors_of
from analysis.proof import distinct_values
from analysis.proof.faults import FAULTS, calls_of, sites
from analysis.proof.proving import prove
from analysis.pruning import surgery
from analysis.records import merge_cuts


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@draws(40)
@given(
    chosen=rows_of(sorted((BLOCKS | MORE_BLOCKS).keys() - {"attention on tokens"})),
    seed=st.integers(0, 2**16),
    fault=st.sampled_from(sorted(FAULTS)),
    place=st.integers(0, 2**16),
    output=st.sampled_from(sorted(OUTPUTS)),
)
def test_a_fault_in_a_drawn_network_is_not_proved(chosen, seed, fault, place, output) -> None:
    note_network(chosen, seed, output)
    with torch.random.fork_rng():
        model = Drawn(chosen, seed, output).eval()
        inputs = (torch.randn(2, 3, 5, 5),)
    distinct_values.make_distinct(model, inputs)
    dense, groups = copy_of(model), dependency_groups(model, inputs)
    try:
        removals = [
            removal
            for removal, _ in surgery.step(half_pruner(model, inputs, output_transform=tensors_of))
        ]
        assume(prove(dense, model, removals, inputs).verdict.passes)
    except (AnalysisError, IndexError, RuntimeError):
        assume(False)
    calls, cuts = calls_of(model, inputs), merge_cuts(removals)
    places = list(sites(dense, model, cuts, groups, calls))
    assume(FAULTS[fault](places[place % len(places)]))
    assume(locate_failure(model, inputs) is None)
    answer = prove(dense, model, removals, inputs)
    assert not answer.verdict.passes, (fault, places[place % len(places)].name, answer)
