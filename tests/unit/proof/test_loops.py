"""What a forward pass does once for each channel, or for each part of several."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import pytest
import torch
import torch_pruning as tp
from between import Net, built, images
from torch import Tensor, nn

from analysis import watch
from analysis.records import Verdict, Verification

Function = Callable[[Net, Tensor], Tensor]

GONE = [0, 2, 5, 7]


def cut(function: Function, gone: Sequence[int] = GONE, width: int = 8, **altered: Any) -> Any:
    """The verdict on a network cut by hand, which torch-pruning does not follow through a loop."""
    model: Any = built(lambda: Net(function, step=1, factor=1.0))
    model.read = nn.Conv2d(width, 6, 1)
    with watch(model, images()) as watched:
        tp.prune_conv_out_channels(model.make, gone)
        if width == 8:
            tp.prune_conv_in_channels(model.read, gone)
        for name, value in altered.items():
            setattr(model, name, value)
    found: Verification = watched.verification
    return found


def one_by_one(m: Net, x: Tensor) -> Tensor:
    made = []
    for channel in range(x.shape[1])[:: m.step]:
        one = x[:, channel : channel + 1]
        one = one.relu() * m.factor
        made.append(one)
    return torch.cat(made, 1)


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
    "several lines": one_by_one,
    "parts": lambda m, x: torch.cat(x.split(2, 1), 1),
    "parts one by one": lambda m, x: torch.cat([part.relu() for part in x.split(2, 1)], 1),
    "chunks": lambda m, x: torch.cat(x.chunk(3, 1), 1),
}  # fmt: skip


@pytest.mark.parametrize("gone", [GONE, [4, 5, 6, 7], [7], [1, 2, 3, 4, 5, 6, 7]], ids=str)
@pytest.mark.parametrize("function", ORDERED.values(), ids=ORDERED)
def test_channels_that_are_taken_apart_and_put_together_are_the_same(
    function: Function, gone: Sequence[int]
) -> None:
    found = cut(function, gone)
    assert found.verdict is Verdict.EXACT, found.reason


def added(m: Net, x: Tensor) -> Tensor:
    total: Any = 0
    for channel in range(x.shape[1]):
        total = total + x[:, channel : channel + 1]
    return total  # type: ignore[no-any-return]


def added_to_zeros(m: Net, x: Tensor) -> Tensor:
    total = torch.zeros_like(x[:, :1])
    for channel in range(x.shape[1]):
        total += x[:, channel : channel + 1]
    return total


def added_to_the_first(m: Net, x: Tensor) -> Tensor:
    total = x[:, :1]
    for channel in range(1, x.shape[1]):
        total = total + x[:, channel : channel + 1]
    return total


def added_to_the_first_part(m: Net, x: Tensor) -> Tensor:
    parts = x.unbind(1)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total.unsqueeze(1)


def added_in_several_lines(m: Net, x: Tensor) -> Tensor:
    total: Any = 0
    for channel in range(x.shape[1]):
        one = x[:, channel : channel + 1]
        one = one.sigmoid() * m.factor
        total = total + one
    return total  # type: ignore[no-any-return]


MIXED: dict[str, Function] = {
    "added": added,
    "added to zeros": added_to_zeros,
    "added to the first": added_to_the_first,
    "added to the first part": added_to_the_first_part,
    "added in several lines": added_in_several_lines,
    "mean": lambda m, x: (sum(x.unbind(1)) / x.shape[1]).unsqueeze(1),  # type: ignore[union-attr]
    "with a start": lambda m, x: reduce(torch.add, x.split(1, 1), torch.zeros(1)),
    "largest": lambda m, x: torch.stack(x.unbind(1)).amax(0).unsqueeze(1),
    "largest last": lambda m, x: torch.stack(x.unbind(1), -1).amax(-1).unsqueeze(1),
    "sum": lambda m, x: torch.stack(x.unbind(1)).sum(0).unsqueeze(1),
    "mean of split": lambda m, x: torch.cat(x.split(1, 1), 1).mean(1, keepdim=True),
    "running sum": lambda m, x: sum(x.unbind(1)).unsqueeze(1),  # type: ignore[union-attr]
    "running maximum": lambda m, x: reduce(torch.maximum, x.unbind(1)).unsqueeze(1),
}


LAST = [0, 1, 2, 3, 4, 5, 6]
"""All channels but one."""


@pytest.mark.parametrize("gone", [GONE, LAST, [1, *LAST[2:], 7], [1, 2, 3, 4, 5, 6, 7]], ids=str)
@pytest.mark.parametrize("function", MIXED.values(), ids=MIXED)
def test_what_is_taken_over_channels_one_by_one_mixes_them(
    function: Function, gone: Sequence[int]
) -> None:
    found = cut(function, gone, width=1)
    assert (found.verdict, found.structure != "proved") == (Verdict.MIXED, True), found.reason


@pytest.mark.parametrize("gone", [GONE, LAST], ids=str)
@pytest.mark.parametrize(
    "function",
    [
        added_in_several_lines,
        lambda m, x: sum(each * m.factor for each in x.split(1, 1)),
        lambda m, x: sum(x.split(1, 1)) * m.factor,
    ],
    ids=["in several lines", "each", "at the end"],
)
def test_a_loop_with_another_factor_is_wrong(function: Function, gone: Sequence[int]) -> None:
    found = cut(function, gone, width=1, factor=3.0)
    assert found.verdict is Verdict.WRONG
    assert "is given 3 where 1 was" in found.reason


@pytest.mark.parametrize("gone", [[0, 1, 2, 3], LAST], ids=str)
@pytest.mark.parametrize("channel", [0, -1])
def test_a_channel_that_is_picked_beside_a_loop_must_be_the_same(
    channel: int, gone: Sequence[int]
) -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        total: Tensor = sum(x.split(1, 1))  # type: ignore[assignment]
        return total * x[:, channel].unsqueeze(1)

    # The last channel stays, and the first goes.
    verdict = Verdict.WRONG if channel == 0 else Verdict.MIXED
    assert cut(function, gone, width=1).verdict is verdict


def hidden(function: Function) -> Function:
    """So far below zero that no number shows which channels these are."""
    return lambda m, x: (function(m, x) - 1e9).relu()


def numbered(m: Net, x: Tensor) -> Tensor:
    made = []
    for channel in range(x.shape[1]):
        one = x[:, channel]
        one = one.relu()
        made.append(one * (channel + 1))
    return torch.stack(made, 1)


SILENT: dict[str, Function] = {
    "several lines": numbered,
    "numbered": lambda m, x: torch.stack([c * n for n, c in enumerate(x.unbind(1), 1)], 1),
    "several numbers": lambda m, x: torch.stack(
        [c.relu() * n for n, c in enumerate(x.unbind(1), 1)], 1
    ),
}


@pytest.mark.parametrize("function", SILENT.values(), ids=SILENT)
def test_a_loop_that_numbers_channels_gives_those_left_others(function: Function) -> None:
    assert cut(function).verdict is Verdict.WRONG
    assert cut(hidden(function)).verdict is Verdict.WRONG
    assert cut(function, LAST).verdict is Verdict.WRONG
    assert cut(hidden(function), LAST).verdict is Verdict.WRONG
    assert cut(function, [4, 5, 6, 7]).verdict is Verdict.EXACT  # those left keep their numbers


def test_a_running_sum_of_numbered_channels_is_no_function_of_those_left() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return sum(c * n for n, c in enumerate(x.unbind(1), 1)).unsqueeze(1)  # type: ignore[union-attr]

    assert cut(function, width=1).verdict is Verdict.WRONG
    assert cut(function, LAST, width=1).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: torch.stack(x.unbind(1)[:: m.step], 1),
        lambda m, x: torch.stack([c.relu() for c in x.unbind(1)[:: m.step]], 1),
        lambda m, x: torch.cat(x.split(1, 1)[:: m.step], 1),
        one_by_one,
    ],
    ids=["stack", "one by one", "split", "several lines"],
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
