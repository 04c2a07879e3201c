"""Modules that take no hooks, and tensors that are no plain ones."""

import pytest
import torch
from between import Net, answer, built, images
from torch import Tensor, nn

from analysis import prune
from analysis.records import Verdict

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Unwrapped parameters detected"
)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x).relu()


def scripted() -> Net:
    return Net(lambda m, x: m.block(x), block=torch.jit.script(Residual()))


def mapped() -> Net:
    """A convolution of one image at a time."""
    inside = nn.Conv2d(8, 8, 1)
    return Net(lambda m, x: torch.vmap(lambda one: m.inside(one[None])[0])(x), inside=inside)


def sparse() -> Net:
    net = Net(lambda m, x: torch.stack([torch.sparse.mm(m.table, one.flatten(1).t()) for one in x])
              .transpose(1, 2).unflatten(2, (6, 6)))  # fmt: skip
    net.register_buffer("table", torch.eye(36).roll(1, 0).to_sparse())
    return net


@pytest.mark.parametrize("make", [scripted, mapped, sparse])
def test_what_takes_no_hooks_is_pruned_and_proved(make) -> None:
    cured = prune(built(make), images(), 0.5, ignore=["head"])
    assert cured.verification.verdict is Verdict.EXACT
    assert cured.model.read.in_channels < 8 or cured.model.read.out_channels < 6


def test_a_changed_sparse_table_is_reported() -> None:
    assert answer(sparse).verdict is Verdict.EXACT
    found = answer(sparse, lambda m: setattr(m, "table", torch.eye(36).roll(2, 0).to_sparse()))
    assert found.verdict is Verdict.WRONG
    assert "`table`" in found.reason


def test_a_scripted_part_that_no_longer_fits_is_broken() -> None:
    # torch-pruning knows no layer of TorchScript.
    assert answer(scripted).verdict is Verdict.BROKEN
