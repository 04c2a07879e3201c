"""The labels of elements, against numbers that a network moves itself."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from analysis.network.labels.records import Step, Trace
from analysis.network.labels.tracing import labelled_pass, state_of

CHANNELS = 8


class Numbered(nn.Module):
    """Every element of channel ``c`` is ``c + 1``, and then goes where a function puts it."""

    def __init__(self, function: Callable[[Tensor], Any], *, linear: bool = False) -> None:
        super().__init__()
        self.make = nn.Linear(3, CHANNELS) if linear else nn.Conv2d(3, CHANNELS, 1)
        nn.init.zeros_(self.make.weight)
        with torch.no_grad():
            self.make.bias.copy_(torch.arange(1, CHANNELS + 1))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.make(x))


def carried(step: Step, place: int = 0) -> Tensor:
    """One label for each element of an operator's result."""
    shape = step.shapes[place]
    (plane,) = step.planes[place]
    return plane.expand(shape)


MOVED: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda x: x,
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(3, 1),
    "rolled along positions": lambda x: x.roll(1, 2),
    "shuffle": lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2),
    "torch's shuffle": nn.ChannelShuffle(4),
    "step": lambda x: x[:, 1::3],
    "slice": lambda x: x[:, 2:7],
    "index": lambda x: x[:, [5, 0, 1, 2]],
    "mask": lambda x: x[:, torch.tensor([True, False] * 4)],
    "chunk": lambda x: x.chunk(3, 1)[1],
    "split": lambda x: x.split([1, 4, 3], 1)[2],
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 2),
    "twice": lambda x: torch.cat([x, x.flip(1)], 1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat one by one": lambda x: x.repeat_interleave(3, 1),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "turned in place": lambda x: x.clone().transpose_(1, 3),
    "squeezed in place": lambda x: x[:1].clone().squeeze_(0),
    "flatten": lambda x: x.flatten(1),
    "flatten, last": lambda x: x.permute(0, 2, 3, 1).flatten(1),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "upsample": lambda x: F.interpolate(x, scale_factor=2),
    "pooled": lambda x: F.max_pool2d(x, 2),
    "mean": lambda x: x.mean((2, 3)),
    "unfold": lambda x: F.unfold(x, 2),
    "windows": lambda x: x.unfold(2, 2, 2),
    "padded": lambda x: F.pad(x, (0, 0, 0, 0, 2, 1)),
    "padded along positions": lambda x: F.pad(x, (1, 1, 0, 2), mode="replicate"),
    "strides": lambda x: x.contiguous().as_strided((2, 4, 4), (128, 32, 4)),
    "diagonal": lambda x: x.diagonal(dim1=2, dim2=3),
    "turned": lambda x: x.rot90(1, (1, 2)),
    "narrowed": lambda x: x.narrow(1, 3, 4).squeeze(0),
    "expanded": lambda x: x[:, :, None].expand(-1, -1, 3, -1, -1).flatten(1, 2),
    "ends of a cat": lambda x: torch.cat([x[:, 4:], x[:, :4]], 1),
    "taken": lambda x: x.movedim(1, -1)[..., :5].unsqueeze(0),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_labels_are_where_the_numbers_are(name: str) -> None:
    model = Numbered(MOVED[name]).eval()
    trace = labelled_pass(model, torch.randn(2, 3, 4, 4))
    last, place = trace.steps[-1], {"chunk": 1, "split": 2}.get(name, 0)
    with torch.no_grad():
        values = model(torch.randn(2, 3, 4, 4)).round().int()
    first = int(trace.labels("make.weight", 0)[0])
    # A label stands for the channel that made it; the bias's are coupled with it.
    wanted = torch.where(values > 0, values + first - 1, 0)
    assert last.shapes[place] == tuple(values.shape)
    assert torch.equal(carried(last, place), wanted)


@pytest.mark.parametrize("index", [[7, 1, 1], [0, 1, 2, 0]])
def test_channels_that_are_looked_up_several_times_stay(index: list[int]) -> None:
    model = Numbered(lambda v: v.index_select(1, torch.tensor(index))).eval()
    trace = labelled_pass(model, torch.randn(2, 3, 4, 4))
    held = {label for hold in trace.holds for label in hold.labels.tolist()}
    assert {int(trace.labels("make.weight", 0)[channel]) for channel in index} <= held


def test_every_position_of_every_axis_has_a_label_of_its_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 2))
    trace = labelled_pass(model.eval(), torch.randn(1, 3, 4, 4))
    labels = [
        label
        for name, tensor in model.state_dict().items()
        for dim, size in enumerate(tensor.shape)
        if size > 1
        for label in trace.labels(name, dim).tolist()
    ]
    assert sorted(labels) == list(range(1, len(labels) + 1))
    assert trace.count == len(labels) + 1


def test_operators_have_their_module_and_line() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make = nn.Conv2d(3, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.make(x).relu()

    trace = labelled_pass(nn.Sequential(Inner(), nn.ReLU()), x())
    places = [(step.place.operator, step.place.module) for step in trace.steps]
    assert places == [("convolution", "0.make"), ("relu", "0"), ("relu", "1")]
    lines = [step.place.line.partition(":")[0] for step in trace.steps]
    # A call of torch's container is in no line of the user's code.
    assert lines == ["test_tracing.py", "test_tracing.py", ""]


def x() -> Tensor:
    return torch.randn(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("layer", "products"),
    [
        (nn.Conv2d(3, 8, 3), 2 * 4 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 1, stride=2), 2 * 4 * 8 * 3),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), 2 * 16 * 6 * 9),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), 2 * 16 * 3 * 5 * 4),
        (nn.Linear(4, 7), 2 * 3 * 4 * 4 * 7),
    ],
    ids=["convolution", "stride", "depthwise", "transposed", "linear"],
)
def test_products_are_counted_as_they_are(layer: nn.Module, products: int) -> None:
    trace = labelled_pass(layer.eval(), x())
    assert [space.size for step in trace.steps for space in step.spaces] == [products]


def test_products_of_a_grouped_convolution_are_counted_as_they_are() -> None:
    trace = labelled_pass(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1, groups=2)), x())
    sizes = [space.size for step in trace.steps for space in step.spaces]
    assert sizes == [2 * 16 * 8 * 3, 2 * 16 * 6 * 4]


def test_a_shared_tensor_has_one_name() -> None:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    model = nn.Sequential(one, other)
    model.register_buffer("again", one.bias.data)
    assert list(state_of(model)) == ["0.weight", "0.bias", "1.bias", "again"]
    assert state_of(model)["0.weight"] is one.weight


def test_whole_numbers_hold_no_channels() -> None:
    model = nn.BatchNorm2d(4)
    model.register_buffer("index", torch.arange(4))
    assert set(state_of(model)) == {"weight", "bias", "running_mean", "running_var"}


def test_nothing_is_left_on_the_tensors_after_an_error() -> None:
    def fails(value: Tensor) -> Tensor:
        raise RuntimeError("no")

    model = Numbered(fails)
    before = [sorted(vars(tensor)) for tensor in model.parameters()]
    with pytest.raises(RuntimeError, match="no"):
        labelled_pass(model, x())
    assert [sorted(vars(tensor)) for tensor in model.parameters()] == before
    assert torch.backends.mha.get_fastpath_enabled()


def test_every_operator_is_passed_to_the_watcher() -> None:
    seen: list[Step] = []
    trace: Trace = labelled_pass(Numbered(lambda v: v.relu() + 1).eval(), x(), watch=seen.append)
    assert [step for step in seen if step.planes] == trace.steps


def test_labels_that_are_given_are_carried() -> None:
    model = Numbered(lambda v: v.flip(1)).eval()
    own = np.arange(101, 109, dtype=np.int32)
    trace = labelled_pass(model, x(), {("make.weight", 0): own, ("make.bias", 0): own}, count=1000)
    assert carried(trace.steps[-1])[0, :, 0, 0].tolist() == list(range(108, 100, -1))


def test_what_a_cache_holds_of_another_pass_is_a_constant_of_this_one() -> None:
    """As a table of positions that a function makes once for all networks."""

    @functools.cache
    def table(width: int) -> Tensor:
        return torch.arange(width).float().mul(2).add(1).sin()

    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x) + table(6))

    model, x = Cached().eval(), torch.randn(3, 4)
    first, second = labelled_pass(model, x), labelled_pass(model, x)
    added = [step for step in second.calls if step.place.operator == "add"]
    # The layer's output is of a call of this pass; the table, of none.
    assert [step.sources[1] for step in added] == [None]
    assert len(second.calls) < len(first.calls)
