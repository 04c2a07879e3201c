"""Numbers are compared on smaller inputs only if everything else is lined up."""

from typing import Any

import pytest
import torch
from between import Net, answer, built
from torch import Tensor, nn

from analysis.proof.masked_dense import MaskedDense
from analysis.records import Verdict

LARGE = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))


@torch.library.custom_op("smaller_inputs::turned", mutates_args=())
def turned(x: Tensor) -> Tensor:
    """What no label follows: the channels of large images, the last first."""
    return x.flip(1) if x.shape[-1] > 64 else x.clone()


turned.register_autograd(lambda _, gradient: turned(gradient))


def scaled(model: Any) -> None:
    with torch.no_grad():
        model.read.weight[0, 0] += 1.0


def squared(model: Any) -> None:
    model.function = lambda m, x: x.relu() ** 2


VERDICTS = {
    "an activation": (lambda m, x: x.relu(), lambda _: None, Verdict.EXACT),
    "channels turned": (lambda m, x: x.flip(1), lambda _: None, Verdict.WRONG),
    "another function": (lambda m, x: x.relu(), squared, Verdict.WRONG),
    "a weight that was written to": (lambda m, x: x.relu(), scaled, Verdict.WRONG),
    "a softmax over channels": (lambda m, x: x.softmax(1), lambda _: None, Verdict.MIXED),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_large_images_have_the_verdict_of_small_ones(case: str) -> None:
    function, after, verdict = VERDICTS[case]
    found = [answer(lambda: Net(function), after, images) for images in (LARGE, LARGE[..., :6, :6])]
    assert [each.verdict for each in found] == [verdict, verdict]


def test_what_no_label_follows_is_judged_on_the_example_inputs() -> None:
    found = answer(lambda: Net(lambda m, x: turned(x)), inputs=LARGE)
    assert not found.verdict.is_equal
    # At the size of the smaller inputs it is right.
    assert (
        answer(lambda: Net(lambda m, x: turned(x)), inputs=LARGE[..., :32, :32]).max_rel_error
        < 1e-9
    )


def branched(m: Net, x: Tensor) -> Tensor:
    return x.relu() if x.shape[-1] > 64 else x


@pytest.mark.parametrize(
    ("function", "inputs", "shared", "shape"),
    [
        (lambda m, x: x.relu(), LARGE, False, (2, 3, 32, 32)),
        (lambda m, x: x.relu(), LARGE, True, None),  # several networks are compared
        (lambda m, x: x.relu(), LARGE[..., :6, :6], False, None),  # others are larger
        (branched, LARGE, False, None),  # the network goes another way there
    ],
)
def test_smaller_inputs_are_those_on_which_a_network_goes_the_same_way(
    function, inputs, shared, shape
) -> None:
    dense: nn.Module = built(lambda: Net(function))
    smaller = MaskedDense(dense, (), inputs, shared=shared).smaller
    assert (smaller and tuple(smaller.examples.shape)) == shape
