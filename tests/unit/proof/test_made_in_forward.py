"""Filters and vectors that forward makes for as many channels as there are, as those of a blur."""

from collections.abc import Callable

import pytest
import torch
import torch_pruning as tp
from between import Net, assert_equals_zeroed, built, cut, images
from fvcore.nn import FlopCountAnalysis
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from analysis import prune, watch
from analysis.records import Verdict, Verification

Function = Callable[[Net, Tensor], Tensor]

BLUR = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]).div(16)[None, None]


def blurred(filters: Callable[[Tensor, int], Tensor]) -> Function:
    """Each channel by itself, with filters that are made of one and the number of channels."""

    def function(m: Net, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(x, filters(BLUR.to(x), channels), padding=1, groups=channels)

    return function


def of_buffer(m: Net, x: Tensor) -> Tensor:
    return F.conv2d(x, m.blur.repeat(x.shape[1], 1, 1, 1), padding=1, groups=x.shape[1])


def of_buffers(m: Net, x: Tensor) -> Tensor:
    return F.conv2d(x, torch.cat([m.blur] * x.shape[1]), padding=1, groups=x.shape[1])


def transposed(m: Net, x: Tensor) -> Tensor:
    filters = BLUR.to(x).expand(x.shape[1], -1, -1, -1)
    return F.conv_transpose2d(x, filters, padding=1, groups=x.shape[1])


def as_images(m: Net, x: Tensor) -> Tensor:
    """Channels laid along the batch, so that one filter takes each."""
    return F.conv2d(x.flatten(0, 1)[:, None], BLUR.to(x), padding=1).view_as(x)


def wavelets(m: Net, x: Tensor) -> Tensor:
    """Two filters for each channel, one after the other."""
    filters = torch.cat([BLUR.to(x), BLUR.to(x).neg()]).repeat(x.shape[1], 1, 1, 1)
    low, high = F.conv2d(x, filters, padding=1, groups=x.shape[1]).unflatten(1, (-1, 2)).unbind(2)
    return low + high.square()


MADE: dict[str, Function] = {
    "ones": blurred(lambda blur, n: torch.ones(n, 1, 3, 3, dtype=blur.dtype)),
    "expand": blurred(lambda blur, n: blur.expand(n, -1, -1, -1)),
    "repeat": blurred(lambda blur, n: blur.repeat(n, 1, 1, 1)),
    "cat": blurred(lambda blur, n: torch.cat([blur] * n)),
    "list": blurred(lambda blur, n: torch.tensor([BLUR[0].tolist()] * n, dtype=blur.dtype)),
    "repeat of a buffer": of_buffer,
    "cat of a buffer": of_buffers,
    "transposed": transposed,
    "channels as images": as_images,
    "wavelets": wavelets,
}


def net(function: Function) -> Net:
    model = Net(function)
    model.register_buffer("blur", BLUR.clone())
    return model


def cut_net(function: Function) -> Verification:
    model = built(lambda: net(function))
    with watch(model, images()) as watched:
        tp.prune_conv_out_channels(model.make, [0, 5])
        tp.prune_conv_in_channels(model.read, [0, 5])
    return watched.verification


@pytest.mark.parametrize("function", MADE.values(), ids=MADE)
def test_an_order_behind_them_is_seen(function: Function) -> None:
    """The channels are read in reverse, which no input shows."""
    found = cut_net(function)
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")
    hidden = cut_net(lambda m, x: x + (function(m, x.flip(1)) - 1e9).relu())
    assert hidden.verdict is Verdict.WRONG


@pytest.mark.parametrize("function", MADE.values(), ids=MADE)
def test_the_channels_before_them_are_pruned_and_counted(function: Function) -> None:
    model = built(lambda: net(function))
    pruned = prune(model, images(), 0.5, ignore=["head"])
    assert pruned.verification.verdict is Verdict.EXACT
    assert pruned.model.make.out_channels == 4
    counted = FlopCountAnalysis(pruned.model, images()).unsupported_ops_warnings(False)
    assert pruned.verification.macs.after == counted.total()
    assert_equals_zeroed(pruned, model)


def test_filters_that_are_not_one_are_those_of_their_channels() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        scale = torch.arange(1.0, 1 + x.shape[1], dtype=x.dtype).view(-1, 1, 1, 1)
        return F.conv2d(x, scale * BLUR.to(x), padding=1, groups=x.shape[1])

    assert cut(function, [6, 7]).verdict is Verdict.EXACT
    assert cut(function, [0, 5]).verdict is Verdict.WRONG


def test_a_sum_over_as_many_channels_as_there_are_is_one_over_those_that_stay() -> None:
    """A filter of ones over all channels, which reads whatever is there."""

    def function(m: Net, x: Tensor) -> Tensor:
        return x * F.conv2d(x, torch.ones(1, x.shape[1], 1, 1, dtype=x.dtype)).sigmoid()

    found = cut(function, [0, 5])
    assert found.verdict is Verdict.EXACT


def numbers(x: Tensor) -> Tensor:
    """One for each channel, from one on."""
    return torch.arange(1.0, 1 + x.shape[1], dtype=x.dtype).view(-1, 1, 1)


DIFFERENT: dict[str, Function] = {
    "maximum": lambda m, x: torch.maximum(x, -1e9 * numbers(x)),
    "clamp": lambda m, x: x.clamp(max=1e9 * numbers(x)),
    "minimum": lambda m, x: torch.minimum(
        x, torch.linspace(1e9, 2e9, x.shape[1], dtype=x.dtype).view(-1, 1, 1)
    ),
    "where": lambda m, x: torch.where(x > 1e9, numbers(x), x),
}


@pytest.mark.parametrize("function", DIFFERENT.values(), ids=DIFFERENT)
def test_an_order_behind_or_beside_a_vector_that_no_input_shows_is_seen(function: Function) -> None:
    """Each channel has a bound of its own, which none comes near, and another one after a cut."""
    found = cut_net(function)
    assert found.verdict is Verdict.EXACT
    assert "shown on random inputs alone" in found.reason
    behind = cut_net(lambda m, x: x + (function(m, x.flip(1)) - 1e9).relu())
    assert behind.verdict is Verdict.WRONG
    beside = cut_net(lambda m, x: function(m, x) + (x.flip(1) - 1e9).relu())
    assert beside.verdict is Verdict.WRONG
