"""No network is read inside of torch's tracer, where DepGraph would see other operators."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from analysis.pipeline import analyse, audit_groups, prune_and_prove
from analysis.records import Config


class Watching(nn.Module):
    """Notes of each run whether torch traces it, and whether torch-pruning watches its layers."""

    runs: ClassVar[list[tuple[bool, bool]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        hooks = [*self.first._forward_hooks.values()]
        is_read = any(hook.__module__.startswith("torch_pruning") for hook in hooks)
        self.runs.append((torch.jit.is_tracing(), is_read))
        return self.last(self.first(x).relu())


def test_no_network_is_read_inside_of_torchs_tracer() -> None:
    Watching.runs.clear()
    dense = analyse(Watching().eval(), torch.randn(2, 6))
    prune_and_prove(dense, Config(0.5), "classifier")
    audit_groups(dense.followed, dense.model, dense.inputs)
    is_traced, is_read = (any(column) for column in zip(*Watching.runs, strict=True))
    assert is_read
    assert not is_traced
