"""Arguments that say the same in other words, or that nothing reads, are no other arguments."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from between import Net, answer
from torch import Tensor, nn

from analysis.records import Verdict

Function = Callable[[Any, Tensor], Tensor]

DIMENSIONS: dict[str, tuple[Function, Any, Any, Any]] = {
    "amax": (lambda m, x: x + x.amax(m.dim, keepdim=True), 2, -2, -1),
    "mean of two": (lambda m, x: x + x[..., :3, :].mean(m.dim, True), (2, 3), (-1, -2), (3,)),
    "softmax": (lambda m, x: x.softmax(m.dim), 2, -2, 3),
    "transpose": (lambda m, x: x[..., :2].transpose(*m.dim).flatten(2), (2, 3), (3, -2), (2, 2)),
    "flip": (lambda m, x: x.relu().flip(m.dim), (3,), (-1,), (2,)),
    "permute": (lambda m, x: x.permute(m.dim), (0, 1, 3, 2), (0, -3, 3, -2), (0, 1, 2, 3)),
    "cat": (lambda m, x: torch.cat([x, x.sin()], m.dim), 3, -1, 2),
    "stack": (lambda m, x: torch.stack([x, x.sin()], m.dim).flatten(3), 4, -1, 3),
    "topk": (lambda m, x: x.topk(3, m.dim)[0], 3, -1, 2),
    "cumsum": (lambda m, x: x.cumsum(m.dim), 2, -2, -1),
}
"""What uses a dimension of the model, that, the same in other words, and another one."""


def four(function: Function) -> Function:
    return lambda m, x: (
        y if (y := function(m, x)).dim() == 4 else y.unsqueeze(-1) if y.dim() == 3 else y.flatten(3)
    )


@pytest.mark.parametrize("name", DIMENSIONS)
def test_a_dimension_is_one_from_the_front_and_from_the_back(name: str) -> None:
    function, dim, same, other = DIMENSIONS[name]
    alike = answer(lambda: Net(four(function), dim=dim), lambda model: setattr(model, "dim", same))
    assert (alike.verdict, alike.structure) == (Verdict.EXACT, "proved"), alike
    assert "`dim` of the model is" in alike.reason
    wrong = answer(lambda: Net(four(function), dim=dim), lambda model: setattr(model, "dim", other))
    assert not wrong.verdict.passes, wrong


UNREAD: dict[str, tuple[Callable[[], nn.Module], str, Any]] = {
    "the momentum of a batch norm": (lambda: nn.BatchNorm2d(8), "momentum", 0.3),
    "the dilation of one tap": (lambda: nn.Conv2d(8, 8, 1), "dilation", (2, 2)),
    "the dilation along one tap": (
        lambda: nn.Conv2d(8, 8, (1, 3), padding=(0, 1)), "dilation", (2, 1)
    ),
    "the dilation of a pool of one": (lambda: nn.MaxPool2d(1), "dilation", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_what_the_forward_pass_does_not_read_is_reported_and_not_wrong(name: str) -> None:
    part, key, value = UNREAD[name]
    found = answer(
        lambda: Net(lambda m, x: m.part(x), part=part()),
        lambda model: setattr(model.part, key, value),
    )
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved"), found
    assert f"`{key}` of `part` is" in found.reason


def widened(model: Any) -> None:
    model.part.dilation, model.part.padding = (2, 2), (2, 2)


def statistics(model: Any) -> None:
    model.part.running_mean = model.part.running_var = None


READ: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], None]]] = {
    "the dilation of nine taps": (lambda: nn.Conv2d(8, 8, 3, padding=1), widened),
    "what is added to a variance": (
        lambda: nn.BatchNorm2d(8), lambda model: setattr(model.part, "eps", 0.3)
    ),
    "statistics of the batch": (lambda: nn.BatchNorm2d(8), statistics),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_the_forward_pass_reads_is_wrong(name: str) -> None:
    part, change = READ[name]
    found = answer(lambda: Net(lambda m, x: m.part(x), part=part()), change)
    assert found.verdict is Verdict.WRONG, found
