"""Every kind of fault in every layer of every block that can be proved: the proof sees them all."""

import pytest
import torch
from blocks import PROVED, build, half_pruner

from analysis.groups.depgraph import dependency_groups
from analysis.network.inference import copy_of, locate_failure
from analysis.proof import distinct_values
from analysis.proof.faults import FAULTS, sites
from analysis.proof.masked_dense import MaskedDense
from analysis.proof.proving import prove, prove_against
from analysis.pruning import surgery
from analysis.records import Verdict, merge_cuts

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")

SOUND = [
    name
    for name, (_, verdict) in PROVED.items()
    if verdict in (Verdict.EXACT, Verdict.RENORMALIZED)
]


def half_pruned(name: str):
    model = build(name)
    inputs = (torch.randn(2, *model.size, generator=torch.Generator().manual_seed(1)),)
    distinct_values.make_distinct(model, inputs)
    dense = copy_of(model)
    pruner = half_pruner(model, inputs)
    groups = dependency_groups(dense, inputs)
    removals = [removal for removal, _ in surgery.step(pruner)]
    return dense, model, removals, groups, inputs


@pytest.mark.parametrize("name", SOUND)
def test_every_fault_in_every_layer_is_seen(name: str) -> None:
    dense, pruned, removals, groups, inputs = half_pruned(name)
    assert prove(dense, pruned, removals, inputs).verdict.passes
    cuts = merge_cuts(removals)
    masked, mutants = MaskedDense(dense, removals, inputs), 0
    for fault, plant in FAULTS.items():
        for place in range(len(list(sites(dense, pruned, cuts, groups)))):
            broken = copy_of(pruned)
            site = list(sites(dense, broken, cuts, groups))[place]
            if not plant(site):
                continue
            mutants += 1
            assert locate_failure(broken, inputs) is None  # the plain check sees nothing
            answer = prove_against(masked, broken)
            assert answer.verdict is Verdict.WRONG, (fault, site.name)
    assert mutants >= 10


def test_a_concatenation_has_a_branch_to_shift() -> None:
    dense, pruned, removals, groups, _ = half_pruned("skip over an hourglass")
    cuts = merge_cuts(removals)
    (site,) = [site for site in sites(dense, pruned, cuts, groups) if site.branch]
    # `up` reads the four channels that `first` keeps, then the five of `down`.
    assert site.name == "up"
    assert site.branch in (tuple(range(4)), tuple(range(4, 9)))
