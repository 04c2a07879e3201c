"""A network cut by the maps of its groups, and the dense network that it must equal.

Nothing here knows how groups are found: every tensor is indexed by the positions that a group says.
"""

import copy
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models.convnext import LayerNorm2d

from analysis.records import Group

Gone = dict[tuple[str, int], set[int]]
"""By tensor and dimension the positions that go."""

Numbers = dict[tuple[str, str], int]
"""By module and name of an attribute the number that it keeps of a size."""


def drawn(groups: Sequence[Group], seed: int = 0, share: float = 0.5) -> list[set[int]]:
    """For each group the channels of some of its sets; at least one set stays."""
    rng = np.random.default_rng(seed)
    chosen = []
    for group in groups:
        count = max(1, int(share * len(group.together))) if len(group.together) > 1 else 0
        places = rng.permutation(len(group.together))[:count]
        chosen.append({channel for place in places for channel in group.together[place]})
    return chosen


def gone_of(groups: Sequence[Group], chosen: Sequence[set[int]]) -> Gone:
    gone: Gone = defaultdict(set)
    for group, channels in zip(groups, chosen, strict=True):
        for member in group.members:
            for channel in channels:
                gone[member.tensor, member.dim].update(member.positions[channel])
    return {axis: places for axis, places in gone.items() if places}


def numbers_of(groups: Sequence[Group], chosen: Sequence[set[int]]) -> Numbers:
    """What attributes that repeat sizes become, each a share of what stays of its channels."""
    found: Numbers = {}
    for group, channels in zip(groups, chosen, strict=True):
        for each in group.repeats:
            stay = sum(channel not in channels for channel in each.channels)
            assert each.value * stay % len(each.channels) == 0
            found[each.module, each.name] = each.value * stay // len(each.channels)
    return found


def _set(held: Any, name: str, value: int) -> None:
    """Set the value at a path of attributes and indices, such as ``sizes[0]``."""
    *way, last = re.findall(r"\w+", name)
    if last.isdigit():
        *way, whole = way
        for part in way:
            held = getattr(held, part)
        parts = list(getattr(held, whole))
        parts[int(last)] = value
        setattr(held, whole, type(getattr(held, whole))(parts))
        return
    for part in way:
        held = getattr(held, part)
    setattr(held, last, value)


def cut(model: nn.Module, gone: Gone, numbers: Numbers | None = None) -> nn.Module:
    """A copy without these positions; what layers of torch's repeat of sizes follows.

    ``numbers`` are those that other modules keep of sizes.
    """
    model = copy.deepcopy(model)
    for (module, name), value in (numbers or {}).items():
        _set(model.get_submodule(module), name, value)
    # Tied parameters have one name in groups, so each tensor is cut once.
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for (name, dim), places in gone.items():
        tensor = state[name]
        kept = [place for place in range(tensor.shape[dim]) if place not in places]
        tensor.data = tensor.data.index_select(dim, torch.tensor(kept))
    for layer in model.modules():
        _say_sizes(layer)
    return model


def _say_sizes(layer: Any) -> None:
    if isinstance(layer, nn.modules.conv._ConvNd):
        one, other = layer.weight.shape[:2]
        if layer.transposed:
            if layer.groups == layer.in_channels:
                layer.groups = one
            layer.in_channels, layer.out_channels = one, other * layer.groups
        else:
            if layer.groups == layer.in_channels and layer.groups > 1:
                layer.groups = one // (layer.out_channels // layer.groups)
            layer.in_channels, layer.out_channels = other * layer.groups, one
    elif isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        if layer.weight is not None:
            layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.MultiheadAttention):
        layer.embed_dim = layer.out_proj.weight.shape[1]
        read = layer.k_proj_weight, layer.v_proj_weight
        sizes = [layer.embed_dim if weight is None else weight.shape[1] for weight in read]
        layer.kdim, layer.vdim = sizes
        layer.head_dim = layer.embed_dim // layer.num_heads
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        sized = [t for t in (layer.weight, layer.running_mean) if t is not None]
        layer.num_features = len(sized[0]) if sized else layer.num_features
    elif isinstance(layer, nn.GroupNorm) and layer.weight is not None:
        layer.num_channels = len(layer.weight)
    elif isinstance(layer, nn.RNNBase):
        layer.input_size = layer.weight_ih_l0.shape[1]
        layer.hidden_size = layer.weight_hh_l0.shape[1]
    elif isinstance(layer, nn.RNNCellBase):
        layer.input_size, layer.hidden_size = layer.weight_ih.shape[1], layer.weight_hh.shape[1]


def masked(model: nn.Module, groups: Sequence[Group], chosen: Sequence[set[int]]) -> nn.Module:
    """A copy in which nobody reads the channels, and norms are taken over those that stay.

    Where channels are read by a product of activations they are made as zeros.
    """
    model = copy.deepcopy(model)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for group, channels in zip(groups, chosen, strict=True):
        made = {each.why for each in group.couplings} & {"product", "shared"}
        for member in group.members:
            places = [place for channel in channels for place in member.positions[channel]]
            if places and (member.axis == "in" or made):
                state[member.tensor].data.index_fill_(member.dim, torch.tensor(places), 0.0)
    gone, numbers = gone_of(groups, chosen), numbers_of(groups, chosen)
    for name, layer in model.named_modules():
        places = gone.get((f"{name}.weight" if name else "weight", 0), set())
        if places and isinstance(layer, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm):
            kept = [place for place in range(len(layer.weight)) if place not in places]
            layer.forward = _over(layer, torch.tensor(kept))
        elif isinstance(layer, nn.MultiheadAttention) and (name, "num_heads") not in numbers:
            own = f"{name}.out_proj.weight" if name else "out_proj.weight"
            _rescale(layer, len(gone.get((own, 1), ())))
    return model


@torch.no_grad()
def _rescale(layer: nn.MultiheadAttention, lost: int) -> None:
    """Queries times what makes up for a scale that the width of a head decides."""
    width = layer.embed_dim
    scale = ((width - lost) / width) ** -0.5
    weight = layer.q_proj_weight if layer.in_proj_weight is None else layer.in_proj_weight
    weight[:width] *= scale
    if layer.in_proj_bias is not None:
        layer.in_proj_bias[:width] *= scale


def over_kept(function: Callable[[Tensor], Tensor], kept: Tensor, dim: int = 1):
    """The function of the channels that stay, at their places; zero elsewhere."""

    def answer(x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_copy(dim, kept, function(x.index_select(dim, kept)))

    return answer


def _over(layer: Any, kept: Tensor) -> Callable[[Tensor], Tensor]:
    weight = layer.weight[kept]
    bias = layer.bias[kept] if getattr(layer, "bias", None) is not None else None
    if isinstance(layer, nn.GroupNorm):
        return over_kept(lambda x: F.group_norm(x, layer.num_groups, weight, bias, layer.eps), kept)
    if isinstance(layer, nn.RMSNorm):
        return over_kept(lambda x: F.rms_norm(x, weight.shape, weight, layer.eps), kept, -1)
    plain = over_kept(lambda x: F.layer_norm(x, weight.shape, weight, bias, layer.eps), kept, -1)
    if isinstance(layer, LayerNorm2d) or type(layer).__name__ == "OtherLayerNorm2d":
        return lambda x: plain(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return plain


@torch.no_grad()
def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with parameters and statistics that hide nothing."""
    model = model.double().eval()
    draw = torch.Generator().manual_seed(seed)

    def like(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=draw, dtype=torch.float64)

    for parameter in model.parameters():
        if parameter.is_floating_point():
            spread = 0.1 if parameter.dim() < 2 else 0.3 / max(1, parameter[0].numel()) ** 0.5
            parameter.add_(spread * like(parameter))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(0.1 * like(buffer))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + like(buffer).abs())
    return model


@contextmanager
def in_double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def tensors_of(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_of(v)] if isinstance(value, list | tuple) else []


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """PyTorch's transformer layers call their parts, also those whose forward is another."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@torch.no_grad()
def distance(one: nn.Module, other: nn.Module, inputs: Any) -> float:
    """The greatest difference of two networks' outputs, relative to the first one's."""
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    with in_double(), layer_by_layer():
        pairs = zip(tensors_of(one(*arguments)), tensors_of(other(*arguments)), strict=True)
        errors = []
        for wanted, found in pairs:
            assert wanted.shape == found.shape
            assert float(wanted.std()) > 1e-6, "outputs that hide what is wrong"
            errors.append(float((wanted - found).abs().max() / wanted.abs().max()))
    return max(errors)
