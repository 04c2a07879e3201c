"""What the audit says before pruning is what the proof says after it."""

import pytest
import torch
from blocks import PROVED, Attention, build, half_pruner
from drawn import BLOCKS, Drawn, draws, part, rows_of
from hypothesis import given
from hypothesis import strategies as st
from nets import inputs_for
from torch import Tensor, nn

from analysis import verify
from analysis.groups import inspecting
from analysis.pipeline import audit_groups
from analysis.records import Audited, Group, Verdict

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")

ACCUSED = {"misread", "cannot-be-cut"}


def audited(model: nn.Module, inputs: Tensor) -> tuple[tuple[Group, ...], tuple[Audited, ...]]:
    followed = inspecting.labelled(model, inputs)
    return followed.groups, audit_groups(followed, model, inputs)


def disagreement(found: set[str], verdict: Verdict) -> str:
    """In words; empty where the audit says what the proof of half of each group says."""
    if verdict is Verdict.WRONG and "misread" not in found:
        return "a wrong pruning that the audit does not tell of"
    # What is cut wrongly one by one may not run at all without half of its channels.
    accused = found & {*ACCUSED, "missing"}
    if verdict in (Verdict.BROKEN, Verdict.UNPRUNABLE) and not accused:
        return "a network that does not run, which the audit does not tell of"
    if found == {"same"} and not (verdict.passes or verdict is Verdict.UNCHANGED):
        return "a pruning that fails, though the audit finds nothing"
    return ""


@pytest.mark.parametrize("name", part(PROVED))
def test_of_every_block(name: str) -> None:
    model = build(name)
    inputs = inputs_for(model)
    _, found = audited(model, inputs)
    kinds = {each.audit for each in found}
    # Only the outputs are ignored, as in the audit.
    pruner = half_pruner(model, (inputs,), num_heads={}, out_channel_groups={})
    verdict = verify(model, inputs, pruner).verdict
    needs_to_be_told = isinstance(model, Attention) or hasattr(model, "attention")
    if not needs_to_be_told:  # or luck decides
        assert verdict is PROVED[name][1]
        assert not disagreement(kinds, verdict)
        assert bool(kinds & ACCUSED) is not verdict.passes
    else:
        assert kinds & ACCUSED


@draws(25)
@given(chosen=rows_of(sorted(BLOCKS.keys() - {"attention on tokens"})), seed=st.integers(0, 2**16))
def test_of_drawn_networks(chosen: list[tuple[str, int]], seed: int) -> None:
    with torch.random.fork_rng():
        model = Drawn(chosen, seed).eval()
        inputs = torch.randn(2, 3, 5, 5)
    _, found = audited(model, inputs)
    kinds = {each.audit for each in found}
    verdict = verify(model, inputs, half_pruner(model, (inputs,))).verdict
    assert not disagreement(kinds, verdict), found
    assert not (verdict is Verdict.EXACT and kinds & ACCUSED), found
