"""The limits of the proof, one test for each line of docs/what-the-proof-does-not-see.md."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from between import Net, pruned
from torch import Tensor, nn

from analysis.records import Verdict

PAGE = Path(__file__).parents[3] / "docs" / "what-the-proof-does-not-see.md"


def loud(x: Tensor) -> bool:
    return float(x.detach().abs().max()) > 1e3


def test_a_branch_on_values_that_no_run_takes() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        return m.early(x) if loud(x) else x

    model, found = pruned(lambda: Net(function, early=nn.Conv2d(8, 8, 1)))
    assert (found.verdict, found.unexercised) == (Verdict.EXACT, ("early",))
    with pytest.raises(RuntimeError, match="to have 8 channels"):
        model(torch.full((1, 3, 6, 6), 1e6))
    _, silent = pruned(lambda: Net(lambda m, x: x.flip(1) if loud(x) else x))
    assert (silent.verdict, silent.reason) == (Verdict.EXACT, "")


def test_what_train_mode_computes() -> None:
    _, found = pruned(lambda: Net(lambda m, x: x.flip(1) if m.training else x))
    assert (found.verdict, found.reason) == (Verdict.EXACT, "")


def test_an_attribute_that_no_operator_reads() -> None:
    _, found = pruned(lambda: Net(lambda m, x: x, note=3), lambda model: setattr(model, "note", 5))
    assert found.verdict is Verdict.EXACT
    assert "`note` of the model is 5 and was 3" in found.reason


def test_a_softmax_over_fewer_channels() -> None:
    _, found = pruned(lambda: Net(lambda m, x: x.softmax(1)))
    assert found.verdict is Verdict.MIXED
    assert "softmax" in found.reason


def test_a_scale_that_follows_a_width() -> None:
    # Eight channels became four, so a half may be what the width asks for.
    _, found = pruned(
        lambda: Net(lambda m, x: x * m.scale, scale=1.0), lambda model: setattr(model, "scale", 0.5)
    )
    assert found.verdict is Verdict.RENORMALIZED
    assert "scales by 0.5 where 1 was" in found.reason


def test_rounding_of_short_types() -> None:
    # In half precision what is added here is lost, in both networks alike.
    model, found = pruned(lambda: Net(lambda m, x: x + 1e-12))
    assert (found.verdict, found.structure) == (Verdict.EXACT, "proved")
    x = torch.randn(1, 3, 6, 6)
    assert (model(x).double() - model.double()(x.double())).abs().max() > 0


def test_outputs_that_are_left_out() -> None:
    class Telling(Net):
        def forward(self, x: Tensor) -> Any:
            kept = self.make(x)
            return super().forward(x), kept.flip(1) if kept.shape[1] < 8 else kept

    model, found = pruned(lambda: Telling(lambda m, x: x), outputs=["0"])
    assert found.verdict is Verdict.EXACT
    assert "outputs compared: `0` alone" in found.reason
    assert model(torch.randn(1, 3, 6, 6))[1].shape[1] == 4


def test_each_line_of_the_page_has_its_test() -> None:
    named = set(re.findall(r"`(test_\w+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    own = {name for name in globals() if name.startswith("test_")}
    assert named == own - {"test_each_line_of_the_page_has_its_test"}
