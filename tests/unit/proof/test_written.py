"""Operators that write to places of channels or move these, whether a table lists them or not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning as tp
from between import Net, built, cut, images
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis import watch
from analysis.records import Verdict, Verification

Function = Callable[[Net, Tensor], Tensor]


def written(write: Callable[[Tensor], object]) -> Function:
    def function(m: Net, x: Tensor) -> Tensor:
        x = x.clone()
        write(x)
        return x

    return function


def one(x: Tensor) -> Tensor:
    """Values for channel 1 of images."""
    return torch.ones(2, 1, 6, 6, dtype=x.dtype)


AT_1: dict[str, Function] = {
    "item": written(lambda x: x[:, 1].zero_()),
    "item of a list": written(lambda x: x.__setitem__((slice(None), [1]), 0.0)),
    "index_fill": lambda m, x: x.index_fill(1, torch.tensor([1]), 0.0),
    "index_copy": lambda m, x: x.index_copy(1, torch.tensor([1]), one(x)),
    "index_put": lambda m, x: x.index_put(
        (torch.tensor([[0], [1]]), torch.tensor([[1]])), torch.zeros((), dtype=x.dtype)
    ),
    "scatter": lambda m, x: x.scatter(1, torch.ones(2, 1, 6, 6, dtype=torch.long), 0.0),
    "select_scatter": lambda m, x: x.select_scatter(one(x)[:, 0], 1, 1),
    "slice_scatter": lambda m, x: x.slice_scatter(one(x), 1, 1, 2),
    "put": lambda m, x: (
        x.flatten(1)
        .mT.put(torch.arange(72, 144), torch.zeros(72, dtype=x.dtype))
        .mT.unflatten(1, (-1, 6, 6))
    ),
}


@pytest.mark.parametrize("function", AT_1.values(), ids=AT_1)
def test_a_write_is_to_the_same_channel(function: Function) -> None:
    """Without channel 0 or 1, the pruned network writes to another one."""
    assert cut(function, [5, 7]).verdict is Verdict.EXACT
    assert cut(function, [0, 5]).verdict is Verdict.WRONG
    assert cut(function, [1, 5]).verdict is Verdict.WRONG


@pytest.mark.parametrize("function", AT_1.values(), ids=AT_1)
def test_a_write_that_no_input_shows_is_to_the_same_channel(function: Function) -> None:
    def hidden(m: Net, x: Tensor) -> Tensor:
        return x + (function(m, x) - 1e9).relu()

    assert cut(hidden, [5, 7]).verdict is Verdict.EXACT
    assert cut(hidden, [0, 5]).verdict is Verdict.WRONG


WHOLE: dict[str, Function] = {
    "a row": written(lambda x: x.__setitem__((slice(None), slice(None), [0, 2]), 0.0)),
    "an image": written(lambda x: x.__setitem__([0], 1.0)),
    "index_fill": lambda m, x: x.index_fill(0, torch.tensor([1]), 0.0),
}


@pytest.mark.parametrize("function", WHOLE.values(), ids=WHOLE)
def test_a_write_to_all_channels_is_no_matter_of_their_order(function: Function) -> None:
    found = cut(function, [0, 5])
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")


def diagonal(x: Tensor) -> Tensor:
    """Channels on the diagonal of a matrix, which no table lists."""
    return torch.diag_embed(x.permute(0, 2, 3, 1))


MOVED: dict[str, Function] = {
    "diag_embed": lambda m, x: diagonal(x).diagonal(dim1=-2, dim2=-1).permute(0, 3, 1, 2),
    "kron": lambda m, x: torch.kron(x, torch.ones(1, 1, 2, 1, dtype=x.dtype)),
    "circular padding": lambda m, x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "searchsorted": lambda m, x: torch.searchsorted(torch.linspace(-1, 1, 5, dtype=x.dtype), x).to(
        x.dtype
    ),
    "bucketize": lambda m, x: torch.bucketize(x, torch.linspace(-1, 1, 5, dtype=x.dtype)).to(
        x.dtype
    ),
    "log_sigmoid": lambda m, x: F.logsigmoid(x),
    "floor_divide": lambda m, x: x // 0.5,
}


@pytest.mark.parametrize("function", MOVED.values(), ids=MOVED)
def test_an_order_behind_a_rare_operator_is_seen(function: Function) -> None:
    found = cut(function, [0, 5])
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")
    assert cut(lambda m, x: function(m, x.flip(1)), [0, 5]).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x * torch.histc(x, 4, -1, 1).max(),
        lambda m, x: x * torch.linalg.svdvals(x.flatten(2)).amax(1)[:, None, None, None],
        lambda m, x: x * x[x > 0].mean(),
        lambda m, x: x * x.masked_select(x > 0).sum(),
        lambda m, x: x.renorm(2, 0, 1.0),
    ],
    ids=["histc", "svdvals", "index by a mask", "masked_select", "renorm"],
)
def test_a_function_of_the_channels_that_stay_is_no_movement(function: Function) -> None:
    assert cut(function).verdict is Verdict.MIXED


PLACES: dict[str, Function] = {
    "gather": lambda m, x: x * x.gather(1, x.argmax(1, keepdim=True)),
    "take_along_dim": lambda m, x: x * torch.take_along_dim(x, x.argmin(1, keepdim=True), 1),
    "topk": lambda m, x: x * x.gather(1, x.topk(2, 1).indices).mean(1, keepdim=True),
    "median": lambda m, x: x * x.gather(1, x.median(1, keepdim=True).indices),
}


@pytest.mark.parametrize("function", PLACES.values(), ids=PLACES)
def test_the_channel_at_the_place_that_is_found_is_one_of_those_that_stay(
    function: Function,
) -> None:
    assert cut(function).verdict is Verdict.MIXED
    assert cut(lambda m, x: function(m, x.roll(1, 1))).verdict is Verdict.WRONG


NUMBERED: dict[str, Function] = {
    "topk": lambda m, x: x * x.mean((2, 3)).topk(2, 1)[1].to(x.dtype).mean(1)[:, None, None, None],
    "a sum": lambda m, x: x * x.mean((2, 3)).topk(2, 1)[1].sum(1)[:, None, None, None],
    "argsort": lambda m, x: x + x.mean((2, 3)).argsort(1)[:, :1, None, None],
}


@pytest.mark.parametrize("function", NUMBERED.values(), ids=NUMBERED)
def test_ranks_that_are_calculated_with_are_numbers_of_channels(function: Function) -> None:
    found = cut(function)
    assert found.verdict is Verdict.WRONG
    assert "positions of channels as numbers" in found.reason


def one_hot(x: Tensor) -> Tensor:
    best = x.mean((2, 3)).topk(1, 1)[1][:, 0]
    return F.one_hot(best, x.shape[1]).to(x.dtype)[:, :, None, None]


def test_ranks_that_look_channels_up_are_no_numbers() -> None:
    assert cut(lambda m, x: x * one_hot(x)).verdict is Verdict.MIXED


DIAGONAL: dict[str, Function] = {
    "of each channel": lambda m, x: torch.diag_embed(x[:, :, 0]) @ x.flip(1),
    "the other one": lambda m, x: torch.diag_embed(x[:, :, 0]).flip(-1) @ x.flip(1),
    "of all channels": lambda m, x: (
        torch.diag_embed(x.mean((2, 3))) @ x.flip(1).flatten(2)
    ).view_as(x),
}


@pytest.mark.parametrize("function", DIAGONAL.values(), ids=DIAGONAL)
def test_zeros_beside_a_diagonal_are_of_the_channel_that_it_holds(function: Function) -> None:
    """Each channel meets the last but as many, which it still does if both go."""
    assert cut(function, [0, 7, 2, 5]).verdict is Verdict.EXACT
    assert cut(function, [0, 1, 2, 5]).verdict is Verdict.WRONG


def behind(write: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """What another tensor of the same memory holds once the channels are written in reverse."""
    return lambda m, x: write(x.clone(), x.flip(1))


def by_a_view_made_before(x: Tensor, turned: Tensor) -> Tensor:
    view = x.flatten(2)
    x.copy_(turned)
    return view.view_as(x)


def by_detach(x: Tensor, turned: Tensor) -> Tensor:
    x.detach().copy_(turned)
    return x


def by_data(x: Tensor, turned: Tensor) -> Tensor:
    x.data[:] = turned
    return x


def by_a_turned_view(x: Tensor, turned: Tensor) -> Tensor:
    view = x.transpose(1, 2)
    view.transpose(1, 2)[:] = turned
    return view.transpose(1, 2)


def by_the_memory_of_another(x: Tensor, turned: Tensor) -> Tensor:
    x.data = turned
    return x


def by_the_storage_of_another(x: Tensor, turned: Tensor) -> Tensor:
    return x.set_(turned)


@pytest.mark.parametrize(
    "write",
    [
        by_a_view_made_before,
        by_detach,
        by_data,
        by_a_turned_view,
        by_the_memory_of_another,
        by_the_storage_of_another,
    ],
)
def test_a_write_is_seen_in_all_that_lies_in_the_same_memory(
    write: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Written as it was, nothing is another; written in reverse, no input shows that it is."""
    assert cut(lambda m, x: write(x.clone(), 2 * x)).verdict is Verdict.EXACT
    hidden = cut(lambda m, x: x + (behind(write)(m, x) - 1e9).relu(), [0, 5])
    assert hidden.verdict is Verdict.WRONG


SEPARATE: dict[str, Function] = {
    "matrix_exp": lambda m, x: torch.matrix_exp(x.tanh()),
    "inv": lambda m, x: torch.linalg.inv(x + 9 * torch.eye(6, dtype=x.dtype)),
    "det": lambda m, x: torch.linalg.det(x)[..., None, None] * x,
    "cross": lambda m, x: torch.linalg.cross(x[..., :3], x[..., 3:]).repeat(1, 1, 1, 2),
    "fake quantization": lambda m, x: torch.fake_quantize_per_tensor_affine(
        x.float(), 0.05, 0, -128, 127
    ).to(x.dtype),
    "fold": lambda m, x: F.fold(F.unfold(x, 3, padding=1), (6, 6), 3, padding=1),
    "taps of padded windows": lambda m, x: (
        F.unfold(x, 3, padding=1).unflatten(1, (-1, 9)).sum(2).unflatten(2, (6, 6))
    ),
}


@pytest.mark.parametrize("function", SEPARATE.values(), ids=SEPARATE)
def test_an_order_behind_what_is_done_to_each_channel_is_seen(function: Function) -> None:
    assert cut(function, [0, 5]).verdict is Verdict.EXACT
    assert cut(lambda m, x: function(m, x.flip(1)), [0, 5]).verdict is Verdict.WRONG


ONE_HOT: dict[str, Function] = {
    "scatter": lambda m, x: x * torch.zeros_like(x).scatter_(1, x.argmax(1, keepdim=True), 1.0),
    "one_hot": lambda m, x: x * F.one_hot(x.argmax(1), x.shape[1]).movedim(-1, 1).to(x.dtype),
    "eq": lambda m, x: x * (
        x.argmax(1, keepdim=True) == torch.arange(x.shape[1])[:, None, None]
    ).to(x.dtype),
    "index by ranks": lambda m, x: x * torch.stack(
        [image[image.mean((1, 2)).topk(2)[1]].mean(0, keepdim=True) for image in x]
    ),
}  # fmt: skip


@pytest.mark.parametrize("function", ONE_HOT.values(), ids=ONE_HOT)
def test_channels_that_values_choose_are_those_that_stay(function: Function) -> None:
    assert cut(function).verdict is Verdict.MIXED


class Chosen(nn.Module):
    """A further input says what is done with channels by their numbers."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.make, self.read = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1)
        self.head, self.function = nn.Linear(6, 2), function

    def forward(self, x: Tensor, number: Tensor) -> Tensor:
        return self.head(self.read(self.function(self.make(x), number)).mean((2, 3)))


def channels(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1])


def written_from(x: Tensor, n: Tensor) -> Tensor:
    x = x.clone()
    x[:, int(n) :] = 0.0
    return x


@pytest.mark.parametrize(
    ("function", "number"),
    [
        (lambda x, n: x * (channels(x) < n)[:, None, None], torch.tensor(8)),
        (lambda x, n: x + (n * channels(x)).to(x.dtype)[:, None, None], torch.tensor(0)),
        (
            lambda x, n: x[torch.arange(2)[:, None], channels(x) ^ n[:, None]],
            torch.tensor([0, 0]),
        ),
        (lambda x, n: x.roll(int(n), 1), torch.tensor(0)),
        (lambda x, n: torch.cat([x[:, int(n) :], x[:, : int(n)]], 1), torch.tensor(0)),
        (lambda x, n: x[:, (channels(x) + int(n[0])) % x.shape[1]], torch.tensor([0, 3])),
        (lambda x, n: x * (channels(x) >= int(n))[:, None, None], torch.tensor(0.0)),
        (lambda x, n: x + (int(n) * channels(x)).to(x.dtype)[:, None, None], torch.tensor(0)),
        (lambda x, n: F.pad(x, (0, 0, 0, 0, int(n), 0))[:, : x.shape[1]], torch.tensor(0)),
        (written_from, torch.tensor(100)),
    ],
    ids=[
        "the first of them",
        "a shift",
        "an order",
        "roll",
        "slices",
        "index",
        "a mask",
        "a number for each",
        "padding",
        "a write",
    ],
)
def test_what_an_input_decides_of_channels_is_not_proved_by_one_of_its_values(
    function: Callable[[Tensor, Tensor], Tensor], number: Tensor
) -> None:
    found = decided(function, number)
    assert found.structure.startswith("not lined up")
    assert "shown on random inputs alone" in found.reason


def decided(function: Callable[[Tensor, Tensor], Tensor], number: Tensor) -> Verification:
    model: Any = built(lambda: Chosen(function))
    with watch(model, (images(), number)) as watched:
        tp.prune_conv_out_channels(model.make, [0, 2, 5])
        tp.prune_conv_in_channels(model.read, [0, 2, 5])
    found: Verification = watched.verification
    return found


@pytest.mark.parametrize(
    ("function", "number"),
    [
        (lambda x, n: x * int(n), torch.tensor(3)),
        (lambda x, n: x.roll(int(n), 3), torch.tensor(0)),
        (lambda x, n: x.roll(int(n) * x.shape[1], 1), torch.tensor(0)),
        (lambda x, n: x[:, :, int(n) : int(n) + 1] * x, torch.tensor(0)),
        (lambda x, n: x[..., : int(n)], torch.tensor(3)),
    ],
    ids=["a factor", "a roll of rows", "whole turns", "a row", "a part of an image"],
)
def test_what_an_input_decides_of_all_channels_alike_is_proved(
    function: Callable[[Tensor, Tensor], Tensor], number: Tensor
) -> None:
    found = decided(function, number)
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")
