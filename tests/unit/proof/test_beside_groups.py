"""What each group of channels has besides them, as padding or their mean, goes with the group."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch_pruning as tp
from between import Net, built, images
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis import watch
from analysis.records import Verdict, Verification


def beside(made: Callable[[Tensor], Tensor]) -> Callable[[Net, Tensor], Tensor]:
    """Groups of two channels, each followed by a third that is made of a tensor of its shape."""

    def joined(m: Net, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (-1, 2))
        return torch.cat([groups, made(groups)], 2).flatten(1, 2)

    return joined


BESIDE: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "padding": lambda m, x: F.pad(x.unflatten(1, (-1, 2)), (0, 0, 0, 0, 0, 1)).flatten(1, 2),
    "zeros": beside(lambda groups: torch.zeros_like(groups[:, :, :1])),
    "ones": beside(lambda groups: torch.ones(len(groups), groups.shape[1], 1, 6, 6)),
    "mean": beside(lambda groups: groups.mean(2, keepdim=True)),
    "largest": beside(lambda groups: groups.amax(2, keepdim=True)),
}


def cut(
    function: Callable[[Net, Tensor], Tensor], gone: Sequence[int], read: Sequence[int]
) -> tuple[Verification, bool]:
    """The verdict on a cut, and whether the network computes what it does without those inputs.

    Args:
        function: between the two convolutions; makes twelve channels of eight.
        gone: channels of the first.
        read: what the second reads no longer.
    """
    model: Any = built(lambda: Net(function))
    model.read = nn.Conv2d(12, 6, 1)
    zeroed = copy.deepcopy(model)
    zeroed.read.weight.data[:, read] = 0.0
    with watch(model, images()) as watched:
        tp.prune_conv_out_channels(model.make, [*gone])
        tp.prune_conv_in_channels(model.read, [*read])
    with torch.no_grad():
        is_one = torch.allclose(model(images()), zeroed(images()), atol=1e-5)
    return watched.verification, is_one


@pytest.mark.parametrize(
    ("gone", "read"),
    [([0, 1], [0, 1, 2]), ([2, 3], [3, 4, 5]), ([0, 1, 6, 7], [0, 1, 2, 9, 10, 11])],
    ids=["first", "second", "first and last"],
)
@pytest.mark.parametrize("function", BESIDE.values(), ids=BESIDE)
def test_a_whole_group_goes_with_what_stands_beside_it(
    function: Callable[[Net, Tensor], Tensor], gone: Sequence[int], read: Sequence[int]
) -> None:
    verification, is_one = cut(function, gone, read)
    assert is_one
    assert (verification.verdict, verification.structure) == (Verdict.EXACT, "proved")


@pytest.mark.parametrize("function", BESIDE.values(), ids=BESIDE)
def test_what_stands_beside_another_group_does_not_go_for_it(
    function: Callable[[Net, Tensor], Tensor],
) -> None:
    """The second group goes, and with it what the third has besides its channels."""
    verification, is_one = cut(function, [2, 3], [3, 4, 8])
    assert not is_one
    assert verification.verdict is Verdict.WRONG
