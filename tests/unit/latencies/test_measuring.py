"""Latency of two networks, measured in turn."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from analysis import latency
from analysis.errors import BudgetExceededError, InputError
from analysis.latencies.layers import own_times
from analysis.latencies.measuring import decided
from analysis.latencies.timing import WARM_UP, in_turn
from analysis.processes.budgets import limited
from analysis.records import FEWEST_PAIRS, Latency, NetworkLatency, Target, Timing, latency_of

CPU = torch.device("cpu")


class Spin(nn.Module):
    """Does a number of products of small matrices."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.turns):
            x = torch.tanh(x @ x.mT @ x)
        return x


class Net(nn.Module):
    """Two layers, with products between them that take all of its time."""

    def __init__(self, turns: int, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(16, width)
        self.spin = Spin(turns)
        self.last = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.spin(self.first(x)))


INPUTS = torch.randn(16, 16)
SLOW, QUICK = 400, 8
"""Fifty times the work; what is asked of the time is a tenth of that."""


def state(model: nn.Module) -> tuple:
    """All that is to be as before, of a model and of torch."""
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [sorted(vars(module)) for module in model.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()],
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    )


@contextmanager
def left_as_they_were(*models: nn.Module) -> Iterator[None]:
    before = [state(model) for model in models]
    yield
    for model, (tensors, *others) in zip(models, before, strict=True):
        now, *rest = state(model)
        assert rest == others
        assert all(torch.equal(now[name], value) for name, value in tensors.items())
        assert now.keys() == tensors.keys()


def found(**options) -> Latency:
    return latency(Net(SLOW), Net(QUICK), INPUTS, **{"pairs": 8, **options})


def test_a_layer_that_is_slow_in_the_dense_network_alone_is_found() -> None:
    told = found()
    assert told.ratio.median < 0.2
    by_name = {layer.layer: layer for layer in told.layers}
    assert [*by_name] == ["", "first", "spin", "last"]
    assert by_name["spin"].ratio.median < 0.2
    # Its own time is no other layer's: these have the same work in both networks.
    assert by_name["spin"].dense.seconds > 10 * by_name["first"].dense.seconds
    assert by_name["first"].why == by_name["last"].why == "same-work"
    assert by_name["spin"].dense.bytes == SLOW / QUICK * by_name["spin"].pruned.bytes


def test_the_network_that_is_slower_is_said_to_be() -> None:
    assert latency(Net(QUICK), Net(SLOW), INPUTS, pairs=6, layers=False).ratio.median > 5


def test_times_of_layers_add_up_to_that_of_the_network() -> None:
    model = Net(3)
    with own_times(model, INPUTS, CPU) as run, torch.no_grad():
        names = [*run()]
    assert sorted(names) == ["", "first", "last", "spin"]
    told = found()
    for place, name in enumerate(("dense", "pruned")):
        # All but the model's own forward works, and most of the time is that of the products.
        assert told.hooked[place] / 2 < told.sums[place] < told.hooked[place]
        assert getattr(told.layers[2], name).seconds < told.hooked[place]


def test_each_network_goes_first_in_every_other_pair() -> None:
    order: list[str] = []
    pairs = in_turn(lambda: order.append("dense"), lambda: order.append("pruned"), 4)
    assert len(pairs) == 4
    assert order == ["dense", "pruned"] * WARM_UP + ["dense", "pruned", "pruned", "dense"] * 2


def test_models_threads_and_random_numbers_are_left_as_they_were() -> None:
    dense, pruned = Net(2), Net(2)
    dense.first.register_forward_hook(lambda *_: None)
    dense.first.eval()
    inputs = INPUTS.clone()
    threads = torch.get_num_threads()
    with left_as_they_were(dense, pruned):
        told = latency(dense, pruned, inputs, threads=threads + 1, pairs=6)
    assert told.machine.threads == threads + 1
    assert torch.equal(inputs, INPUTS)


class Raises(Net):
    """Runs a few times, and then no more."""

    left = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).left -= 1
        if not type(self).left:
            raise RuntimeError("out of turns")
        return super().forward(x)


@pytest.mark.parametrize("turns", [1, 3, 11, 16])
def test_after_an_error_all_is_as_it_was(turns) -> None:
    dense, pruned = Net(1), Raises(1)
    Raises.left = turns
    with left_as_they_were(dense, pruned):
        try:
            told = latency(dense, pruned, INPUTS, threads=torch.get_num_threads() + 1, pairs=6)
        except (InputError, RuntimeError):
            pass
        else:
            assert "out of turns" in told.networks[0].why_not


def test_after_the_end_of_a_budget_all_is_as_it_was() -> None:
    dense, pruned = Net(SLOW), Net(SLOW)
    with (
        left_as_they_were(dense, pruned),
        pytest.raises(BudgetExceededError),
        limited(0.5),
    ):
        latency(dense, pruned, INPUTS, threads=torch.get_num_threads() + 1, pairs=100_000)


def test_hooks_of_the_clock_are_removed_from_what_it_timed() -> None:
    model = Net(1)
    with pytest.raises(KeyError), own_times(model, INPUTS, CPU):
        raise KeyError
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


@pytest.mark.parametrize("layers", [True, False])
def test_the_record_is_read_back_from_json(layers) -> None:
    told = found(layers=layers)
    missing = NetworkLatency("compile", why_not="no compiler")
    told = replace(told, networks=(missing, *told.networks))
    assert latency_of(json.loads(json.dumps(told.as_data()))) == told


def test_a_backend_that_is_missing_says_so_in_a_line_and_the_others_run(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as Python does where there is none
    missing, eager = found(backends=("onnxruntime", "eager"), layers=False).networks
    assert missing.why_not == "not installed: pip install 'pruning-analysis[onnx]'"
    assert missing.ratio is missing.dense is None
    assert eager.ratio.median < 0.2


def test_a_layer_that_only_one_network_calls_is_named() -> None:
    class Without(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x))

    told = latency(Net(1), Without(1), INPUTS, pairs=6)
    assert told.unmatched == ("spin",)
    assert "spin" not in [layer.layer for layer in told.layers]


def test_a_layer_that_is_read_by_its_weights_alone_counts_for_the_module_around_it() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x, x, x, need_weights=False)[0]

    told = latency(Around(), Around(), torch.randn(1, 5, 8), pairs=6)
    assert [layer.layer for layer in told.layers] == ["", "inner"]
    # Four products with weights of 8 x 8, and two of 5 x 5 with eight channels.
    assert told.layers[1].dense.macs == 4 * 5 * 64 + 2 * 25 * 8


def test_what_leaves_a_target_open_is_measured_once_more_and_longer() -> None:
    """Of two equal networks the interval holds 1, or all but; no delay makes it a millionth."""
    dense, timing = Net(4), Timing(pairs=6, layers=False)
    clear = decided(dense, Net(4), INPUTS, timing, [Target("latency", 1e-6)])
    assert clear.timing.pairs == 6
    pairs = set()
    for _ in range(20):
        pairs.add(decided(dense, Net(4), INPUTS, timing, [Target("latency", 1.0)]).timing.pairs)
    assert pairs <= {6, 24}
    assert 24 in pairs


def test_what_is_sparse_has_a_time_though_its_macs_are_not_counted() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("edges", torch.eye(3).to_sparse(), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sparse.mm(self.edges, self.layer(x))

    told = latency(Graph(), Graph(), torch.randn(3, 4), pairs=6)
    assert [layer.layer for layer in told.layers] == ["", "layer"]
    assert all(layer.dense.seconds > 0 for layer in told.layers)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairs": FEWEST_PAIRS - 1}, "pairs 5; expected a whole number of at least 6"),
        ({"pairs": 10.5}, "pairs 10.5"),
        ({"threads": 0}, "threads 0; expected a whole number of at least 1"),
        ({"backends": ()}, "expected a tuple of names"),
        ({"backends": "eager"}, "backends 'eager'; expected a tuple"),
        ({"backends": ["onnx-runtime"]}, "did you mean 'onnxruntime'?"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(options, said) -> None:
    with pytest.raises(InputError) as error:
        found(**options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_that_does_not_run_is_refused() -> None:
    with pytest.raises(InputError, match="does not run on the example inputs"):
        latency(Net(1), Net(1), torch.randn(2, 3))
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module"):
        latency(Net(1), "pruned", INPUTS)
    with pytest.raises(InputError, match="on cpu and meta; expected one device"):
        latency(Net(1), Net(1), INPUTS.to("meta"))
