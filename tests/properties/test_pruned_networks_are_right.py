"""Every network pruned by its groups is proved, loses what it can, and is saved and made again."""

from pathlib import Path

import pytest
import torch
from drawn import BLOCKS, MORE_BLOCKS, OUTPUTS, Drawn, draws, note_network, part, rows_of
from hypothesis import given
from hypothesis import strategies as st
from kinds import KINDS
from nets import inputs_for
from torch import Tensor, nn

from analysis import count_macs, load_pruned, prune, save_pruned
from analysis.records import Verdict

pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")

WHOLE = {"numbers of channels", "flattened with numbers", "response norm"}
"""Networks of which a layer's channels are written out, or are read by their places."""


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Each once, under its first name."""
    return dict([*model.named_parameters(), *model.named_buffers()])


@draws(10)
@given(
    chosen=rows_of(sorted(BLOCKS | MORE_BLOCKS)),
    seed=st.integers(0, 2**16),
    scope=st.sampled_from(["local", "global"]),
    output=st.sampled_from(sorted(OUTPUTS)),
)
def test_every_drawn_network_is_pruned_and_proved(
    chosen: list[tuple[str, int]], seed: int, scope: str, output: str
) -> None:
    note_network(chosen, seed, output)
    with torch.random.fork_rng():
        model = Drawn(chosen, seed, output).eval()
    inputs = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    pruned = prune(model, inputs, 0.5, ignore=["head"], scope=scope)
    found = pruned.verification
    assert found.verdict.passes, found.reason
    assert pruned.params == sum(each.numel() for each in pruned.model.parameters())
    assert pruned.params < sum(each.numel() for each in model.parameters())
    assert pruned.macs == count_macs(pruned.model, inputs).macs
    # What it keeps is the dense network's, at the positions that are said to be left.
    dense = tensors_of(model)
    for (tensor, dim), left in pruned.axes.items():
        dense[tensor] = dense[tensor].index_select(dim, torch.tensor(left))
    for tensor, own in tensors_of(pruned.model).items():
        assert torch.equal(own, dense[tensor]), tensor


@pytest.mark.parametrize("name", part(sorted(KINDS)))
def test_every_block_is_pruned_and_proved_and_loaded_again(name: str, tmp_path: Path) -> None:
    model = KINDS[name]().eval()
    inputs = inputs_for(model)
    pruned = prune(model, inputs, 0.5, ignore=["head"])
    found = pruned.verification
    if name in WHOLE and found.verdict is Verdict.UNCHANGED:
        return
    assert found.verdict.passes, found.reason
    assert pruned.params is not None
    assert pruned.params < sum(each.numel() for each in model.parameters())
    loaded = load_pruned(lambda: KINDS[name]().eval(), save_pruned(pruned, tmp_path / "kept"))
    with torch.no_grad():
        assert torch.equal(loaded(inputs), pruned.model(inputs))
