"""A tiny network around a function of a test, pruned by half and altered."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis import Pruned, verify, watch
from analysis.records import Verification


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

    def forward(self, x: Tensor) -> Any:
        return self.head(self.read(self.function(self, self.make(x))).mean((2, 3)))


def images(seed: int = 1) -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def built(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def altering(after: Callable[[Any], None]) -> type:
    class Altering(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            yield from super().step(interactive=True)
            after(self.model)

    return Altering


def pruner_of(model: Any, inputs: Any, kind: type = tp.pruner.MagnitudePruner, **options) -> Any:
    options = {"importance": tp.importance.MagnitudeImportance(p=1), "pruning_ratio": 0.5} | options
    return kind(
        model, inputs, ignored_layers=[model.head], num_heads={}, out_channel_groups={},
        in_channel_groups={}, **options,
    )  # fmt: skip


def answer(
    make: Callable[[], nn.Module],
    after: Callable[[Any], None] = lambda _: None,
    inputs: Any = None,
) -> Verification:
    return pruned(make, after, inputs)[1]


def pruned(
    make: Callable[[], nn.Module],
    after: Callable[[Any], None] = lambda _: None,
    inputs: Any = None,
    outputs: Sequence[str] = (),
) -> tuple[Any, Verification]:
    """The network pruned by half, and altered, and the verdict."""
    model, inputs = built(make), images() if inputs is None else inputs
    pruner = pruner_of(model, inputs, altering(after))
    return model, verify(model, inputs, pruner, outputs=outputs)


def cut(
    function: Callable[[Net, Tensor], Tensor],
    gone: Sequence[int] = (0, 2, 5, 7),
    width: int = 8,
    **altered: Any,
) -> Verification:
    """The verdict on a network cut by hand, as torch-pruning does not follow all functions.

    Args:
        function: between the two convolutions, and given ``step`` 1 as an attribute of the network.
        gone: channels of the first.
        width: what the second reads; those that are not 8 stay.
        altered: attributes that are set behind the cut.
    """
    model: Any = built(lambda: Net(function, step=1))
    model.read = nn.Conv2d(width, 6, 1)
    with watch(model, images()) as watched:
        tp.prune_conv_out_channels(model.make, list(gone))
        if width == 8:
            tp.prune_conv_in_channels(model.read, list(gone))
        for name, value in altered.items():
            setattr(model, name, value)
    found: Verification = watched.verification
    return found


def assert_equals_zeroed(
    cured: Pruned, model: nn.Module, inputs: Tensor | tuple[Tensor, ...] | None = None
) -> None:
    """The pruned network computes what the dense one does with zeros in place of what went."""
    inputs = images() if inputs is None else inputs
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    with torch.no_grad():
        for (tensor, dim), left in cured.axes.items():
            gone = [n for n in range(tensors[tensor].shape[dim]) if n not in left]
            tensors[tensor].index_fill_(dim, torch.tensor(gone), 0.0)
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        torch.testing.assert_close(cured.model(*given), model(*given), rtol=1e-4, atol=1e-5)
