"""Whether a layer's time fell with its MACs, by kind, on layers whose work is counted by hand."""

import pytest
import torch
from torch import nn

from analysis.latencies.explaining import explained
from analysis.latencies.layers import work_of
from analysis.records import Machine, Spread, Work


def machine(macs: float = 3e9, moved: float = 1e9, vector: int = 16) -> Machine:
    """One on which layers of fewer than three MACs a byte are memory-bound."""
    return Machine(
        "cpu", "by hand", 1, "2.0", "float32", vector, macs, moved, (("linear", 1e-6),), None, None
    )


def exactly(ratio: float) -> Spread:
    return Spread(ratio, ratio, ratio, 0.95)


def why(ratio: float | Spread, dense: Work, pruned: Work, overhead: float = 0.0, **peaks) -> str:
    spread = ratio if isinstance(ratio, Spread) else exactly(ratio)
    return explained(spread, dense, pruned, overhead, machine(**peaks))


def work(seconds: float, macs: int, moved: int, *widths: int) -> Work:
    return Work(seconds, macs, moved, widths)


LAYERS = {
    # (layer, shape of its input, MACs, numbers read and written)
    "depthwise 3x3": (
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        (1, 8, 10, 10),
        8 * 9 * 100,
        800 + 8 * 9 + 8 + 800,
    ),
    "1x1": (nn.Conv2d(64, 128, 1), (1, 64, 10, 10), 64 * 128 * 100, 6400 + 8192 + 128 + 12800),
    "linear": (nn.Linear(8, 4), (2, 8), 2 * 8 * 4, 2 * 8 + 8 * 4 + 4 + 2 * 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_macs_and_bytes_are_those_that_a_hand_counts(name) -> None:
    layer, shape, macs, numbers = LAYERS[name]
    found, uncounted = work_of(layer.eval(), torch.randn(shape))
    assert not uncounted
    assert (found[""].macs, found[""].bytes) == (macs, 4 * numbers)
    assert found[""].widths == tuple(layer.weight.shape[:2])
    assert found[""].column == ("linear" if name == "linear" else "convolution")


def test_a_view_moves_nothing_and_an_addition_reads_twice() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Linear(6, 6, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.same(x).view(2, 3, 2).transpose(1, 2).reshape(2, 6)[:, :] + x).flatten()

    found, _ = work_of(Residual().eval(), torch.randn(2, 6))
    # The transposed result is copied once (12 read, 12 written) before it is added (3 x 12).
    assert found[""].bytes == 4 * (24 + 36)
    assert found["same"].bytes == 4 * (12 + 36 + 12)


@pytest.mark.parametrize(("name", "is_bound"), [("depthwise 3x3", True), ("1x1", False)])
def test_a_depthwise_layer_is_memory_bound_where_a_1x1_is_not(name, is_bound) -> None:
    _, _, macs, numbers = LAYERS[name]
    at = machine()  # 1.07 and 7.4 MACs a byte, on a machine of 3
    assert at.is_memory_bound(work(1.0, macs, 4 * numbers)) is is_bound
    assert at.roof(work(1.0, macs, 4 * numbers)) == max(macs / 3e9, 4 * numbers / 1e9)


def test_a_layer_whose_time_fell_as_its_macs_did_fell() -> None:
    assert why(0.25, work(1, 1000, 100), work(0.25, 250, 50)) == "fell"
    assert why(0.32, work(1, 1000, 100), work(0.32, 250, 50)) == "fell"  # 0.9 of 0.75 are gone
    assert why(0.33, work(1, 1000, 100), work(0.33, 250, 50)) != "fell"


def test_a_layer_that_lost_nothing_has_the_same_work_whatever_its_time() -> None:
    assert why(0.2, work(1, 1000, 100), work(0.2, 1000, 100)) == "same-work"


def test_a_memory_bound_layer_falls_with_its_bytes() -> None:
    dense, pruned = work(1, 1000, 1000), work(0.5, 250, 500)
    assert why(0.5, dense, pruned) == "memory-bound"
    # Where compute is the limit, bytes are no reason.
    assert why(0.5, dense, pruned, macs=1e8) == "not-explained"
    # One that did not even fall with its bytes is not explained by them.
    assert why(0.9, dense, pruned) == "not-explained"


def test_what_has_no_macs_is_explained_by_its_bytes_alone() -> None:
    assert why(0.5, work(1, 0, 1000), work(0.5, 0, 500)) == "memory-bound"
    assert why(0.8, work(1, 0, 1000), work(0.8, 0, 500)) == "not-explained"


def test_a_layer_near_the_overhead_of_a_call_is_small() -> None:
    dense, pruned = work(3.0, 1000, 100), work(2.0, 250, 50)
    assert why(0.67, dense, pruned, overhead=1.0) == "small"
    assert why(0.67, dense, pruned, overhead=0.1) == "not-explained"
    # Less the overhead, 36 became 9: a quarter, as of the MACs.
    assert why(13 / 40, work(40.0, 1000, 10), work(13.0, 240, 5), overhead=4.0) == "small"
    assert why(13 / 40, work(40.0, 1000, 10), work(13.0, 100, 5), overhead=4.0) == "not-explained"


def test_a_width_that_fills_no_vector_costs_what_the_filled_one_would() -> None:
    # Of 64 x 64, 40 x 40 are left: 48 x 48 with whole vectors of 16, 0.5625 of the products.
    dense, pruned = work(1, 64 * 64 * 100, 100, 64, 64), work(0.5625, 40 * 40 * 100, 50, 40, 40)
    assert why(0.5625, dense, pruned) == "width"
    assert why(0.5625, dense, pruned, vector=8) == "not-explained"  # whole vectors of 8
    assert why(0.8, dense, pruned) == "not-explained"  # slower than that


def test_a_spread_that_holds_both_answers_is_unclear() -> None:
    wide = Spread(0.5, 0.2, 0.9, 0.95)
    assert why(wide, work(1, 1000, 100), work(0.5, 250, 50), macs=1e8) == "unclear"


def test_without_macs_nothing_is_said_of_the_ridge() -> None:
    unknown = Work(1.0, None, 100), Work(0.5, None, 50)
    assert machine().is_memory_bound(unknown[0]) is None
    assert why(0.5, *unknown) == "not-explained"
