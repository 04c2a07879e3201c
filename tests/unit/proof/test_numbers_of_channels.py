"""Positions of channels: they look the same channels up again, or are numbers that a cut changes.

The dense network itself says what is right: one in which the channels that went lie so far below
all others that nothing finds them.
"""

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

Function = Callable[[Any, Tensor], Tensor]


def score(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def scores(x: Tensor) -> Tensor:
    return x.mean((0, 2, 3))


def two(x: Tensor) -> Tensor:
    """The places of the two largest channels of each image."""
    return score(x).topk(2, 1)[1]


def one(x: Tensor) -> Tensor:
    return score(x).topk(1, 1)[1]


def numbers(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1])


def images_of(x: Tensor) -> Tensor:
    """One number or channel for each image, as what an image is multiplied with."""
    return x.reshape(*x.shape, *(1,) * (4 - x.dim()))


def made(function: Function) -> Any:
    return built(lambda: Net(function, table=nn.Parameter(torch.linspace(0.5, 2, 8))))


def without(
    function: Function, gone: Sequence[int], after: Callable[[Any], None] = lambda _: None
) -> tuple[Any, Any, Verification]:
    """The dense network, the pruned one and the verdict on it."""
    dense = made(function)
    pruned = copy.deepcopy(dense)
    with watch(pruned, images()) as watched:
        tp.prune_conv_out_channels(pruned.make, list(gone))
        tp.prune_conv_in_channels(pruned.read, list(gone))
        after(pruned)
    return dense, pruned, watched.verification


def is_the_same(dense: Any, pruned: Any, gone: Sequence[int]) -> bool:
    """Whether both compute the same where no channel that went is found, on many inputs."""
    stays = torch.ones(8, dtype=torch.bool)
    stays[list(gone)] = False
    with torch.no_grad():
        dense.make.weight[~stays], dense.make.bias[~stays] = 0.0, -1e4
    dense.read.register_forward_pre_hook(
        lambda _, given: (given[0].masked_fill(~stays[:, None, None], 0.0),)
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        drawn = [torch.randn(2, 3, 6, 6, generator=generator).double() for _ in range(12)]
        pairs = [(dense.double()(x), pruned.double()(x)) for x in drawn]
    return all(torch.allclose(found, wanted, rtol=1e-9, atol=1e-12) for wanted, found in pairs)


AS_NUMBERS: dict[str, Function] = {
    "a comparison with one": lambda m, x: x * images_of(1 + (one(x) >= 5)),
    "a comparison of argmax": lambda m, x: x * images_of(1 + (score(x).argmax(1) < 4)),
    "isin": lambda m, x: x * images_of(1 + torch.isin(one(x), torch.tensor([1, 4, 5]))),
    "a table": lambda m, x: x * images_of(m.table[one(x)]),
    "an embedding": lambda m, x: x * F.embedding(one(x), m.table[:, None])[..., None],
    "index_select of a table": lambda m, x: x * m.table.index_select(0, scores(x).topk(1)[1])[0],
    "gather from a table": lambda m, x: x * images_of(
        m.table.expand(2, -1).gather(1, one(x))
    ),
    "a table of constants": lambda m, x: x * images_of(torch.arange(1.0, 9.0).to(x)[one(x)]),
    "positions along a row": lambda m, x: x * x.flatten(2).gather(
        2, one(x)[:, None].expand(-1, x.shape[1], -1)
    )[..., None],
    "one number": lambda m, x: x * (1 + int(scores(x).argmax())),
    "numbers in a loop": lambda m, x: x * (1 + sum([int(n) for n in scores(x).topk(2)[1]])),
    "a table by a number": lambda m, x: x * m.table[int(scores(x).topk(1)[1][0])],
    "one of a list": lambda m, x: x * [1.0, 2.0, 4.0, 8.0, 16.0, 5.0, 3.0, 7.0][
        int(scores(x).argmax())
    ],
    "a count at a place": lambda m, x: x * (
        1 + torch.bincount(two(x).flatten(), minlength=x.shape[1])[5 % x.shape[1]]
    ),
    "counts of a fixed number": lambda m, x: x * (
        torch.bincount(two(x).flatten(), minlength=8).to(x) @ m.table.to(x)
    ),
    "one-hot of a fixed size": lambda m, x: x * images_of(
        F.one_hot(score(x).argmax(1), 8).to(x) @ m.table.to(x)
    ),
    "unique": lambda m, x: x * (1 + torch.unique(two(x)).sum()),
    "the last of nonzero": lambda m, x: x * (1 + float((scores(x) > -50).nonzero()[-1])),
    "a sum of where": lambda m, x: x * (1 + torch.where(score(x) > -50)[1].sum()),
    "a float": lambda m, x: x * images_of(1 + score(x).argmax(1).to(x) / 8),
    "a sine": lambda m, x: x * images_of(one(x).to(x).sin()),
    "a power": lambda m, x: x * images_of(0.5 ** one(x)),
    "searchsorted": lambda m, x: x * images_of(
        1 + torch.searchsorted(
            score(x).clamp(min=0).cumsum(1).contiguous(), torch.full((2, 1), 0.05).to(x)
        )
    ),
    "kthvalue": lambda m, x: x * images_of(1 + score(x).kthvalue(x.shape[1], 1).indices),
    "a sorted number": lambda m, x: x * images_of(
        1 + score(x).sort(1, descending=True)[1][:, :1]
    ),
    "a sorted number and its rank": lambda m, x: x * images_of(
        1 + (score(x).sort(1, descending=True)[1] + numbers(x))[:, :1]
    ),
    "whether it is its rank": lambda m, x: x * images_of(
        1 + (score(x).sort(1, descending=True)[1] == numbers(x)).sum(1)
    ),
    "the largest number": lambda m, x: x * images_of(1 + two(x).amax(1)),
    "several in one tensor": lambda m, x: x * images_of(1 + torch.cat([one(x), two(x)], 1).sum(1)),
    "how far apart": lambda m, x: x * images_of(1 + (two(x)[:, 0] - two(x)[:, 1]).abs()),
    "of a flattened image": lambda m, x: x * images_of(
        1 + x.flatten(1).argmax(1) // (x.shape[2] * x.shape[3])
    ),
    "a running maximum": lambda m, x: x * images_of(1 + score(x).cummax(1)[1].amax(1)),
}  # fmt: skip


@pytest.mark.parametrize("function", AS_NUMBERS.values(), ids=AS_NUMBERS)
@pytest.mark.parametrize("gone", [[0, 2, 3, 7], [1, 3]], ids=str)
def test_a_position_that_is_used_as_a_number_is_another_one(
    function: Function, gone: list[int]
) -> None:
    """Where it is not, as above 5 are the same once 1 and 3 went, the verdict is not sought."""
    dense, pruned, found = without(function, gone)
    is_other = not is_the_same(dense, pruned, gone)
    assert is_other or gone == [1, 3]
    assert not is_other or found.verdict is Verdict.WRONG, found.reason


OF_A_WIDTH = {"a count at a place", "whether it is its rank"}
"""Which last channels have gone, these tell."""


@pytest.mark.parametrize("name", sorted(AS_NUMBERS.keys() - OF_A_WIDTH))
def test_the_last_channels_leave_the_positions_of_others_as_they_were(name: str) -> None:
    dense, pruned, found = without(AS_NUMBERS[name], [6, 7])
    assert is_the_same(dense, pruned, [6, 7])
    assert found.verdict.passes, found.reason


MASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "scatter": lambda x: torch.zeros(x.shape[:2]).to(x).scatter(1, two(x), 1.0),
    "one_hot": lambda x: F.one_hot(two(x), x.shape[1]).sum(1).to(x),
    "the number of each": lambda x: (two(x)[..., None] == numbers(x)).any(1),
    "all but one": lambda x: score(x).argmax(1, keepdim=True) != numbers(x),
    "those up to one": lambda x: numbers(x) <= score(x).argmax(1, keepdim=True),
    "as floats": lambda x: one(x).to(x) == numbers(x).to(x),
    "isin": lambda x: torch.isin(numbers(x), scores(x).topk(2)[1])[None],
    "bincount": lambda x: torch.bincount(two(x).flatten(), minlength=x.shape[1])[None],
    "histc": lambda x: torch.histc(two(x).float(), x.shape[1], 0, x.shape[1])[None],
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_by_positions_lies_along_the_channels(mask: Callable[[Tensor], Tensor]) -> None:
    """Turned round, each meets the last but as many, which the cut does not leave so."""

    def turned(m: Any, x: Tensor) -> Tensor:
        return x + (x - 1e9).relu() * images_of(mask(x).to(x).flip(1))

    assert without(lambda m, x: x * images_of(mask(x).to(x)), [0, 5])[-1].verdict.passes
    assert without(turned, [0, 5])[-1].verdict is Verdict.WRONG


NO_NUMBERS: dict[str, Function] = {
    "gather": lambda m, x: x * x.gather(
        1, images_of(two(x)).expand(-1, -1, *x.shape[2:])
    ).mean(1, keepdim=True),
    "take_along_dim": lambda m, x: x * images_of(
        torch.take_along_dim(score(x), two(x), 1).mean(1)
    ),
    "index_select": lambda m, x: x * x.index_select(1, scores(x).topk(2)[1]).mean(1, keepdim=True),
    "rows of the identity": lambda m, x: x * images_of(
        torch.eye(x.shape[1]).to(x)[score(x).argmax(1)]
    ),
    "unique": lambda m, x: x * x[:, torch.unique(two(x))].mean(1, keepdim=True),
    "sorted places": lambda m, x: x * x[:, scores(x).topk(2)[1].sort()[0]].mean(1, keepdim=True),
    "the largest place": lambda m, x: x * images_of(
        score(x).gather(1, two(x).amax(1, keepdim=True))
    ),
    "nonzero": lambda m, x: x * x[:, (scores(x) > -50).nonzero()[:, 0]].mean(1, keepdim=True),
    "a count of nonzero": lambda m, x: x * (scores(x) > -50).nonzero().shape[0],
    "images of nonzero": lambda m, x: x * (1 + ((score(x) > -50).nonzero()[:, 0] == 1).any()),
    "with each other": lambda m, x: x * images_of(1 + (two(x)[:, 0] == two(x)[:, 1])),
    "which is before": lambda m, x: x * images_of(
        1 + (two(x)[:, 0] < x.amax((2, 3)).argmax(1))
    ),
    "a comparison with none": lambda m, x: x * images_of(1 + (one(x) >= 0)),
    "sorted and back": lambda m, x: x * images_of(
        score(x).sort(1)[0].gather(1, score(x).sort(1)[1].argsort(1))
    ),
    "from the end": lambda m, x: x * images_of(
        score(x).gather(1, (score(x).argmax(1, keepdim=True) - x.shape[1]) % x.shape[1])
    ),
    "over all images": lambda m, x: x * images_of(
        score(x).flatten()[score(x).argmax(1) + torch.arange(len(x)) * x.shape[1]]
    ),
    "a flattened image": lambda m, x: x * images_of(
        x.flatten(1).argmax(1)[:, None] // (x.shape[2] * x.shape[3]) == numbers(x)
    ),
    "a pixel of it": lambda m, x: x * images_of(
        1 + x.flatten(1).argmax(1) % (x.shape[2] * x.shape[3])
    ),
    "places of a row": lambda m, x: x * x.flatten(2).mean(1).topk(2, 1)[1].sum(1)[
        :, None, None, None
    ],
    "a class": lambda m, x: x * images_of(1 + m.head(m.read(x).mean((2, 3))).argmax(1)),
    "index_fill": lambda m, x: x.index_fill(2, score(x.transpose(1, 2))[0].topk(1)[1], 0.0),
}  # fmt: skip


@pytest.mark.parametrize("function", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_a_position_that_looks_the_same_channels_up_is_no_number(function: Function) -> None:
    found = without(function, [0, 2, 3, 7])[-1]
    assert found.verdict.passes, found.reason


def test_a_table_that_is_cut_with_the_channels_is_looked_up_at_the_same_ones() -> None:
    def rows(left: Sequence[int]) -> Callable[[Any], None]:
        def cut(model: Any) -> None:
            model.table = nn.Parameter(model.table.detach()[list(left)].clone())

        return cut

    function = AS_NUMBERS["a table"]
    dense, pruned, found = without(function, [0, 2, 3, 7], rows([1, 4, 5, 6]))
    assert is_the_same(dense, pruned, [0, 2, 3, 7])
    assert found.verdict.passes, found.reason
    dense, pruned, found = without(function, [0, 2, 3, 7], rows([0, 1, 2, 3]))
    assert not is_the_same(dense, pruned, [0, 2, 3, 7])
    assert found.verdict is Verdict.WRONG
