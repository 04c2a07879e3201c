"""Tags of recurrent layers that are cut tensor by tensor.

The loop over time runs inside PyTorch, where one tag would spread to all channels. So these layers
are given zeros in place of tags, which their masked weights do not read, and what they put out is
tagged.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from analysis.network.inference import map_tensors
from analysis.records import Cut

__all__ = ["is_recurrent", "recurrent_tagged"]

_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def is_recurrent(model: nn.Module, tensor: str) -> bool:
    """Whether a tensor is of a recurrent layer."""
    return isinstance(model.get_submodule(tensor.rpartition(".")[0]), _RECURRENT)


@contextmanager
def recurrent_tagged(model: nn.Module, cuts: Collection[Cut]) -> Iterator[None]:
    """Inside the block, removed channels of such layers' states are NaN in what they put out."""
    with ExitStack() as until_done:
        for name, layer in model.named_modules():
            own = {
                (tensor, cut.dim): cut
                for cut in cuts
                for owner, _, tensor in [cut.layer.rpartition(".")]
                if cut.dim is not None and owner == name
            }
            if isinstance(layer, _RECURRENT) and own:
                handle = layer.register_forward_pre_hook(_cleared, with_kwargs=True)
                until_done.callback(handle.remove)
                hook = _Tagging(layer, own)
                until_done.callback(layer.register_forward_hook(hook).remove)
        yield


def _cleared(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a layer is given, with zeros for tags."""

    def clear(value: Any) -> Any:
        if isinstance(value, PackedSequence):
            return value._replace(data=value.data.nan_to_num())
        return map_tensors(value, torch.nan_to_num)

    return tuple(map(clear, args)), {name: clear(value) for name, value in kwargs.items()}


class _Tagging:
    """A hook that tags a layer's output and states.

    Args:
        layer: recurrent.
        cuts: of its tensors, by name and dimension.
    """

    def __init__(self, layer: nn.Module, cuts: dict[tuple[str, int], Cut]) -> None:
        names = [name for name, _ in layer.named_parameters() if name.startswith("weight_hh")]
        self._directions = 2 if getattr(layer, "bidirectional", False) else 1
        # Rows of the first gate are the cell's channels, columns those of the state that is read.
        gates = 4 if isinstance(layer, nn.LSTM | nn.LSTMCell) else 1
        self._states = [_removed(cuts, name, 1) for name in names]
        self._cells = [_removed(cuts, name, 0, gates) for name in names]

    def __call__(self, layer: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(layer, nn.RNNCellBase):
            states, cells = output if isinstance(output, tuple) else (output, None)
            tagged = _tagged(states, self._states[0])
            return tagged if cells is None else (tagged, _tagged(cells, self._cells[0]))
        put_out, last = output
        if isinstance(last, tuple):
            states = _each_tagged(last[0], self._states), _each_tagged(last[1], self._cells)
        else:
            states = _each_tagged(last, self._states)
        if isinstance(put_out, PackedSequence):
            return put_out._replace(data=self._side_by_side(put_out.data)), states
        return self._side_by_side(put_out), states

    def _side_by_side(self, tensor: Tensor) -> Tensor:
        """What the last layer puts out, of both directions."""
        parts = tensor.chunk(self._directions, -1)
        last = self._states[-self._directions :]
        return torch.cat([_tagged(*pair) for pair in zip(parts, last, strict=True)], -1)


def _removed(cuts: dict[tuple[str, int], Cut], name: str, dim: int, parts: int = 1) -> list[int]:
    """The positions of the first of several parts of a dimension that went."""
    cut = cuts.get((name, dim))
    return [] if cut is None else [each for each in cut.removed if each < cut.width // parts]


def _each_tagged(states: Tensor, removed: list[list[int]]) -> Tensor:
    """The last states of all layers and directions."""
    return torch.stack([_tagged(*pair) for pair in zip(states, removed, strict=True)])


def _tagged(tensor: Tensor, removed: list[int]) -> Tensor:
    return tensor.index_fill(-1, torch.tensor(removed, device=tensor.device).long(), torch.nan)
