"""What a network does at another batch and image size than the example inputs'."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning as tp
from between import Net, answer
from torch import Tensor, nn

from analysis import verify
from analysis.records import Verdict, Verification


def of_one_image(
    make: Callable[[], nn.Module], after: Callable[[Any], None] = lambda _: None
) -> Verification:
    return answer(make, after, torch.randn(1, 3, 6, 6))


def large(x: Tensor) -> bool:
    return x.shape[-1] > 8


FLIPPED = {
    "in a batch of several": lambda m, x: x.flip(1) if x.shape[0] > 1 else x,
    "of larger images": lambda m, x: x.flip(1) if large(x) else x,
    "of larger images, in the line of another movement": lambda m, x: x.flip(1 if large(x) else 2),
}


@pytest.mark.parametrize("case", FLIPPED)
def test_another_order_of_channels_at_another_size_is_wrong(case: str) -> None:
    found = of_one_image(lambda: Net(FLIPPED[case]))
    assert found.verdict is Verdict.WRONG
    assert "with a tensor of shape (2, 3, 12, 12): " in found.reason
    assert found.first_divergence == "read"


def test_smaller_images_are_tried_where_the_examples_are_large() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return x if x.shape[-1] > 64 else x.flip(1)

    found = answer(lambda: Net(function), inputs=torch.randn(1, 3, 96, 96))
    assert found.verdict is Verdict.WRONG
    assert "(2, 3, 32, 32)" in found.reason


@pytest.mark.parametrize(("least", "output"), [(0, "(2, 3, 64, 64)"), (70, "(2, 3, 96, 96)")])
def test_the_smallest_size_that_a_network_takes_is_tried(least: int, output: str) -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        if x.shape[-1] < least:
            raise ValueError(f"images of at least {least}")
        return x if x.shape[-1] > 200 else x.flip(1)

    found = answer(lambda: Net(function), inputs=torch.randn(1, 3, 224, 224))
    assert found.verdict is Verdict.WRONG
    assert output in found.reason


def test_a_layer_that_only_another_size_reaches_and_that_no_longer_fits_is_broken() -> None:
    found = of_one_image(
        lambda: Net(lambda m, x: m.big(x) if large(x) else x, big=nn.Conv2d(8, 8, 1))
    )
    assert found.verdict is Verdict.BROKEN
    assert "with a tensor of shape (2, 3, 12, 12): `big` raised in conv2d" in found.reason
    assert found.first_divergence == "big"


def test_a_layer_that_another_size_reaches_and_that_fits_is_exercised() -> None:
    class Pooled(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.shrink(x) if large(x) else x)

    found = of_one_image(lambda: Pooled(lambda m, x: x, shrink=nn.Conv2d(3, 3, 2, stride=2)))
    assert (found.verdict, found.unexercised, found.reason) == (Verdict.EXACT, (), "")


def test_an_activation_at_another_size_is_lined_up() -> None:
    net = lambda: Net(lambda m, x: x.relu() if large(x) else x)  # noqa: E731
    found = of_one_image(net)
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


def test_a_bound_on_sizes_that_was_changed_shows_where_it_acts() -> None:
    def net() -> nn.Module:
        return Net(lambda m, x: x if x.shape[-1] < m.most else x.relu(), most=900)

    found = of_one_image(net, after=lambda model: setattr(model, "most", 9))
    assert found.verdict is Verdict.WRONG
    assert "with a tensor of shape (2, 3, 12, 12): " in found.reason


def test_a_function_over_channels_at_another_size_is_mixed() -> None:
    found = of_one_image(lambda: Net(lambda m, x: x.softmax(1) if large(x) else x))
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

    found = of_one_image(lambda: Front(lambda m, x: x.relu()))
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

    found = answer(Tokens, inputs=torch.randint(0, 11, (1, 5)))
    assert found.verdict is Verdict.WRONG, found.reason
    assert "(2, 10)" in found.reason


class PooledInTraining(nn.Module):
    """Takes no small images in train mode, in which it has the width of its first layer written."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[-1] < 96:
            raise ValueError("too small to be trained on")
        x = self.norm(self.first(x))
        if self.training:
            x = x.view(len(x), 8, *x.shape[2:])
        return self.head(self.second(x.relu()).mean((2, 3)))


def test_train_mode_runs_on_the_example_inputs_where_no_others_are_taken() -> None:
    model, inputs = PooledInTraining().eval(), torch.randn(2, 3, 96, 96)
    pruner = tp.pruner.MagnitudePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[model.head],
    )
    found = verify(model, inputs, pruner)
    assert found.verdict is Verdict.BROKEN
    assert found.reason.startswith("in train mode the model's own forward raised in view")
