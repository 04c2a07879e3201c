"""Infinities in a network's weights are values like others: equal to themselves alone."""

from math import inf, nan

import pytest
import torch
from between import Net, answer, built, images
from torch import Tensor, nn

from analysis import prune
from analysis.network.inference import relative_error
from analysis.records import Verdict


@pytest.mark.parametrize(
    ("expected", "found", "error"),
    [
        ([inf, 2.0], [inf, 2.0], 0.0),
        ([inf, 2.0], [inf, 3.0], 0.5),
        ([inf, -inf], [inf, -inf], 0.0),
        ([inf, 2.0], [-inf, 2.0], inf),
        ([inf, 2.0], [9.0, 2.0], inf),
        ([1.0, 2.0], [inf, 2.0], inf),
        ([nan, 2.0], [nan, 2.0], inf),
        ([1.0, 2.0], [nan, 2.0], inf),
    ],
)
def test_an_infinity_is_equal_to_itself_alone(expected, found, error: float) -> None:
    assert relative_error(torch.tensor(expected), torch.tensor(found)) == error


class Closed(Net):
    """A gate of which one channel is closed for good, and one is open."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: x * m.gate(x).sigmoid(), gate=nn.Conv2d(8, 8, 1))
        with torch.no_grad():
            self.gate.bias[-1], self.gate.bias[-2] = -inf, inf
            # Those that stay are the last four.
            self.make.weight[:4] *= 0.01
            self.gate.weight[:4] *= 0.01


class Bounded(Net):
    """A channel that is infinite before it is bounded, with either sign."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: m.wide(x).clamp(-5, 5), wide=nn.Conv2d(8, 8, 1, groups=8))
        with torch.no_grad():
            self.wide.weight[-1] = inf
            self.make.weight[:4] *= 0.01


@pytest.mark.parametrize("kind", [Closed, Bounded])
def test_a_network_with_infinite_weights_is_proved(kind: type[Net]) -> None:
    assert answer(kind).verdict is Verdict.EXACT
    cured = prune(built(kind), images(), 0.5, ignore=["head"])
    assert cured.verification.verdict is Verdict.EXACT
    assert any(bool(tensor.isinf().any()) for tensor in cured.model.state_dict().values())


@pytest.mark.parametrize("kind", [Closed, Bounded])
def test_an_infinite_weight_in_another_place_is_wrong(kind: type[Net]) -> None:
    def move(model: nn.Module) -> None:
        tensors: list[Tensor] = [*model.parameters()]
        (infinite,) = [tensor for tensor in tensors if bool(tensor.isinf().any())]
        infinite.data = infinite.data.roll(1, 0)

    assert answer(kind, move).verdict is Verdict.WRONG
