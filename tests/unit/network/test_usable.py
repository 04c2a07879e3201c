"""What forward passes write to a network's own tensors is undone, or refused."""

from collections.abc import Callable

import pytest
import torch
from between import Net, built, images
from torch import Tensor, nn

from analysis import count_macs, inspect_groups, prune
from analysis.errors import InputError


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.relu()


class Kept(nn.Module):
    """Makes a buffer anew in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(1, 1, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        self.last = x.mean((0, 1), keepdim=True).detach()
        return x.relu()


class Held(nn.Module):
    """A table whose rows are held to a norm by the lookup."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 6, max_norm=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(torch.arange(6))


@pytest.mark.parametrize("part", [Counting, Kept, Held])
def test_the_tensors_of_a_network_are_what_they_were(part: Callable[[], nn.Module]) -> None:
    model = built(lambda: Net(lambda m, x: m.part(x), part=part()))
    before = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict().items()}
    assert inspect_groups(model, images())
    assert count_macs(model, images()).macs > 0
    assert prune(model, images(), 0.5, ignore=["head"]).verification.verdict.passes
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == before[name][0].data_ptr()
        assert torch.equal(tensor, before[name][1]), name


class First(nn.Module):
    """A scale that the first batch sets, as in flows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.register_buffer("is_set", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_set:
            with torch.no_grad():
                self.scale.copy_(1 / x.std((0, 2, 3), keepdim=True))
            self.is_set.fill_(True)
        return x * self.scale


def test_a_network_that_its_first_forward_sets_is_to_be_run_once() -> None:
    model = built(lambda: Net(lambda m, x: m.part(x), part=First()))
    with pytest.raises(InputError, match=r"sets `part\.scale` of the Net.* run the model once"):
        prune(model, images(), 0.5, ignore=["head"])
    with torch.no_grad():
        model(images())
    found = prune(model, images(), 0.5, ignore=["head"]).verification
    assert found.verdict.passes
