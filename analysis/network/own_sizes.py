"""The sizes that PyTorch's layers state of their tensors, once these are cut.

The tensors of a layer that is called agree on each of its sizes. Where a forward pass reads them by
hand, as the value weights of an attention that it never calls, each of them may lose other
positions. A size on which they no longer agree is left as it was, as no number is the right one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

__all__ = ["says_itself", "sizes_followed"]

Place = tuple[str, tuple[int, ...]]
"""A tensor of a layer, and dimensions of it whose positions are counted together."""

Places = Mapping[str, Sequence[Place]]
"""By the name of each number of a layer, what has as many positions, or a multiple or a part."""

_TABLE = {"num_embeddings": [("weight", (0,))], "embedding_dim": [("weight", (1,))]}

_SIZES: Mapping[type[nn.Module], Places] = {
    nn.Linear: {"in_features": [("weight", (1,))], "out_features": [("weight", (0,))]},
    nn.Bilinear: {
        "in1_features": [("weight", (1,))],
        "in2_features": [("weight", (2,))],
        "out_features": [("weight", (0,))],
    },
    _NormBase: {"num_features": [("running_mean", (0,)), ("weight", (0,))]},
    nn.GroupNorm: {"num_channels": [("weight", (0,))]},
    nn.PReLU: {"num_parameters": [("weight", (0,))]},
    nn.Embedding: _TABLE,
    nn.EmbeddingBag: _TABLE,
    nn.AdaptiveLogSoftmaxWithLoss: {"in_features": [("head.weight", (1,))]},
    nn.MultiheadAttention: {
        "embed_dim": [
            ("in_proj_weight", (0,)), ("in_proj_weight", (1,)), ("q_proj_weight", (0,)),
            ("q_proj_weight", (1,)), ("out_proj.weight", (1,)),
        ],
        "kdim": [("in_proj_weight", (1,)), ("k_proj_weight", (1,))],
        "vdim": [("in_proj_weight", (1,)), ("v_proj_weight", (1,))],
    },
}  # fmt: skip


@contextmanager
def sizes_followed(layers: Iterable[nn.Module]) -> Iterator[None]:
    """A block that cuts tensors of layers, which state the sizes that are left behind it."""
    before = [(layer, _repeating(layer)) for layer in layers]
    yield
    for layer, sizes in before:
        _say_sizes(layer, sizes)


def says_itself(layer: nn.Module, name: str) -> bool:
    """Whether a number of a layer follows a cut of its tensors, or is no size of them."""
    return isinstance(layer, _ConvNd) or name in _repeating(layer)


def _say_sizes(layer: Any, before: Mapping[str, Sequence[int]]) -> None:
    width = getattr(layer, "embed_dim", None)
    after = {name: _followed(layer, name, sizes) for name, sizes in before.items()}
    for name, number in after.items():
        if number is not None:
            setattr(layer, name, number)
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) and layer.weight is not None:
        layer.normalized_shape = tuple(layer.weight.shape)
    if isinstance(layer, nn.MultiheadAttention) and layer.embed_dim != width:
        head_dim, rest = divmod(layer.embed_dim, layer.num_heads)
        layer.head_dim = layer.head_dim if rest else head_dim


def _followed(layer: nn.Module, name: str, before: Sequence[int]) -> int | None:
    """What a number is once the sizes that repeat it are others; None where they do not agree."""
    value, after = getattr(layer, name), _sizes(layer, _places(layer)[name])
    found = {divmod(value * stay, size) for size, stay in zip(before, after, strict=True)}
    number, rest = found.pop()
    return None if found or rest else number


def _repeating(layer: nn.Module) -> dict[str, list[int]]:
    """The sizes that repeat each number that a layer states."""
    found = {name: _sizes(layer, places) for name, places in _places(layer).items()}
    return {
        name: sizes
        for name, sizes in found.items()
        for value in [getattr(layer, name, 0)]
        if sizes and value and all(size and not (size % value and value % size) for size in sizes)
    }


def _places(layer: nn.Module) -> Places:
    if isinstance(layer, _ConvNd):
        return _of_convolution(layer)
    if isinstance(layer, nn.RNNBase):
        return _of_recurrent(layer._flat_weights_names, layer.proj_size)
    if isinstance(layer, nn.RNNCellBase):
        return _of_recurrent(["weight_ih", "weight_hh", "bias_ih", "bias_hh"], 0)
    return next((places for kind, places in _SIZES.items() if isinstance(layer, kind)), {})


def _of_convolution(layer: Any) -> Places:
    """Groups that read one channel each are removed with it; others keep fewer channels."""
    is_depthwise = layer.in_channels == layer.groups > 1
    read, made = ((0,), (1,)) if layer.transposed else ((1,), (0,))
    if is_depthwise:
        return {
            "groups": [("weight", (0,))],
            "in_channels": [("weight", (0,))],
            "out_channels": [("weight", (0, 1))],
        }
    return {"in_channels": [("weight", read)], "out_channels": [("weight", made)]}


def _of_recurrent(names: Sequence[str], proj_size: int) -> Places:
    """Gates stack their rows; a layer reads the inputs, or what the one before it makes."""
    weights = {
        kind: [name for name in names if name.startswith(f"weight_{kind}")]
        for kind in ("ih", "hh", "hr")
    }
    rows = [(name, (0,)) for name in names if not name.startswith("weight_hr")]
    own = [(name, (1,)) for name in weights["hr" if proj_size else "hh"]]
    projected = [(name, (0,)) for name in weights["hr"]]
    projected += [(name, (1,)) for name in weights["hh"]]
    return {
        "input_size": [(weights["ih"][0], (1,))],
        "hidden_size": [*rows, *own],
        **({"proj_size": projected} if proj_size else {}),
    }


def _sizes(layer: nn.Module, places: Iterable[Place]) -> list[int]:
    """Positions in each place of which a layer has the tensor."""
    found = ((_own(layer, name), dims) for name, dims in places)
    return [
        prod(tensor.shape[dim] for dim in dims)
        for tensor, dims in found
        if isinstance(tensor, Tensor) and tensor.dim() > max(dims)
    ]


def _own(layer: nn.Module, name: str) -> Any:
    """A tensor of a layer; of a weight that a hook makes of others, that which has its shape.

    Until the next forward the weight itself is the one that they made before.
    """
    holder, _, own = name.rpartition(".")
    module = getattr(layer, holder, None) if holder else layer
    made_of = (getattr(module, f"{own}{end}", None) for end in ("_orig", "_v", ""))
    return next((each for each in made_of if isinstance(each, Tensor)), None)
