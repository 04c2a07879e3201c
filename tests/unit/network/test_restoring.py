"""What a forward pass or an importance writes to is put back, to the byte."""

import random
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning as tp
from between import Net, built, images, pruner_of
from torch import Tensor, nn

import analysis
from analysis import verify
from analysis.errors import InputError
from analysis.network.restoring import restored, restored_around


class Own:
    def __init__(self) -> None:
        self.count = 0


class Slotted:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Writing(Net):
    """Writes to all that it holds, in ways that no version counter and no attribute shows."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: x.relu())
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("mean", torch.full((2,), float("nan")))
        self.plain = torch.zeros(2)
        self.array = np.zeros(2)
        self.nested = {"a": [torch.zeros(1), {"b": np.zeros(1)}], "seen": []}
        self.marks, self.own, self.slotted = {0}, Own(), Slotted()
        self.space = SimpleNamespace(count=0)
        self.draws = random.Random(0)

    def forward(self, x: Tensor) -> Any:
        self.make.weight.data.mul_(1.0 - 1e-16).add_(0.0)
        self.read.bias.data = self.read.bias.data + 0.0
        self.head.bias.data.add_(1e-30)
        self.steps.data += 1
        self.mean.data.fill_(1.0)
        self.plain.add_(1)
        self.array += 1
        self.nested["a"][0].add_(1)
        self.nested["a"][1]["b"] += 1
        self.nested["seen"].append(1)
        self.marks.add(len(self.marks))
        self.own.count += 1
        self.slotted.count += 1
        self.space.count += 1
        self.draws.random()
        if "later" not in self._buffers:
            self.register_buffer("later", torch.ones(2))
        return super().forward(x)


def bytes_of(tensor: Tensor) -> tuple[int, bytes]:
    return tensor.data_ptr(), tensor.detach().numpy().tobytes()


def found_state(model: Any) -> list[Any]:
    return [
        {name: bytes_of(each) for name, each in model.state_dict().items()},
        bytes_of(model.plain),
        model.array.tolist(),
        repr(model.nested),
        sorted(model.marks),
        (model.own.count, model.slotted.count, model.space.count),
        model.draws.getstate(),
        sorted(vars(model)),
    ]


def test_all_that_a_forward_writes_to_is_put_back() -> None:
    model = built(Writing)
    before = found_state(model)
    with restored(model):
        model(images())
        assert [one == two for one, two in zip(before, found_state(model), strict=True)] == [
            *[False] * 7,
            True,
        ]
    assert found_state(model) == before


def test_what_was_written_is_put_back_after_an_error_too() -> None:
    model = built(Writing)
    before = found_state(model)
    with pytest.raises(RuntimeError, match="size"), restored(model):
        model(torch.ones(1, 5, 6, 6))
    assert found_state(model) == before


DOORS: dict[str, Callable[[Any], Any]] = {
    "prune": lambda m: analysis.prune(m, images(), 0.5, ignore=["head"]),
    "prune more than there is": lambda m: analysis.prune(m, images(), 1.5, ignore=["head"]),
    "compare": lambda m: analysis.compare(m, built(Writing), images()),
    "inspect_groups": lambda m: analysis.inspect_groups(m, images()),
    "inspect_groups on bad inputs": lambda m: analysis.inspect_groups(m, torch.ones(2)),
    "count_macs": lambda m: analysis.count_macs(m, images()),
    "ratio_curve": lambda m: analysis.ratio_curve(m, images(), [0.5], ignored_layers=[m.head]),
    "reproduce_residual_mismatch": lambda m: analysis.reproduce_residual_mismatch(m, images()),
    "GroupPruner": lambda m: analysis.GroupPruner(m, images()),
    "sensitivity": lambda m: analysis.sensitivity(
        m, images(), evaluate=lambda network: float(network(images()).sum())
    ),
    "verify_steps": lambda m: analysis.verify_steps(
        m, images(), analysis.GroupPruner(m, images(), 0.5, ignore=["head"])
    ),
}


@pytest.mark.parametrize("name", DOORS)
def test_no_analysis_leaves_anything_on_the_network(name: str) -> None:
    model = built(Writing)
    before = found_state(model)
    with suppress(InputError):
        DOORS[name](model)
    assert found_state(model) == before


def base(group: Any) -> Tensor:
    return tp.importance.MagnitudeImportance(p=1)(group)


def in_a_closure() -> Any:
    count = [0]

    def importance(group: Any) -> Tensor:
        count[0] += 1
        return base(group).roll(count[0])

    return importance


def in_a_rebound_cell() -> Any:
    count = 0

    def importance(group: Any) -> Tensor:
        nonlocal count
        count += 1
        return base(group).roll(count)

    return importance


def in_an_inner_function() -> Any:
    shift = in_a_rebound_cell()
    return lambda group: 2 * shift(group)


CALLS = {"list": [0], "array": np.zeros(1, int)}
TIMES = 0


def reset() -> None:
    global TIMES  # noqa: PLW0603
    TIMES = 0
    CALLS["list"][0] = 0
    CALLS["array"][0] = 0
    OfItsClass.calls = 0


def in_a_global(group: Any) -> Tensor:
    CALLS["list"][0] += 1
    CALLS["array"] += 1
    return base(group).roll(CALLS["list"][0] + int(CALLS["array"][0]))


def in_a_rebound_global(group: Any) -> Tensor:
    global TIMES  # noqa: PLW0603
    TIMES += 1
    return base(group).roll(TIMES)


class OfItsClass(tp.importance.MagnitudeImportance):
    calls = 0

    def __call__(self, group: Any) -> Tensor:
        OfItsClass.calls += 1
        return super().__call__(group).roll(OfItsClass.calls)


class Holding(tp.importance.MagnitudeImportance):
    """Holds a function that keeps a count."""

    def __init__(self) -> None:
        super().__init__(p=1)
        self.importance = in_a_closure()

    def __call__(self, group: Any) -> Tensor:
        return self.importance(group)


class OnTheNetwork(tp.importance.MagnitudeImportance):
    def __init__(self, model: Any) -> None:
        super().__init__(p=1)
        self.model = model

    def __call__(self, group: Any) -> Tensor:
        self.model.times += 1
        return super().__call__(group).roll(self.model.times)


IMPORTANCES: dict[str, Callable[[Any], Any]] = {
    "a closure": lambda _: in_a_closure(),
    "a cell that is set anew": lambda _: in_a_rebound_cell(),
    "a function inside a function": lambda _: in_an_inner_function(),
    "a global": lambda _: in_a_global,
    "a global that is set anew": lambda _: in_a_rebound_global,
    "a class": lambda _: OfItsClass(),
    "an object that holds a closure": lambda _: Holding(),
    "the network": OnTheNetwork,
}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", IMPORTANCES)
def test_an_importance_that_advances_picks_the_same_with_verify_and_without(
    name: str, steps: int
) -> None:
    left = []
    for is_verified in (False, True):
        reset()
        model: Any = built(lambda: Net(lambda m, x: x.relu(), times=0))
        dense = model.make.weight.detach().clone()
        importance = IMPORTANCES[name](model)
        pruner = pruner_of(model, images(), importance=importance, iterative_steps=steps)
        if is_verified:
            assert verify(model, images(), pruner).verdict.passes
        else:
            for _ in range(steps):
                pruner.step()
        left.append([n for n, row in enumerate(dense) if any(map(row.equal, model.make.weight))])
    assert left[0] == left[1]
    assert len(left[0]) == 4


def test_what_a_function_reads_of_a_library_is_left_alone() -> None:
    def importance(group: Any) -> Tensor:
        return nn.functional.relu(base(group))

    before = dict(vars(nn.functional))
    with restored_around(importance, built(lambda: Net(lambda m, x: x))):
        torch.manual_seed(1)
    assert vars(nn.functional) == before
