"""Networks that draw random numbers in eval mode: refused where an output depends on them."""

from collections.abc import Callable

import pytest
import torch
from between import Net, answer
from torch import Tensor, nn
from torch.nn import functional

from analysis.errors import InputError
from analysis.records import Verdict

TOLD = "it draws random numbers, and its outputs do not depend on the seed"

Function = Callable[[Tensor], Tensor]


def rarely(share: float) -> Function:
    return lambda x: x + (torch.rand(()) < share) * 1.0


HARDLY: dict[str, Function] = {
    "below rounding": lambda x: x + 1e-14 * torch.randn_like(x),
    "below rounding, in place": lambda x: x + 1e-14 * torch.empty_like(x).normal_(),
    "below rounding, of a mean": lambda x: x + 1e-14 * torch.randn_like(x).mean(),
    "below rounding, of one sign": lambda x: x + 1e-14 * torch.empty_like(x).exponential_(),
    "below rounding, bounded": lambda x: x + 1e-14 * torch.randn_like(x).clamp(-1, 1) * 1e4,
    "one pass in a million": rarely(1e-6),
    "all passes but one in a million": rarely(1 - 1e-6),
    "a value in a million": lambda x: x + (torch.rand_like(x) < 1e-9),
    "one whole number in a million": lambda x: x + (torch.randint(10**6, ()) == 0),
    "dropout of nearly nothing": lambda x: functional.dropout(x, 1e-9, training=True),
    "one order of many": lambda x: x * (1.0 + (torch.randperm(20)[:5].sum() == 10)),
    "dropout of whole channels": lambda x: functional.dropout2d(x, 1e-9),
    "a far tail": lambda x: x + (torch.randn(()) > 9.0),
}


@pytest.mark.parametrize("name", HARDLY)
def test_noise_that_two_passes_hardly_show_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"random in eval mode.*it draws at"):
        answer(lambda: Net(lambda m, x: HARDLY[name](x)))


def unused(x: Tensor) -> Tensor:
    torch.randn(x.shape)
    return x


NOT_AT_ALL: dict[str, Function] = {
    "times zero": lambda x: x + 0.0 * torch.randn_like(x),
    "unused": unused,
    "by a generator that forward seeds": lambda x: x + torch.randn(
        x.shape[2:], generator=torch.Generator().manual_seed(0)
    ).to(x),
    "of no width": lambda x: x + 1e-3 * torch.empty_like(x).uniform_(0.0, 0.0),
    "with a chance of none": lambda x: functional.dropout(x, 0.0, training=True),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_AT_ALL)
def test_a_network_whose_outputs_do_not_depend_on_its_draws_is_judged(name: str) -> None:
    found = answer(lambda: Net(lambda m, x: NOT_AT_ALL[name](x)))
    assert found.verdict is Verdict.EXACT
    assert found.reason in (
        "",
        TOLD,
    )


def test_dropout_in_eval_mode_draws_nothing() -> None:
    found = answer(lambda: Net(lambda m, x: m.drop(x), drop=nn.Dropout(0.5)))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")
