"""What a network does at another batch and image size than the example inputs'."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis import verify
from analysis.records import Verdict, Verification


class Net(nn.Module):
    """Two convolutions with a function between them, and a classifier."""

    def __init__(self, function: Callable[["Net", Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.make = nn.Conv2d(3, 8, 3, padding=1)
        self.read = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 2)
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(self.function(self, self.make(x))).mean((2, 3)))


def answer(
    make: Callable[[], nn.Module],
    size: tuple[int, ...] = (1, 3, 6, 6),
    after: Callable[[Any], None] = lambda _: None,
) -> Verification:
    class Altering(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            yield from super().step(interactive=True)
            after(self.model)

    torch.manual_seed(0)
    model: Any = make().eval()
    inputs = torch.randn(size)
    pruner = Altering(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[model.head], num_heads={}, out_channel_groups={}, in_channel_groups={},
    )  # fmt: skip
    return verify(model, inputs, pruner)


def large(x: Tensor) -> bool:
    return x.shape[-1] > 8


FLIPPED = {
    "in a batch of several": lambda m, x: x.flip(1) if x.shape[0] > 1 else x,
    "of larger images": lambda m, x: x.flip(1) if large(x) else x,
    "of larger images, in the line of another movement": lambda m, x: x.flip(1 if large(x) else 2),
}


@pytest.mark.parametrize("case", FLIPPED)
def test_another_order_of_channels_at_another_size_is_wrong(case: str) -> None:
    found = answer(lambda: Net(FLIPPED[case]))
    assert found.verdict is Verdict.WRONG
    assert "with a tensor of shape (2, 3, 12, 12): " in found.reason
    assert found.first_divergence == "read"


def test_smaller_images_are_tried_where_the_examples_are_large() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x if x.shape[-1] > 64 else x.flip(1)

    found = answer(lambda: Net(function), (1, 3, 96, 96))
    assert found.verdict is Verdict.WRONG
    assert "(2, 3, 32, 32)" in found.reason


def test_a_layer_that_only_another_size_reaches_and_that_no_longer_fits_is_broken() -> None:
    found = answer(lambda: Net(lambda m, x: m.big(x) if large(x) else x, big=nn.Conv2d(8, 8, 1)))
    assert found.verdict is Verdict.BROKEN
    assert "with a tensor of shape (2, 3, 12, 12): `big` raised in conv2d" in found.reason
    assert found.first_divergence == "big"


def test_a_layer_that_another_size_reaches_and_that_fits_is_exercised() -> None:
    class Pooled(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.shrink(x) if large(x) else x)

    found = answer(lambda: Pooled(lambda m, x: x, shrink=nn.Conv2d(3, 3, 2, stride=2)))
    assert (found.verdict, found.unexercised, found.reason) == (Verdict.EXACT, (), "")


def test_an_activation_at_another_size_is_lined_up() -> None:
    net = lambda: Net(lambda m, x: x.relu() if large(x) else x)  # noqa: E731
    found = answer(net)
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


def test_a_bound_on_sizes_that_was_changed_shows_where_it_acts() -> None:
    def net() -> nn.Module:
        return Net(lambda m, x: x if x.shape[-1] < m.most else x.relu(), most=900)

    found = answer(net, after=lambda model: setattr(model, "most", 9))
    assert found.verdict is Verdict.WRONG
    assert "with a tensor of shape (2, 3, 12, 12): " in found.reason


def test_a_function_over_channels_at_another_size_is_mixed() -> None:
    found = answer(lambda: Net(lambda m, x: x.softmax(1) if large(x) else x))
    assert found.verdict is Verdict.MIXED
    assert found.reason.startswith("with a tensor of shape (2, 3, 12, 12): ")
    assert "softmax" in found.reason


@pytest.mark.parametrize(
    "front",
    [
        lambda x: x.view(1, 3, 6, 6),
        lambda x: x.view(-1, 3, 6, 6),
        lambda x: x.view(1, 3, -1, x.shape[-1]),
    ],
    ids=["no other size", "no other image", "no other batch"],
)
def test_a_network_is_asked_only_for_sizes_that_it_takes(front: Callable[[Tensor], Tensor]) -> None:
    class Front(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(front(x))

    found = answer(lambda: Front(lambda m, x: x.relu()))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


def test_tokens_are_asked_for_in_another_number() -> None:
    class Tokens(nn.Module):
        """Sequences of more than eight tokens are read from their end."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(11, 4)
            self.make = nn.Linear(4, 8)
            self.read = nn.Linear(8, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.make(self.table(tokens))
            return self.head(self.read(x.flip(-1) if tokens.shape[1] > 8 else x).relu())

    torch.manual_seed(0)
    model = Tokens().eval()
    inputs = torch.randint(0, 11, (1, 5))
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[model.head], num_heads={}, out_channel_groups={}, in_channel_groups={},
    )  # fmt: skip
    found = verify(model, inputs, pruner)
    assert found.verdict is Verdict.WRONG, found.reason
    assert "(2, 10)" in found.reason
