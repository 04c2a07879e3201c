"""The modules of a network are those that PyTorch lists, in its order."""

import weakref

import pytest
from torch import nn

from analysis.network.inference import collector_paused
from analysis.network.modules import named_modules


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.none = None
        self.register_module("absent", None)
        self.block = nn.Sequential(self.first, nn.ReLU(), nn.ModuleDict({"again": self.first}))


@pytest.mark.parametrize("remove_duplicate", [True, False])
def test_a_shared_module_is_listed_as_pytorch_lists_it(remove_duplicate) -> None:
    model = Shared()
    listed = dict(model.named_modules(remove_duplicate=remove_duplicate))
    found = named_modules(model, remove_duplicate=remove_duplicate)
    assert [*found] == [*listed]
    assert all(found[name] is listed[name] for name in listed)


def test_a_network_that_was_listed_is_freed_without_the_collector() -> None:
    """Passes make a copy each, whose memory the next one needs."""
    with collector_paused():
        model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
        is_there = weakref.ref(model)
        named_modules(model)
        del model
        assert is_there() is None
