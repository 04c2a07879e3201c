"""Latency in backends that take long to build a network: `tox run -e latency`."""

import pytest
import torch
from torch import nn

from analysis import latency

CPU_AND_GPU = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Deep(nn.Module):
    """As many products as it has layers."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(128, 128) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return x


def timed(backend: str, device: str = "cpu"):
    dense, pruned = Deep(60).to(device), Deep(3).to(device)
    inputs = torch.randn(256, 128, device=device)
    return latency(dense, pruned, inputs, backends=(backend,), pairs=8, layers=False).networks[0]


@pytest.mark.parametrize("device", CPU_AND_GPU)
def test_the_compiled_network_of_twenty_times_the_layers_is_slower(device) -> None:
    found = timed("compile", device)
    assert not found.why_not
    assert found.ratio.median < 0.5


def test_onnxruntime_finds_the_slow_network_too() -> None:
    found = timed("onnxruntime")
    assert not found.why_not
    assert found.ratio.median < 0.5


class Slow(nn.Module):
    """Takes its time where it is not compiled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(8, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            sum(range(2_000_000))
        return self.layer(x)


def test_networks_are_compiled_where_many_of_their_class_were_before() -> None:
    """Beyond a limit of PyTorch's they run as they are, and nobody says so."""
    import torch._dynamo

    for width in range(1, torch._dynamo.config.recompile_limit + 3):
        torch.compile(Slow(width), backend="eager", dynamic=False)(torch.randn(2, 8))
    both = latency(
        Slow(64), Slow(65), torch.randn(2, 8), backends=("eager", "compile"), pairs=6, layers=False
    )
    eager, compiled = both.networks
    assert not compiled.why_not
    assert compiled.dense < eager.dense / 5
    assert compiled.pruned < eager.pruned / 5


def test_a_compiler_that_is_missing_is_one_line(monkeypatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    found = timed("compile")
    assert found.ratio is None
    assert "ompiler" in found.why_not
    assert "\n" not in found.why_not
