"""Other batch and image sizes, at which a network may take another path.

Layers and functions that only other sizes reach are in no graph that the example inputs make, so a
pruner does not know of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest

import torch
from torch import Tensor, nn

from analysis.network.inference import (
    Inputs,
    aliased,
    collector_paused,
    described,
    forward,
    left_as_found,
    map_tensors,
    walk,
)
from analysis.network.labels.records import Step, Trace
from analysis.network.labels.tracing import plain_pass
from analysis.network.sizes import SizesOnly, running, sized
from analysis.proof.constants import Constants, OtherArgumentsError
from analysis.proof.exercised import forgetful, kept_tensors
from analysis.proof.lines import by_line, kind_of, site_of
from analysis.proof.structure import Recording, record

__all__ = ["Noted", "OtherSize"]


@dataclass(frozen=True, eq=False)
class OtherSize:
    """Inputs of another size that a dense network takes, and which way it goes there.

    Attributes:
        inputs: the example inputs' own values, fewer or repeated.
        calls: every operator that it calls there, in order.
        recording: of the network there; None where it goes the way of the example inputs.
    """

    inputs: Inputs
    calls: Sequence[Step]
    recording: Recording | None

    def __str__(self) -> str:
        return described(self.inputs)

    def shows_nothing_new_of(self, pruned: nn.Module) -> bool:
        """Whether a pruned network goes the way there that the dense one goes everywhere."""
        if self.recording is not None:
            return False
        try:
            return _go_one_way(self.calls, _calls(pruned, self.inputs))
        except Exception:
            return False


@dataclass(frozen=True, eq=False)
class Noted:
    """What a dense network does, noted before any foreign code has seen it.

    Attributes:
        recording: on the example inputs.
        other: at another size; None where it takes no other.
    """

    recording: Recording
    other: OtherSize | None = None

    @classmethod
    @collector_paused()
    def of(cls, model: nn.Module, inputs: Inputs, trace: Trace | None = None) -> "Noted":
        """Run a network, which is not changed.

        Args:
            model: the network.
            inputs: example inputs.
            trace: of a pass over it on these, if there was one; what it has kept of an earlier
                forward is in that, so that a network that keeps anything is followed anew.
        """
        is_known = trace is not None and not kept_tensors(model)
        recording = Recording(trace) if trace and is_known else record(model, inputs)
        return cls(recording, _other_size(model, inputs, recording))

    def fewer(self, inputs: Inputs) -> Inputs:
        """The example inputs, or smaller ones on which the network goes the same way."""
        other = self.other if self.other and self.other.recording is None else None
        both = (inputs, other.inputs) if other else (inputs,)
        return min(both, key=lambda each: sum(map(Tensor.numel, walk(each))))


def _other_size(model: nn.Module, inputs: Inputs, recording: Recording) -> OtherSize | None:
    """The first of several other sizes that a network takes; None if it takes none.

    Args:
        model: the dense network; not changed.
        inputs: example inputs.
        recording: of the network on these.
    """
    trace = recording.trace
    for make in _others(inputs):
        try:
            other = make()
            if trace.asks_sizes:
                calls = _calls(model, other)
            else:  # it goes the way of the example inputs, or raises
                _run(model, other)
                calls = trace.calls
        except Exception:
            continue  # a written-out size, say, or a sparse tensor, which has no slices
        is_known = not trace.asks_sizes or _go_one_way(trace.calls, calls)
        return OtherSize(other, calls, None if is_known else record(model, other))
    return None


def _run(model: nn.Module, inputs: Inputs) -> None:
    def run(sizes: SizesOnly | None) -> None:
        network = forgetful(aliased(model, requires_grad=False), inputs)
        with left_as_found(network), torch.no_grad(), running(sizes):
            forward(network, inputs)

    sized(run)


def _calls(model: nn.Module, inputs: Inputs) -> Sequence[Step]:
    return sized(
        lambda sizes: plain_pass(
            forgetful(aliased(model, requires_grad=False), inputs), inputs, sizes=sizes
        )
    ).calls


def _go_one_way(calls: Sequence[Step], others: Sequence[Step]) -> bool:
    """Whether two passes call the same operators, in the same lines, with the same but for sizes.

    A product may use other operators at other sizes; lining up recognizes that.
    """
    constants = Constants()
    for here, there in zip_longest(chain(*by_line(calls)), chain(*by_line(others))):
        if here is None or there is None:
            return False
        if (site_of(here), kind_of(here)) != (site_of(there), kind_of(there)):
            return False
        try:
            constants.check(here, there)
        except OtherArgumentsError:
            return False
    return True


def _others(inputs: Inputs) -> Iterator[Callable[[], Inputs]]:
    """What makes inputs of another batch and another size of what lies in it, or of either."""
    tensors = [tensor for tensor in walk(inputs) if tensor.dim()]
    rank = max((tensor.dim() for tensor in tensors), default=0)
    # Positions of images; of sequences with their channels in front, or at the end; of tokens.
    positions = {4: [2, 3], 5: [2, 3, 4], 3: [2], 2: [1]}.get(rank, [])
    batches = {tensor.shape[0] for tensor in tensors}
    choices = [positions, [1], []] if rank == 3 else [positions, []]
    for dims in choices:
        if len(batches) == 1:
            yield from _resized(inputs, dims, more=1)
    for dims in filter(None, choices):
        yield from _resized(inputs, dims, more=0)


def _resized(inputs: Inputs, dims: Sequence[int], more: int) -> Iterator[Callable[[], Inputs]]:
    """What makes the inputs in a small size, and then in half of theirs if they are large."""
    sizes = [tensor.shape[dim] for tensor in walk(inputs) for dim in dims if dim < tensor.dim()]
    resized = partial(_of_size, dims=dims, more=more)
    yield partial(map_tensors, inputs, partial(resized, most=_SMALL))
    if max(sizes, default=0) >= 2 * (_SMALL + _COARSEST):
        yield partial(map_tensors, inputs, partial(resized, most=max(sizes)))


def _of_size(tensor: Tensor, dims: Sequence[int], more: int, most: int) -> Tensor:
    """About half of what is large, twice what is small, more of the batch; the same values."""
    for dim in (dim for dim in dims if dim < tensor.dim()):
        size = tensor.shape[dim]
        if size < 2 * _COARSEST:
            tensor = torch.cat([tensor, tensor], dim)
        else:
            tensor = tensor.narrow(dim, 0, min(size // 2 // _COARSEST * _COARSEST, most))
    return torch.cat([tensor, tensor[:more]]) if tensor.dim() else tensor


_COARSEST = 32
"""Sizes of images are multiples of what networks divide them by."""

_SMALL = 2 * _COARSEST
"""A size at which there is still more than one position, most often, where it is coarsest."""
