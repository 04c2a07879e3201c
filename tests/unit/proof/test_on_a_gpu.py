"""Tests of the proof, the audit and the faults, on a GPU."""

import pytest
import torch
from blocks import PROVED, build, half_pruner
from torch import nn

from analysis import verify
from analysis.checks import evaluate
from analysis.groups.depgraph import dependency_groups
from analysis.groups.inspecting import labelled
from analysis.network.failures import locate_failure
from analysis.network.inference import copy_of
from analysis.pipeline import analyse, audit_groups, prune_and_prove
from analysis.proof import distinct_values
from analysis.proof.faults import FAULTS, calls_of, sites
from analysis.proof.masked_dense import MaskedDense
from analysis.proof.proving import prove_against
from analysis.pruning import surgery
from analysis.records import Config, Verdict

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Unwrapped parameters detected"),
]


# Where torch-pruning reads beyond the last channel, a CPU raises; a GPU ends CUDA for good.
PRUNABLE = [name for name, (_, verdict) in PROVED.items() if verdict is not Verdict.UNPRUNABLE]
EXACT = [name for name, (_, verdict) in PROVED.items() if verdict is Verdict.EXACT]


def on_gpu(name: str) -> tuple[nn.Module, tuple[torch.Tensor]]:
    model = build(name).cuda()
    generator = torch.Generator().manual_seed(1)
    return model, (torch.randn(2, *model.size, generator=generator).cuda(),)


@pytest.mark.parametrize("name", PRUNABLE)
def test_the_verdict_is_that_of_the_cpu(name: str) -> None:
    model, inputs = on_gpu(name)
    answer = verify(model, inputs, half_pruner(model, inputs))
    assert answer.verdict is PROVED[name][1], answer.reason
    assert all(parameter.is_cuda for parameter in model.parameters())


@pytest.mark.parametrize("name", EXACT)
def test_the_audit_finds_what_it_finds_on_the_cpu(name: str) -> None:
    model, inputs = on_gpu(name)
    here, inputs_here = copy_of(model).cpu(), tuple(map(torch.Tensor.cpu, inputs))
    there = audit_groups(labelled(model, inputs), model, inputs, None)
    assert there == audit_groups(labelled(here, inputs_here), here, inputs_here, None)


@pytest.mark.parametrize("name", ["transposed", "transformer layer"])
def test_every_fault_is_seen_there(name: str) -> None:
    pruned, inputs = on_gpu(name)
    distinct_values.make_distinct(pruned, inputs)
    dense, groups = copy_of(pruned), dependency_groups(pruned, inputs)
    pruner = half_pruner(pruned, inputs)
    masked = MaskedDense(dense, [removal for removal, _ in surgery.step(pruner)], inputs)
    assert prove_against(masked, pruned).verdict.passes
    mutants, calls = 0, calls_of(pruned, inputs)
    for plant in FAULTS.values():
        for place in range(len(list(sites(dense, pruned, masked.cuts, groups, calls)))):
            broken = copy_of(pruned)
            if plant(list(sites(dense, broken, masked.cuts, groups, calls))[place]):
                mutants += 1
                assert locate_failure(broken, inputs) is None
                assert not prove_against(masked, broken).verdict.passes
    assert mutants >= 10


class Hardswish(nn.Module):
    """CUDA's hardswish multiplies by a sixth in single precision, in float64 as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.hardswish(self.first(x))
        return self.head(nn.functional.hardswish(self.second(x)).mean((2, 3)))


def test_what_the_device_rounds_otherwise_is_no_fault_and_a_fault_is() -> None:
    dense = analyse(Hardswish().eval(), torch.randn(2, 3, 8, 8))
    outcome = prune_and_prove(dense, Config(0.5), "classifier")
    (result,) = evaluate(outcome, ["survives_gpu"])
    assert result.passed, result.message

    # A module that computes something else once it has been moved.
    class Moved(Hardswish):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (1.001 if x.is_cuda and len(self.first.weight) < 8 else 1)

    dense = analyse(Moved().eval(), torch.randn(2, 3, 8, 8))
    (result,) = evaluate(prune_and_prove(dense, Config(0.5), "classifier"), ["survives_gpu"])
    assert not result.passed
