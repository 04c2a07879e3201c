"""Buffers that hold positions of channels, made anew for those that stay."""

from collections.abc import Callable

import pytest
import torch
from between import Net, answer
from torch import Tensor, nn

from analysis.records import Verdict

Function = Callable[["Ordered", Tensor], Tensor]


class Ordered(Net):
    """Reads eight channels in the order that a buffer gives."""

    def __init__(self, function: Function, order: Tensor) -> None:
        super().__init__(function)  # type: ignore[arg-type]
        self.register_buffer("order", order)
        with torch.no_grad():
            self.make.weight[4:] *= 0.1  # the last four channels go


def setting(values: Tensor) -> Callable[[nn.Module], None]:
    return lambda model: setattr(model, "order", values)


def hidden(function: Function) -> Function:
    """So far below zero that no number shows which channels these are."""
    return lambda m, x: (function(m, x) - 1e9).relu()


LOOKUPS: dict[str, Function] = {
    "index": lambda m, x: x[:, m.order],
    "index_select": lambda m, x: x.index_select(1, m.order),
    "index of rows": lambda m, x: x.transpose(0, 1)[m.order].transpose(0, 1),
}


@pytest.mark.parametrize("function", LOOKUPS.values(), ids=LOOKUPS)
def test_an_order_of_fewer_channels_is_right_where_it_looks_up_the_same(function: Function) -> None:
    found = answer(lambda: Ordered(function, torch.arange(8)), setting(torch.arange(4)))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved"), found


@pytest.mark.parametrize("function", LOOKUPS.values(), ids=LOOKUPS)
def test_another_order_is_wrong_where_no_number_shows_it(function: Function) -> None:
    order = torch.tensor([1, 0, 2, 3])
    for each in (function, hidden(function)):
        found = answer(lambda each=each: Ordered(each, torch.arange(8)), setting(order))
        assert found.verdict is Verdict.WRONG, found


NUMBERS: dict[str, Function] = {
    "as a number too": lambda m, x: x[:, m.order] + 0 * m.order.float().mean(),
    "as a factor": lambda m, x: x[:, m.order] * (m.order + 1).view(-1, 1, 1),
    "of positions": lambda m, x: x + x[:, :, m.order[:4]].amax((2, 3), keepdim=True),
    "of another tensor": lambda m, x: x[:, m.order] + torch.ones(8)[m.order][0],
}


@pytest.mark.parametrize("function", NUMBERS.values(), ids=NUMBERS)
def test_a_buffer_that_is_more_than_a_lookup_must_hold_what_it_held(function: Function) -> None:
    make = lambda: Ordered(function, torch.arange(8))  # noqa: E731
    found = answer(make, setting(torch.arange(4)))
    assert found.verdict is Verdict.WRONG
    assert "`order` is not the dense network's" in found.reason
