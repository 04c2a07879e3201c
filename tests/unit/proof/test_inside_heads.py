"""Statistics that are taken inside each head are the same without whole heads."""

from collections.abc import Callable

import pytest
from between import Net, cut
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from analysis.records import Verdict

Function = Callable[[Tensor], Tensor]


def in_heads(function: Function, heads: int, size: int) -> Callable[[Net, Tensor], Tensor]:
    """Four heads of two channels; of one of the two numbers -1 says that it follows a cut."""

    def inside(m: Net, x: Tensor) -> Tensor:
        made = function(x.permute(0, 2, 3, 1).unflatten(-1, (heads, size)))
        return made.flatten(-2).permute(0, 3, 1, 2)

    return inside


INSIDE: dict[str, Function] = {
    "softmax": lambda h: h.softmax(-1),
    "max": lambda h: h - h.amax(-1, keepdim=True),
    "mean": lambda h: h - h.mean(-1, keepdim=True),
    "RMS norm": lambda h: h * h.pow(2).mean(-1, keepdim=True).add(1e-6).rsqrt(),
    "layer norm": lambda h: F.layer_norm(h, (h.shape[-1],)),
    "length": lambda h: F.normalize(h, dim=-1),
    "place of the largest": lambda h: h * h.argmax(-1, keepdim=True),
    "running sum": lambda h: h.cumsum(-1),
}


@pytest.mark.parametrize("function", INSIDE.values(), ids=INSIDE)
def test_whole_heads_go_from_a_statistic_inside_each(function: Function) -> None:
    found = cut(in_heads(function, -1, 2), [2, 3, 6, 7])
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")


@pytest.mark.parametrize("function", INSIDE.values(), ids=INSIDE)
def test_a_statistic_inside_each_head_is_another_without_a_part_of_each(
    function: Function,
) -> None:
    """The second channel of each head goes."""
    assert cut(in_heads(function, 4, -1), [1, 3, 5, 7]).verdict is not Verdict.EXACT


def test_whole_groups_go_from_a_group_norm_that_is_a_function() -> None:
    function = lambda m, x: F.group_norm(x, x.shape[1] // 2)  # noqa: E731
    assert cut(function, [2, 3, 6, 7]).verdict is Verdict.EXACT
    assert cut(function, [1, 2, 5, 6]).verdict is Verdict.WRONG


def test_a_running_sum_over_all_heads_is_another_without_one() -> None:
    """It is taken along the heads, of which one has gone, and not inside each."""
    found = cut(in_heads(lambda h: h.cumsum(-2), -1, 2), [2, 3])
    assert found.verdict is Verdict.MIXED
