"""Latency on a GPU, whose work goes on after the call that starts it."""

import pytest
import torch
from torch import nn

from analysis import latency, prune
from analysis.errors import InputError
from analysis.latencies.clocks import Clock
from analysis.latencies.layers import own_times
from analysis.latencies.machine import machine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GPU = torch.device("cuda", torch.cuda.current_device() if torch.cuda.is_available() else 0)
SIZE = 4096
"""Of products that take a GPU far longer than starting them."""


class Products(nn.Module):
    """As many products of large matrices as it is asked for."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.weight = nn.Parameter(torch.eye(SIZE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.count):
            x = x @ self.weight
        return x


class Two(nn.Module):
    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first, self.second = Products(first), Products(second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def inputs() -> torch.Tensor:
    return torch.randn(SIZE, SIZE, device=GPU)


def test_the_clock_waits_for_what_was_started() -> None:
    """The same work, by the wall around a wait for the whole device."""
    from time import perf_counter

    model, given, clock = Products(20).to(GPU), inputs(), Clock(GPU)
    with torch.no_grad():
        for _ in range(2):  # the first run is for what is set up once
            torch.cuda.synchronize()
            start, begun = perf_counter(), clock()
            model(given)
            seconds = clock() - begun
            torch.cuda.synchronize()
            whole = perf_counter() - start
    assert 0.5 * whole < seconds <= whole


def test_a_slow_layer_has_its_time_and_not_that_which_waits_for_it() -> None:
    model = Two(20, 1).to(GPU)
    with torch.no_grad(), own_times(model, inputs(), GPU) as run:
        run()
        times = run()
    assert times["first"] > 5 * times["second"]


def test_ten_times_the_products_are_found_and_all_is_left_as_it_was() -> None:
    dense, pruned, given = Two(20, 1).to(GPU), Two(1, 1).to(GPU), inputs()
    before = torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.cuda.get_rng_state(GPU)
    told = latency(dense, pruned, given, pairs=8)
    assert told.ratio.high < 0.4
    assert told.machine.device == "cuda"
    assert told.machine.name == torch.cuda.get_device_name(GPU)
    assert told.machine.cudnn_benchmark is torch.backends.cudnn.benchmark
    by_name = {layer.layer: layer for layer in told.layers}
    assert by_name["first"].ratio.high < 0.4
    assert by_name["second"].why == "same-work"
    assert (torch.get_num_threads(), torch.backends.cudnn.benchmark) == before[:2]
    assert torch.equal(torch.cuda.get_rng_state(GPU), before[2])
    modules = [*dense.modules(), *pruned.modules()]
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in modules)


def test_the_peaks_are_those_of_a_gpu() -> None:
    found = machine(GPU, torch.float32, torch.get_num_threads())
    # Any GPU since 2016 does a tenth of these, and none does a hundred times as much.
    assert 1e11 < found.macs_per_second < 1e16
    assert 1e10 < found.bytes_per_second < 1e14
    assert found.vector == 4
    assert all(0 < seconds < 1e-2 for _, seconds in found.overheads)
    half = machine(GPU, torch.float16, torch.get_num_threads())
    assert half.vector == 8
    assert half.macs_per_second > found.macs_per_second


def test_a_pruned_network_is_explained_there() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(256, 10),
    ).eval()  # fmt: skip
    image = torch.randn(64, 3, 56, 56)
    pruned = prune(model, image[:1], 0.5).model
    told = latency(model.to(GPU), pruned.to(GPU), image.to(GPU), pairs=10)
    assert told.ratio.high < 1
    by_name = {layer.layer: layer for layer in told.layers}
    # A quarter of the products of the second convolution are left.
    assert by_name["3"].pruned.macs / by_name["3"].dense.macs == pytest.approx(0.25, abs=0.01)
    assert by_name["3"].ratio.high < 0.7
    assert told.machine.is_memory_bound(by_name["1"].pruned)
    assert not told.machine.is_memory_bound(by_name["3"].pruned)


def test_what_is_on_two_devices_is_refused_and_onnxruntime_says_why_not() -> None:
    with pytest.raises(InputError, match="on cpu and cuda:0; expected one device"):
        latency(Two(1, 1).to(GPU), Two(1, 1).to(GPU), torch.randn(SIZE, SIZE))
    told = latency(
        Two(1, 1).to(GPU), Two(1, 1).to(GPU), inputs(), backends=("onnxruntime",), pairs=6
    )
    assert "onnxruntime is measured on a CPU" in told.networks[0].why_not
