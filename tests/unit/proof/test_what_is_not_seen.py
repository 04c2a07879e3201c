"""The limits of the proof, one test for each line of docs/what-the-proof-does-not-see.md."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from analysis import verify
from analysis.records import Verdict, Verification

PAGE = Path(__file__).parents[3] / "docs" / "what-the-proof-does-not-see.md"


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
    after: Callable[[Any], None] = lambda _: None,
    outputs: Sequence[str] = (),
) -> tuple[Any, Verification]:
    class Altering(tp.pruner.MagnitudePruner):
        def step(self, interactive: bool = False):
            yield from super().step(interactive=True)
            after(self.model)

    torch.manual_seed(0)
    model: Any = make().eval()
    inputs = torch.randn(2, 3, 6, 6)
    pruner = Altering(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[model.head], num_heads={}, out_channel_groups={}, in_channel_groups={},
    )  # fmt: skip
    return model, verify(model, inputs, pruner, outputs=outputs)


def loud(x: Tensor) -> bool:
    return float(x.detach().abs().max()) > 1e3


def test_a_branch_on_values_that_no_run_takes() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return m.early(x) if loud(x) else x

    model, found = answer(lambda: Net(function, early=nn.Conv2d(8, 8, 1)))
    assert (found.verdict, found.unexercised) == (Verdict.EXACT, ("early",))
    with pytest.raises(RuntimeError, match="to have 8 channels"):
        model(torch.full((1, 3, 6, 6), 1e6))
    _, silent = answer(lambda: Net(lambda m, x: x.flip(1) if loud(x) else x))
    assert (silent.verdict, silent.reason) == (Verdict.EXACT, "")


def test_what_train_mode_computes() -> None:
    _, found = answer(lambda: Net(lambda m, x: x.flip(1) if m.training else x))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


def test_an_attribute_that_no_operator_reads() -> None:
    _, found = answer(lambda: Net(lambda m, x: x, note=3), lambda model: setattr(model, "note", 5))
    assert found.verdict is Verdict.EXACT
    assert "`note` of the model is 5 and was 3" in found.reason


def test_a_softmax_over_fewer_channels() -> None:
    _, found = answer(lambda: Net(lambda m, x: x.softmax(1)))
    assert found.verdict is Verdict.MIXED
    assert "softmax" in found.reason


def test_a_scale_that_follows_a_width() -> None:
    # Eight channels became four, so a half may be what the width asks for.
    _, found = answer(
        lambda: Net(lambda m, x: x * m.scale, scale=1.0), lambda model: setattr(model, "scale", 0.5)
    )
    assert found.verdict is Verdict.RENORMALIZED
    assert "scales by 0.5 where 1 was" in found.reason


def test_rounding_of_short_types() -> None:
    # In half precision what is added here is lost, in both networks alike.
    model, found = answer(lambda: Net(lambda m, x: x + 1e-12))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")
    x = torch.randn(1, 3, 6, 6)
    assert (model(x).double() - model.double()(x.double())).abs().max() > 0


def test_outputs_that_are_left_out() -> None:
    class Telling(Net):
        def forward(self, x: Tensor) -> Any:
            kept = self.make(x)
            return super().forward(x), kept.flip(1) if kept.shape[1] < 8 else kept

    model, found = answer(lambda: Telling(lambda m, x: x), outputs=["0"])
    assert found.verdict is Verdict.EXACT
    assert "outputs compared: `0` alone" in found.reason
    assert model(torch.randn(1, 3, 6, 6))[1].shape[1] == 4


def test_each_line_of_the_page_has_its_test() -> None:
    named = set(re.findall(r"`(test_\w+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    own = {name for name in globals() if name.startswith("test_")}
    assert named == own - {"test_each_line_of_the_page_has_its_test"}
