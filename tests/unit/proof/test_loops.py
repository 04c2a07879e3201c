"""What a forward pass does once for each channel, or for each part of several."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import accumulate
from typing import Any

import pytest
import torch
from between import Net, cut
from drawn import part
from torch import Tensor

from analysis.records import Verdict

Function = Callable[[Net, Tensor], Tensor]

GONE = [0, 2, 5, 7]


def in_lines(body: Function) -> Function:
    """A loop of several lines over the channels, put together in their order."""

    def function(m: Net, x: Tensor) -> Tensor:
        found = []
        for channel in x.unbind(1):
            positive = channel.relu()
            made = body(m, positive)
            found.append(made)
        return torch.stack(found, 1)

    return function


def summed(m: Net, x: Tensor) -> Tensor:
    total = torch.zeros_like(x[:, 0])
    for channel in x.unbind(1):
        scaled = channel * m.step
        total = total + scaled
    return total.unsqueeze(1)


def drawn(functions: dict[str, Function], sets: list[list[int]]) -> list[Any]:
    """Each function with the sets of channels to cut that are drawn for it."""
    return [
        pytest.param(function, gone, id=f"{name}-{gone}")
        for name, function in functions.items()
        for gone in part(sets, name)
    ]


ORDERED: dict[str, Function] = {
    "stack": lambda m, x: torch.stack(x.unbind(1), 1),
    "stack first": lambda m, x: torch.stack(x.unbind(1)).transpose(0, 1),
    "stack last": lambda m, x: torch.stack(x.unbind(1), -1).movedim(-1, 1),
    "cat": lambda m, x: torch.cat([each.unsqueeze(1) for each in x.unbind(1)], 1),
    "split": lambda m, x: torch.cat(x.split(1, 1), 1),
    "select": lambda m, x: torch.stack([x[:, n] for n in range(x.shape[1])], 1),
    "several in turn": lambda m, x: torch.stack([each.relu() * 2 for each in x.unbind(1)], 1),
    "reversed": lambda m, x: torch.stack(x.unbind(1)[::-1], 1).flip(1),
    "mean of each": lambda m, x: torch.stack(
        [c.mean((1, 2), keepdim=True) for c in x.unbind(1)], 1
    ),
    "several lines": in_lines(lambda m, c: c * 3),
    "several lines that read a layer": in_lines(lambda m, c: c * m.head.bias[1]),
    "parts": lambda m, x: torch.cat(x.split(2, 1), 1),
    "parts one by one": lambda m, x: torch.cat([part.relu() for part in x.split(2, 1)], 1),
    "chunks": lambda m, x: torch.cat(x.chunk(3, 1), 1),
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "gone"), drawn(ORDERED, [GONE, [4, 5, 6, 7], [7], [1, 2, 3, 4, 5, 6, 7]])
)
def test_channels_that_are_taken_apart_and_put_together_are_the_same(
    function: Function, gone: Sequence[int]
) -> None:
    found = cut(function, gone)
    assert found.verdict is Verdict.EXACT, found.reason


def by_slices(m: Net, x: Tensor) -> Tensor:
    """Heads of two channels, each by a slice, put together in this or the other order."""
    found = []
    for first in range(0, x.shape[1], 2):
        head = x[:, first : first + 2]
        found.append(head.softmax(1) * head)
    return torch.cat(found[:: m.step], 1)


@pytest.mark.parametrize("heads", [[0], [1, 2], [0, 1, 2], [1, 2, 3]], ids=str)
def test_heads_by_slices_are_the_same_without_those_that_went(heads: Sequence[int]) -> None:
    """Of one that is left alone PyTorch calls no slice."""
    gone = [channel for head in heads for channel in (2 * head, 2 * head + 1)]
    assert cut(by_slices, gone).verdict is Verdict.EXACT
    if len(heads) < 3:
        assert cut(by_slices, gone, step=-1).verdict is Verdict.WRONG


MIXED: dict[str, Function] = {
    "largest": lambda m, x: torch.stack(x.unbind(1)).amax(0).unsqueeze(1),
    "largest last": lambda m, x: torch.stack(x.unbind(1), -1).amax(-1).unsqueeze(1),
    "sum": lambda m, x: torch.stack(x.unbind(1)).sum(0).unsqueeze(1),
    "mean of split": lambda m, x: torch.cat(x.split(1, 1), 1).mean(1, keepdim=True),
    "running sum": lambda m, x: sum(x.unbind(1)).unsqueeze(1),  # type: ignore[union-attr]
    "running maximum": lambda m, x: reduce(torch.maximum, x.unbind(1)).unsqueeze(1),
    "reduced sum": lambda m, x: reduce(torch.add, x.unbind(1)).unsqueeze(1),
    "accumulated": lambda m, x: [*accumulate(x.unbind(1))][-1].unsqueeze(1),
    "several lines": summed,
}


@pytest.mark.parametrize(
    ("function", "gone"),
    drawn(MIXED, [GONE, [7], [0, 1, 2, 3, 5, 6], [0, 1, 2, 3, 4, 6, 7]]),
)
def test_what_is_taken_over_channels_one_by_one_mixes_them(
    function: Function, gone: Sequence[int]
) -> None:
    """Down to a single channel, of which there is no sum to take."""
    found = cut(function, gone, width=1)
    assert (found.verdict, found.structure != "proved") == (Verdict.MIXED, True), found.reason


ALTERED: dict[str, Function] = {
    "factor": lambda m, x: sum(c * m.step for c in x.unbind(1)),
    "bound": lambda m, x: sum(c.clamp(max=m.step) for c in x.unbind(1)),
    "direction": lambda m, x: sum(c.flip(-1 if m.step == 1 else -2) for c in x.unbind(1)),
    "what is added": lambda m, x: reduce(partial(torch.add, alpha=m.step), x.unbind(1)),
    "behind it": lambda m, x: sum(x.unbind(1)) * m.step,
    "order of operands": lambda m, x: reduce(
        lambda a, b: torch.where(a < b, a, b) if m.step == 1 else torch.where(b < a, a, b),
        x.unbind(1),
    ),
    "tensor": lambda m, x: sum(c * m.head.bias[0 if m.step == 1 else 1] for c in x.unbind(1)),
    "in several lines": lambda m, x: summed(m, x)[:, 0],
    "number taken out": lambda m, x: x[:, 0] * (x.amax().item() * m.step),
    "number of all": lambda m, x: x.amax(1) / (x.abs().sum().item() + m.step),
}  # fmt: skip


@pytest.mark.parametrize(("function", "gone"), drawn(ALTERED, [[2, 5, 7], [1, 2, 3, 5, 6, 7]]))
def test_a_function_over_channels_is_the_one_that_the_dense_network_calls(
    function: Function, gone: Sequence[int]
) -> None:
    """That no equality can hold behind it is no reason to let another one pass."""

    def over(m: Net, x: Tensor) -> Tensor:
        return function(m, x).unsqueeze(1)

    assert cut(over, gone, width=1).verdict is Verdict.MIXED
    assert cut(over, gone, width=1, step=3).verdict is Verdict.WRONG
    assert cut(hidden(over), gone, width=1, step=3).verdict is Verdict.WRONG


PICKED: dict[str, Function] = {
    "slice": lambda m, x: torch.stack([c * x[:, 0] for c in x.unbind(1)], 1),
    "part": lambda m, x: (x.unbind(1)[0] * sum(x.unbind(1))).unsqueeze(1).expand(-1, 8, -1, -1),
    "weight": in_lines(lambda m, c: c * m.make.bias[0]),
}


@pytest.mark.parametrize("function", PICKED.values(), ids=PICKED)
def test_a_loop_that_picks_a_channel_by_its_place_needs_that_channel(function: Function) -> None:
    """Once it has gone, another one is there."""

    def over(m: Net, x: Tensor) -> Tensor:
        return function(m, x).amax(1, keepdim=True)

    for kind in (over, hidden(over)):
        assert cut(kind, [0, 2, 5], width=1).verdict is Verdict.WRONG
        assert cut(kind, [2, 5, 7], width=1).verdict.passes


def turned(body: Callable[[Tensor, int], Tensor]) -> Function:
    """A loop over the places of channels."""
    return lambda m, x: torch.stack([body(x, n) for n in range(x.shape[1])], 1)


MEETING: dict[str, tuple[Function, Sequence[Sequence[int]], Sequence[Sequence[int]]]] = {
    "the next": (
        turned(lambda x, n: x[:, n] + x[:, (n + 1) % x.shape[1]]), [], [[7], [1, 2, 5, 6], GONE]
    ),
    "the one before": (turned(lambda x, n: x[:, n] - x[:, n - 1]), [], [[7], [0, 1, 2, 3], GONE]),
    "both made positive": (
        turned(lambda x, n: x[:, n].relu() * x[:, n - 1].relu()), [], [[7], GONE]
    ),
    "the last but as many": (
        turned(lambda x, n: x[:, n] * x[:, -1 - n]), [[1, 6], [0, 2, 5, 7]], [[1, 5], [4, 5, 6, 7]]
    ),
    "the mean of all": (turned(lambda x, n: x[:, n] - x.mean(1)), [GONE, [7], [0, 1, 2]], []),
    "the first": (turned(lambda x, n: x[:, n] * x[:, 0]), [[2, 5, 7]], [[0, 2, 5]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["as it is", "hidden"])
@pytest.mark.parametrize("name", MEETING)
def test_a_channel_meets_the_one_that_it_met_in_its_turn(name: str, kind: str) -> None:
    """Each of these pairs is found by hand from the channels that stay."""
    function, right, wrong = MEETING[name]
    function = hidden(function) if kind == "hidden" else function
    for gone in right:
        assert cut(function, gone).verdict.passes, gone
    for gone in wrong:
        assert cut(function, gone).verdict is Verdict.WRONG, gone


def hidden(function: Function) -> Function:
    """So far below zero that no number shows which channels these are."""
    return lambda m, x: (function(m, x) - 1e9).relu()


SILENT: dict[str, Function] = {
    "numbered": lambda m, x: torch.stack([c * n for n, c in enumerate(x.unbind(1), 1)], 1),
    "several numbers": lambda m, x: torch.stack(
        [c.relu() * n for n, c in enumerate(x.unbind(1), 1)], 1
    ),
}


@pytest.mark.parametrize("function", SILENT.values(), ids=SILENT)
def test_a_loop_that_numbers_channels_gives_those_left_others(function: Function) -> None:
    assert cut(function).verdict is Verdict.WRONG
    assert cut(hidden(function)).verdict is Verdict.WRONG
    assert cut(function, [4, 5, 6, 7]).verdict is Verdict.EXACT  # those left keep their numbers


def test_a_running_sum_of_numbered_channels_is_no_function_of_those_left() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return sum(c * n for n, c in enumerate(x.unbind(1), 1)).unsqueeze(1)  # type: ignore[union-attr]

    assert cut(function, width=1).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: torch.stack(x.unbind(1)[:: m.step], 1),
        lambda m, x: torch.stack([c.relu() for c in x.unbind(1)[:: m.step]], 1),
        lambda m, x: torch.cat(x.split(1, 1)[:: m.step], 1),
    ],
    ids=["stack", "one by one", "split"],
)
def test_channels_that_are_put_together_in_another_order_are_found(function: Function) -> None:
    assert cut(hidden(function)).verdict is Verdict.EXACT
    assert cut(hidden(function), step=-1).verdict is Verdict.WRONG
    assert cut(function, step=-1).verdict is Verdict.WRONG


def test_a_part_that_is_used_alone_must_hold_the_same_channels() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x.split(2, 1)[0].relu().amax(1, keepdim=True)

    assert cut(function, width=1).verdict is Verdict.WRONG
    assert cut(function, [4, 5, 6, 7], width=1).verdict is Verdict.EXACT
