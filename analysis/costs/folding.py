"""Batch norms that a device folds into the layer before, and a count without them.

In eval mode a batch norm is a scale and a shift of each channel. Where it alone reads what a
convolution or a linear layer makes, the scale goes into that layer's weights and the shift into its
bias, of which it gets one if it has none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.network.inference import Inputs, left_as_found, run_hooked, walk
from analysis.records import COLUMNS, CostTable, LayerCost

__all__ = ["Folds", "folded", "folds_of"]

Folds = tuple[tuple[str, bool], ...]
"""Batch norms that fold, and whether their shift stays as the bias of a layer that has none."""


def folded(table: CostTable, folds: Folds) -> CostTable:
    """A count with batch norms folded: without their MACs and scales, and shifts that are added."""
    stays = dict(folds)
    rows = [_row(row, stays) for row in table.layers]
    return replace(
        table,
        layers=tuple(rows),
        macs=sum(row.macs for row in rows),
        params=sum(row.params for row in rows),
        folded=folds,
    )


def _row(row: LayerCost, stays: Mapping[str, bool]) -> LayerCost:
    if row.layer not in stays:
        return row
    params = row.params // 2 if stays[row.layer] else 0  # of scale and shift the shift
    return replace(row, macs=0, params=params, operators=(), columns=(0,) * len(COLUMNS))


def folds_of(model: nn.Module, inputs: Inputs) -> Folds:
    """The batch norms of a network that fold into the layer before.

    Args:
        model: the network; not changed.
        inputs: a tensor, a tuple or a dict.
    """
    modules = dict(model.named_modules())
    with left_as_found(model), _Seen(modules) as seen:
        model.eval()
        run_hooked(model, inputs, seen.called)
    uses = Counter(id(each) for module in modules.values() for each in module._parameters.values())
    return tuple(
        (norm, modules[layer].bias is None)
        for layer, norm in seen.pairs()
        if uses[id(modules[layer].weight)] == uses[id(modules[norm].weight)] == 1
    )


class _Seen(TorchDispatchMode):
    """What layers of one pass make, which batch norms are given it, and what operators read it."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules = modules
        self._kept: list[Any] = []  # so that no other tensor takes an identity
        self._makers: dict[int, str] = {}
        self._norms: dict[int, str] = {}
        self._reads = Counter[int]()
        self._calls = Counter[str]()

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self._reads.update({id(each) for each in walk([*args, *(kwargs or {}).values()])})
        return function(*args, **(kwargs or {}))

    def called(self, name: str, given: Any, returned: Any) -> None:
        """Note a call of a module."""
        module = self._modules[name]
        self._calls[name] += 1
        self._kept += [given, returned]
        if _has_weights_of_channels(module, returned):
            self._makers[id(returned)] = name
        if isinstance(module, _BatchNorm) and module.affine and module.running_mean is not None:
            self._norms |= {id(each): name for each in given}
        if not name:  # what the model puts out is read by its caller
            self._reads.update(map(id, walk(returned)))

    def pairs(self) -> list[tuple[str, str]]:
        """Layers called once, each with the norm that alone reads what it makes."""
        return [
            (layer, norm)
            for made, layer in self._makers.items()
            if self._reads[made] == 1 and (norm := self._norms.get(made, ""))
            if self._calls[layer] == self._calls[norm] == 1
        ]


def _has_weights_of_channels(module: nn.Module, returned: Any) -> bool:
    """Whether a layer has weights for each channel that a batch norm would scale."""
    if not isinstance(returned, Tensor):
        return False
    return isinstance(module, _ConvNd) or (isinstance(module, nn.Linear) and returned.dim() == 2)
