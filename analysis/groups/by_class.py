"""Tensors of a layer against the axes of its class: those not read, those that make other channels.

Tensors that a forward does not read, as a bias that a user's own class skips, are cut with those
that it reads, so that all tensors of the layer keep one width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from analysis.network.labels.records import Edge, Trace
from analysis.network.labels.tracing import state_of
from analysis.network.layers import axis_of
from analysis.network.owners import owner_of

__all__ = ["Unread", "couple_unread", "is_turned", "unread"]

Axis = tuple[str, int]


@dataclass(frozen=True)
class Unread:
    """A dimension of an unread tensor.

    Attributes:
        axis: the tensor's name, and the dimension.
        kind: which axis of the layer it has, as `analysis.network.layers.axis_of`.
        like: a dimension of a tensor that is read, with the same channels.
    """

    axis: Axis
    kind: str
    like: Axis


def unread(trace: Trace, model: nn.Module) -> Iterator[Unread]:
    """The dimensions of unread tensors that have the channels of their layer."""
    modules, state = dict(model.named_modules()), state_of(model)
    places = {
        (name, dim): (owner_of(name), axis_of(modules.get(owner_of(name)), state[name], dim), size)
        for (name, dim), size in trace.sizes.items()
    }
    read = {place: axis for axis, place in places.items() if axis[0] in trace.used}
    for axis, place in places.items():
        kind = place[1]
        if kind and axis[0] not in trace.used and place in read:
            yield Unread(axis, kind, read[place])


def couple_unread(trace: Trace, model: nn.Module) -> None:
    """Have unread tensors go with their layer's channels, as a bias does that is added to them."""
    for each in unread(trace, model):
        one, other = trace.labels(*each.like), trace.labels(*each.axis)
        trace.edges.append(Edge(-1, "bias", one, other))


def is_turned(layer: nn.Module | None, tensor: Tensor, dim: int) -> bool:
    """Whether the class makes its channels by others, as a transposed weight does.

    Of a projected LSTM, the hidden channels are inside and the projected ones leave it.
    """
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        own = layer.named_parameters()
        return not any(each is tensor for name, each in own if name.startswith("weight_hr"))
    axes = [axis_of(layer, tensor, place) for place in range(tensor.dim())]
    return "out" in axes and axes[dim] != "out"
