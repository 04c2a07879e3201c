"""What this version of torch-pruning does to every kind of layer, recorded beside the case study.

The case study alone is pruned alike by versions that part elsewhere.
"""

import pytest
import torch
from blocks import PROVED, build, half_pruner

from analysis.errors import AnalysisError
from analysis.gate.expected_failures import EXPECTED_FAILURES
from analysis.pipeline import analyse, prune_and_prove
from analysis.records import Channels, Config, Run, Sizes, Verdict, Verification

# torch-pruning tells of every parameter that no layer owns.
pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")

HALF = Config(0.5, "local", policy="its own pruner")


def run_of(name: str) -> Run:
    model = build(name)
    inputs = (torch.randn(2, *model.size, generator=torch.Generator().manual_seed(1)),)

    def pruner(model, inputs, ratio):
        return half_pruner(model, inputs, pruning_ratio=ratio)

    return prune_and_prove(analyse(model, inputs), HALF, "classifier", pruner_factory=pruner).run


@pytest.mark.parametrize("name", PROVED)
def test_half_of_each_group_goes_as_recorded(name: str, baseline) -> None:
    try:
        run = run_of(name)
    except AnalysisError as error:
        nothing = Sizes(0, None)
        verification = Verification(Verdict.UNPRUNABLE, str(error))
        run = Run(HALF, verification, Channels(0, None, 0), nothing, nothing, nothing, None)
    is_known = any(entry.is_of(name, HALF) for entry in EXPECTED_FAILURES)
    _, expected = PROVED[name]
    assert run.verification.verdict.passes == (expected.passes and not is_known)
    baseline.check(name, run)
