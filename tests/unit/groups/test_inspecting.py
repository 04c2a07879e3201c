"""The groups of small networks, worked out by hand, and each network cut by them."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cutting import cut, distance, drawn, gone_of, in_double, masked, numbers_of, randomised
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from torchvision import ops

from analysis import inspect_groups
from analysis.errors import InputError
from analysis.records import Group

IMAGE, TOKENS = (2, 3, 6, 6), (2, 5, 12)


class Net(nn.Module):
    """Layers by name, and what is done with them."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.function = function

    def forward(self, *given: Any) -> Any:
        return self.function(self, *given)


@dataclass(frozen=True)
class Case:
    """A network and, by name of a group, the sets of its channels that may go.

    A word in place of the sets is part of the reason why none may. Groups that only leave the
    model are not listed. ``mixed``: something is taken over channels, so that the network without
    some is not the dense one. ``fault`` and ``broken`` say why the groups, or the network cut by
    them, are not yet what they must be.
    """

    make: Callable[[], nn.Module]
    groups: dict[str, Any]
    size: tuple[int, ...] = IMAGE
    mixed: bool = False
    fault: str = ""
    broken: str = ""


def each(count: int) -> tuple[tuple[int, ...], ...]:
    """Every channel by itself."""
    return tuple((channel,) for channel in range(count))


def alike(count: int, parts: int) -> tuple[tuple[int, ...], ...]:
    """The same channel of each of so many parts."""
    return tuple(tuple(range(first, count, count // parts)) for first in range(count // parts))


def blocks(count: int, size: int) -> tuple[tuple[int, ...], ...]:
    """Neighbours in blocks of a size."""
    return tuple(tuple(range(first, first + size)) for first in range(0, count, size))


def conv(read: int, made: int, size: int = 1, **options: Any) -> nn.Module:
    return nn.Conv2d(read, made, size, **options)


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def between(function: Callable[[Any, Tensor], Tensor], read: int = 8, made: int = 8, **parts: Any):
    """``a`` makes 8 channels, something is done with them, ``b`` reads what comes of it."""
    return lambda: Net(
        lambda m, x: m.head(mean(m.b(function(m, m.a(x))))),
        a=conv(3, made), b=conv(read, 6), head=nn.Linear(6, 2), **parts,
    )  # fmt: skip


def tokens(function: Callable[[Any, Tensor], Tensor], **parts: Any):
    """The same on tokens."""
    return lambda: Net(
        lambda m, x: m.head(function(m, m.a(x)).mean(1)),
        a=nn.Linear(12, 8), head=nn.Linear(8, 2), **parts,
    )  # fmt: skip


class Rotation(nn.Module):
    """Rotary embedding of (..., time, width)."""

    def __init__(self, pairs: int) -> None:
        super().__init__()
        self.register_buffer("speed", 1.0 / 10 ** (torch.arange(pairs) / pairs))

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * self.speed
        one, other = x.chunk(2, -1)
        turned = one * angle.cos() - other * angle.sin(), one * angle.sin() + other * angle.cos()
        return torch.cat(turned, -1)


def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


def attend(split: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Attention with separate layers, the heads made by a function."""

    def function(m: Any, x: Tensor) -> Tensor:
        q, k, v = (split(m, layer(x)).transpose(1, 2) for layer in (m.q, m.k, m.v))
        return m.o(mix(q, k, v).transpose(1, 2).flatten(2))

    return function


def three(out: int = 8) -> dict[str, nn.Module]:
    return {name: nn.Linear(8, out) for name in "qkv"} | {"o": nn.Linear(out, 8)}


class Swish(torch.autograd.Function):
    """A function that a library wrote itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise NotImplementedError


def _into_buffer(m: Any, x: Tensor) -> Tensor:
    left, right = m.left(x), m.right(x)
    buffer = x.new_zeros(x.shape[0], left.shape[1] + right.shape[1], *x.shape[2:])
    buffer[:, : left.shape[1]] = left
    buffer[:, left.shape[1] :] = right
    return m.head(mean(m.b(buffer)))


def _dense_blocks(m: Any, x: Tensor) -> Tensor:
    x = m.a(x)
    for layer in (m.c, m.d):
        x = torch.cat([x, layer(x)], 1)
    return m.head(mean(m.b(x)))


def _fused(m: Any, x: Tensor) -> Tensor:
    b, t, c = x.shape
    q, k, v = m.qkv(x).reshape(b, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
    return m.o(mix(q, k, v).transpose(1, 2).reshape(b, t, c))


def _heads_of_the_keys(m: Any, x: Tensor) -> Tensor:
    """The size of every head is that of the keys, divided by how many there are."""
    q, k, v = m.q(x), m.k(x), m.v(x)
    size = k.shape[-1] // 4
    heads = (each.view(each.shape[0], -1, 4, size).transpose(1, 2) for each in (q, k, v))
    return m.o(mix(*heads).transpose(1, 2).flatten(2))


def _grouped_queries(
    m: Any, x: Tensor, heads: tuple[int, int] = (4, -1), shared: tuple[int, int] = (2, -1),
    *, expanded: bool = False,
) -> Tensor:  # fmt: skip
    q = m.q(x).unflatten(-1, heads).transpose(1, 2)
    k, v = (layer(x).unflatten(-1, shared).transpose(1, 2) for layer in (m.k, m.v))
    if expanded:
        k, v = (p[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for p in (k, v))
    else:
        k, v = (part.repeat_interleave(2, 1) for part in (k, v))
    return m.o(mix(q, k, v).transpose(1, 2).flatten(2))


def _cosine(m: Any, x: Tensor) -> Tensor:
    """Attention by the angle between queries and keys."""
    q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    return m.o(mix(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v).transpose(1, 2).flatten(2))


def _step(m: Any, x: Tensor, width: int = 0) -> Tensor:
    """One step of a recurrence from a state of zeros."""
    h = c = x.new_zeros(x.shape[0], width or m.u.weight.shape[1])
    i, f, g, o = (m.w(x[:, 0]) + m.u(h)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return m.o(o.sigmoid() * c.tanh())[:, None]


CHAIN = {"a": each(8), "b": each(6)}

CASES: dict[str, Case] = {
    "sequence": Case(between(lambda m, x: x.relu()), CHAIN),
    "residual addition": Case(
        between(lambda m, x: x + m.c(x), c=conv(8, 8, 3, padding=1)), CHAIN
    ),
    "in place": Case(between(lambda m, x: x.relu_().mul_(2.0).add_(m.c(x)), c=conv(8, 8)), CHAIN),
    "squeeze-excite": Case(
        between(
            lambda m, x: x * m.up(m.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid(),
            down=conv(8, 4), up=conv(4, 8),
        ),
        {"a": each(8), "down": each(4), "b": each(6)},
    ),
    "a gate of one channel": Case(
        between(lambda m, x: x * m.gate(x).sigmoid(), gate=conv(8, 1)), CHAIN
    ),
    "a gate of one channel added": Case(
        between(lambda m, x: x + m.gate(x), gate=conv(8, 1)), CHAIN
    ),
    "halves": Case(
        between(lambda m, x: m.c(x.chunk(2, 1)[0]) + m.d(x.chunk(2, 1)[1]), read=5,
                c=conv(4, 5), d=conv(4, 5)),
        {"a": alike(8, 2), "c": each(5), "b": each(6)},
    ),
    "a gated linear unit": Case(
        between(lambda m, x: F.glu(x, 1), read=4), {"a": alike(8, 2), "b": each(6)},
    ),
    "halves that are multiplied": Case(
        between(lambda m, x: x.chunk(2, 1)[0].tanh() * x.chunk(2, 1)[1].sigmoid(), read=4),
        {"a": alike(8, 2), "b": each(6)},
    ),
    "a split with equal written-out sizes": Case(
        between(lambda m, x: torch.cat([p.relu() for p in x.split([4, 4], 1)][::-1], 1)),
        {"a": "size", "b": each(6)},
    ),
    "a split with uneven written-out sizes": Case(
        between(lambda m, x: torch.cat([p.relu() for p in x.split([2, 6], 1)][::-1], 1)),
        {"a": "size", "b": each(6)},
    ),
    "a split with sizes in terms of the tensor": Case(
        between(lambda m, x: torch.cat(x.split([x.shape[1] // 2] * 2, 1)[::-1], 1)),
        {"a": alike(8, 2), "b": each(6)},
    ),
    "a strided slice": Case(
        between(lambda m, x: m.c(x[:, ::2]) + m.d(x[:, 1::2]), read=5, c=conv(4, 5), d=conv(4, 5)),
        {"a": blocks(8, 2), "c": each(5), "b": each(6)},
    ),
    "the first three": Case(
        between(lambda m, x: m.c(x[:, :3]) + m.d(x[:, 3:]), read=5, c=conv(3, 5), d=conv(5, 5)),
        {"a": tuple((c,) for c in range(3, 8)), "c": each(5), "b": each(6)},
    ),
    "one channel picked": Case(
        between(lambda m, x: x * m.c(x)[:, 2:3], c=conv(8, 4)),
        {"a": each(8), "c": "", "b": each(6)},
    ),
    "interleaved": Case(
        lambda: Net(
            lambda m, x: m.head(mean(m.b(torch.stack([m.l(x), m.r(x)], 2).flatten(1, 2)))),
            l=conv(3, 4), r=conv(3, 4), b=conv(8, 6), head=nn.Linear(6, 2),
        ),
        {"l": each(4), "b": each(6)},
    ),
    "flip": Case(between(lambda m, x: x.flip(1)), CHAIN),
    "turned in place": Case(
        between(lambda m, x: x.abs().transpose_(1, 2).add(1).transpose(1, 2) + x), CHAIN
    ),
    "squeezed in place": Case(
        between(lambda m, x: x.abs().unsqueeze_(0).add(1).squeeze_(0) + x), CHAIN
    ),
    "flip added": Case(
        between(lambda m, x: x + x.flip(1)),
        {"a": tuple((c, 7 - c) for c in range(4)), "b": each(6)},
    ),
    "roll": Case(
        between(lambda m, x: x.roll(3, 1)),
        {"a": tuple((c,) for c in range(5)), "b": each(6)},
    ),
    "roll to the front": Case(
        between(lambda m, x: x.roll(-3, 1)),
        {"a": tuple((c,) for c in range(3, 8)), "b": each(6)},
    ),
    "roll by half of the channels": Case(
        between(lambda m, x: x.roll(x.shape[1] // 2, 1)), {"a": alike(8, 2), "b": each(6)},
    ),
    "shuffle": Case(
        between(lambda m, x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)),
        {"a": alike(8, 2), "b": each(6)},
    ),
    "an index made on the spot": Case(
        between(lambda m, x: x.index_select(1, torch.arange(x.shape[1]).flip(0))), CHAIN
    ),
    "an index in a buffer": Case(
        between(lambda m, x: x.index_select(1, m.index),
                index=torch.tensor([3, 1, 0, 2, 7, 5, 6, 4])),
        {"a": "", "b": each(6)},
    ),
    "concatenation": Case(
        lambda: Net(
            lambda m, x: m.head(mean(m.b(torch.cat([m.l(x), m.r(x)], 1)))),
            l=conv(3, 4), r=conv(3, 5), b=conv(9, 6), head=nn.Linear(6, 2),
        ),
        {"l": each(4), "r": each(5), "b": each(6)},
    ),
    "concatenation with the input": Case(
        lambda: Net(
            lambda m, x: m.head(mean(m.b(torch.cat([x, m.r(x)], 1)))),
            r=conv(3, 5), b=conv(8, 6), head=nn.Linear(6, 2),
        ),
        {"r": each(5), "b": each(6)},
    ),
    "a dense block": Case(
        lambda: Net(
            _dense_blocks, a=conv(3, 4), c=conv(4, 3), d=conv(7, 5), b=conv(12, 6),
            head=nn.Linear(6, 2),
        ),
        {"a": each(4), "c": each(3), "d": each(5), "b": each(6)},
    ),
    "a part of a concatenation added": Case(
        lambda: Net(
            lambda m, x: m.head(mean(m.b(torch.cat([m.l(x), m.r(x)], 1) + m.c(x)))),
            l=conv(3, 4), r=conv(3, 4), c=conv(3, 8), b=conv(8, 6), head=nn.Linear(6, 2),
        ),
        {"c": each(8), "b": each(6)},
    ),
    "pixel shuffle": Case(
        between(lambda m, x: F.pixel_shuffle(x, 2), read=2), {"a": blocks(8, 4), "b": each(6)},
    ),
    "pixel unshuffle": Case(between(lambda m, x: F.pixel_unshuffle(x, 2), read=32), CHAIN),
    "a grouped convolution": Case(
        between(lambda m, x: m.c(x), made=12, read=8, c=conv(12, 8, 3, groups=2)),
        {"a": alike(12, 2), "c": alike(8, 2), "b": each(6)},
    ),
    "a grouped convolution of two channels each": Case(
        between(lambda m, x: m.c(x), read=4, c=conv(8, 4, groups=2)),
        {"a": alike(8, 2), "c": alike(4, 2), "b": each(6)},
    ),
    "depthwise": Case(between(lambda m, x: m.c(x), c=conv(8, 8, 3, groups=8)), CHAIN),
    "depthwise with a multiplier": Case(
        between(lambda m, x: m.c(x), read=16, c=conv(8, 16, 3, groups=8)), CHAIN
    ),
    "transposed": Case(
        between(lambda m, x: m.c(x), read=5, c=nn.ConvTranspose2d(8, 5, 2, stride=2)),
        {"a": each(8), "c": each(5), "b": each(6)},
    ),
    "transposed and grouped": Case(
        between(lambda m, x: m.c(x), made=12, read=8,
                c=nn.ConvTranspose2d(12, 8, 2, stride=2, groups=2)),
        # The weight has four filters for each group of channels, which make the same four of both.
        {"a": alike(12, 2), "c": each(4), "b": each(6)},
    ),
    "transposed and grouped, normalised": Case(
        between(lambda m, x: m.n(m.c(x)).relu(), made=12, read=6, n=nn.BatchNorm2d(6),
                c=nn.ConvTranspose2d(12, 6, 2, groups=3, bias=False)),
        {"a": alike(12, 3), "c": each(2), "b": each(6)},
    ),
    "transposed and depthwise": Case(
        between(lambda m, x: m.c(x), c=nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8)), CHAIN
    ),
    "group norm": Case(
        between(lambda m, x: m.n(x), n=nn.GroupNorm(2, 8)), {"a": alike(8, 2), "b": each(6)}
    ),
    "layer norm": Case(
        tokens(lambda m, x: m.n(x), n=nn.LayerNorm(8)), {"a": each(8)}, TOKENS
    ),
    "RMS norm": Case(tokens(lambda m, x: m.n(x), n=nn.RMSNorm(8)), {"a": each(8)}, TOKENS),
    "instance norm": Case(
        between(lambda m, x: m.n(x), n=nn.InstanceNorm2d(8, affine=True)), CHAIN,
    ),
    "batch norm without statistics": Case(
        between(lambda m, x: m.n(x), n=nn.BatchNorm2d(8, track_running_stats=False)), CHAIN,
    ),
    "batch norm, PReLU": Case(
        between(lambda m, x: m.p(m.n(x)), n=nn.BatchNorm2d(8), p=nn.PReLU(8)), CHAIN
    ),
    "heads of a written-out width": Case(
        tokens(attend(lambda m, x: x.view(*x.shape[:2], -1, 4)), **three()),
        {"a": each(8), "q": blocks(8, 4), "o": each(8)}, TOKENS,
    ),
    "a written-out number of heads": Case(
        tokens(attend(lambda m, x: x.view(*x.shape[:2], 2, -1)), **three()),
        {"a": each(8), "q": alike(8, 2), "v": alike(8, 2), "o": each(8)}, TOKENS,
    ),
    "heads with all sizes written out": Case(
        tokens(attend(lambda m, x: x.view(*x.shape[:2], 2, 4)), **three()),
        {"a": each(8), "q": "size", "v": "size", "o": each(8)}, TOKENS,
    ),
    "values in heads of the keys' size": Case(
        tokens(_heads_of_the_keys, q=nn.Linear(8, 16), k=nn.Linear(8, 16), v=nn.Linear(8, 16),
               o=nn.Linear(16, 8)),
        {"a": each(8), "q": alike(16, 4), "o": each(8)}, TOKENS,
    ),
    "grouped queries": Case(
        tokens(_grouped_queries, q=nn.Linear(8, 16), k=nn.Linear(8, 8), v=nn.Linear(8, 8),
               o=nn.Linear(16, 8)),
        {"a": each(8), "q": alike(16, 4), "v": alike(8, 2), "o": each(8)}, TOKENS,
    ),
    "grouped queries, keys expanded": Case(
        tokens(lambda m, x: _grouped_queries(m, x, expanded=True), q=nn.Linear(8, 16),
               k=nn.Linear(8, 8), v=nn.Linear(8, 8), o=nn.Linear(16, 8)),
        {"a": each(8), "q": alike(16, 4), "v": alike(8, 2), "o": each(8)}, TOKENS,
    ),
    "queries that share one head of the keys": Case(
        tokens(
            lambda m, x: m.o(mix(m.q(x).unflatten(-1, (4, -1)).transpose(1, 2),
                                 *(y(x)[:, None] for y in (m.k, m.v))).transpose(1, 2).flatten(2)),
            q=nn.Linear(8, 12), k=nn.Linear(8, 3), v=nn.Linear(8, 5), o=nn.Linear(20, 8),
        ),
        {"a": each(8), "q": alike(12, 4), "v": each(5), "o": each(8)}, TOKENS,
    ),
    "grouped queries of a written-out width": Case(
        tokens(lambda m, x: _grouped_queries(m, x, (-1, 4), (-1, 4)), q=nn.Linear(8, 16),
               k=nn.Linear(8, 8), v=nn.Linear(8, 8), o=nn.Linear(16, 8)),
        {"a": each(8), "q": blocks(16, 8), "o": each(8)}, TOKENS,
    ),
    "fused queries, keys and values": Case(
        tokens(_fused, qkv=nn.Linear(8, 24), o=nn.Linear(8, 8)),
        {"a": alike(8, 2), "o": each(8)}, TOKENS,
    ),
    "rotary embeddings": Case(
        tokens(
            lambda m, x: m.o(mix(*(f(layer(x)) for f, layer in
                                   ((m.turn, m.q), (m.turn, m.k), (nn.Identity(), m.v))))),
            turn=Rotation(4), **three(),
        ),
        {"a": each(8), "q": alike(8, 2), "v": each(8), "o": each(8)}, TOKENS,
    ),
    "a bias by position": Case(
        tokens(
            lambda m, x: m.o((m.q(x) @ m.k(x).mT + m.table[m.index]).softmax(-1) @ m.v(x)),
            table=nn.Parameter(torch.randn(9)),
            index=torch.arange(5)[:, None] - torch.arange(5) + 4, **three(),
        ),
        {"a": each(8), "q": each(8), "v": each(8), "o": each(8)}, TOKENS,
    ),
    "multi-head attention of torch's": Case(
        tokens(
            lambda m, x: x + m.att(x, x, x, need_weights=False)[0],
            att=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        {"a": alike(8, 2)}, TOKENS,
    ),
    "multi-head attention without a skip": Case(
        tokens(
            lambda m, x: m.att(x, x, x)[0], att=nn.MultiheadAttention(8, 2, batch_first=True)
        ),
        {"a": alike(8, 2), "att.out_proj": each(8)}, TOKENS,
    ),
    "multi-head attention, cross": Case(
        tokens(
            lambda m, x: x + m.att(x, y := m.k(x)[:, :3], y)[0], k=nn.Linear(8, 8),
            att=nn.MultiheadAttention(8, 2, batch_first=True, bias=False),
        ),
        {"a": alike(8, 2)}, TOKENS,
    ),
    "multi-head attention, cross, the sequence first": Case(
        tokens(
            lambda m, x: x + m.att(*(y.transpose(0, 1) for y in (x, m.k(x), m.v(x))))[0]
            .transpose(0, 1), k=nn.Linear(8, 6), v=nn.Linear(8, 10),
            att=nn.MultiheadAttention(8, 2, kdim=6, vdim=10, add_bias_kv=True),
        ),
        {"a": blocks(8, 4), "k": each(6), "v": each(10)}, TOKENS,
    ),
    "multi-head attention over the input": Case(
        lambda: Net(
            lambda m, x: m.head((y := m.a(x)) + m.att(y, x, x)[0]).mean(1),
            a=nn.Linear(12, 12), att=nn.MultiheadAttention(12, 2, batch_first=True),
            head=nn.Linear(12, 2),
        ),
        {"a": "keeps its size", "att": "size"}, TOKENS,
    ),
    "more heads than channels of one": Case(
        lambda: Net(
            lambda m, x: m.head((y := m.a(x)) + m.att(y, y, y)[0]).mean(1),
            a=nn.Linear(12, 24), att=nn.MultiheadAttention(24, 6, batch_first=True),
            head=nn.Linear(24, 2),
        ),
        {"a": alike(24, 6)}, TOKENS,
    ),
    "a transformer's encoder": Case(
        tokens(
            lambda m, x: m.e(x),
            e=nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 5, batch_first=True), 2,
                                    enable_nested_tensor=False),
        ),
        {"a": alike(8, 2), "e.layers.0.linear1": each(5), "e.layers.1.linear1": each(5)}, TOKENS,
    ),
    "a transformer's decoder": Case(
        tokens(
            lambda m, x: m.d(x, m.k(x)[:, :3]), k=nn.Linear(8, 8),
            d=nn.TransformerDecoderLayer(8, 2, 5, batch_first=True, norm_first=True),
        ),
        {"a": alike(8, 2), "d.linear1": each(5)}, TOKENS,
    ),
    "scaled dot product of one head": Case(
        tokens(
            lambda m, x: m.o(F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x), scale=0.3)),
            **three(),
        ),
        {"a": each(8), "q": each(8), "v": each(8), "o": each(8)}, TOKENS,
    ),
    "LSTM": Case(
        tokens(lambda m, x: m.o(m.r(x)[0]), r=nn.LSTM(8, 6, batch_first=True), o=nn.Linear(6, 8)),
        {"a": each(8), "r": alike(24, 4), "o": each(8)}, TOKENS,
    ),
    "GRU": Case(
        tokens(lambda m, x: m.o(m.r(x)[0]), r=nn.GRU(8, 6, batch_first=True), o=nn.Linear(6, 8)),
        {"a": each(8), "r": alike(18, 3), "o": each(8)}, TOKENS,
    ),
    "LSTM cell": Case(
        tokens(
            lambda m, x: m.o(m.r(x.mean(1))[0])[:, None], r=nn.LSTMCell(8, 6), o=nn.Linear(6, 8)
        ),
        {"a": each(8), "r": alike(24, 4), "o": each(8)}, TOKENS,
    ),
    "LSTM of one step": Case(
        tokens(
            lambda m, x: m.o(m.r(x[:, :1])[0]), r=nn.LSTM(8, 6, batch_first=True),
            o=nn.Linear(6, 8),
        ),
        {"a": each(8), "r": alike(24, 4), "o": each(8)}, TOKENS,
    ),
    "GRU cell": Case(
        tokens(
            lambda m, x: m.o(m.r(x.mean(1)))[:, None], r=nn.GRUCell(8, 6), o=nn.Linear(6, 8)
        ),
        {"a": each(8), "r": alike(18, 3), "o": each(8)}, TOKENS,
    ),
    "a step with gates written out": Case(
        tokens(_step, w=nn.Linear(8, 24), u=nn.Linear(6, 24), o=nn.Linear(6, 8)),
        {"a": each(8), "w": alike(24, 4), "o": each(8)}, TOKENS,
    ),
    "a step from a state of a written-out size": Case(
        tokens(
            lambda m, x: _step(m, x, 6), w=nn.Linear(8, 24), u=nn.Linear(6, 24), o=nn.Linear(6, 8)
        ),
        {"a": each(8), "w": "size", "o": each(8)}, TOKENS,
    ),
    "a layer called twice": Case(
        between(lambda m, x: m.c(m.c(x).relu()), c=conv(8, 8)), CHAIN
    ),
    "a functional convolution": Case(
        between(lambda m, x: F.conv2d(x, m.w), w=nn.Parameter(torch.randn(8, 8, 1, 1))),
        {"a": each(8), "w": each(8), "b": each(6)},
    ),
    "a product with a parameter": Case(
        tokens(lambda m, x: (x @ m.w).relu(), w=nn.Parameter(torch.randn(8, 8))),
        {"a": each(8), "w": each(8)}, TOKENS,
    ),
    "einsum": Case(
        tokens(lambda m, x: torch.einsum("btc,cd->btd", x, m.w),
               w=nn.Parameter(torch.randn(8, 8))),
        {"a": each(8), "w": each(8)}, TOKENS,
    ),
    "einsum over heads": Case(
        tokens(
            lambda m, x: torch.einsum("bthc,hcd->btd", x.unflatten(-1, (2, -1)), m.w),
            w=nn.Parameter(torch.randn(2, 4, 8)),
        ),
        {"a": alike(8, 2), "w": each(8)}, TOKENS,
    ),
    "a parameter with an axis for heads, flattened": Case(
        tokens(lambda m, x: m.o(F.linear(x, m.w.flatten(0, 1))),
               w=nn.Parameter(torch.randn(1, 6, 8)), o=nn.Linear(6, 8)),
        {"a": each(8), "w": each(6), "o": each(8)}, TOKENS,
    ),
    "two flattened axes added": Case(
        tokens(lambda m, x: m.o(x + m.w.flatten()), w=nn.Parameter(torch.randn(2, 4)),
               o=nn.Linear(8, 8)),
        {"a": alike(8, 2), "o": each(8)}, TOKENS,
    ),
    "einsum of two activations": Case(
        tokens(lambda m, x: m.o(torch.einsum("bic,bjc,bjd->bid", m.q(x), m.k(x), m.v(x))),
               **three()),
        {"a": each(8), "q": each(8), "v": each(8), "o": each(8)}, TOKENS,
    ),
    "weight norm": Case(
        between(lambda m, x: m.c(x), read=5, c=parametrizations.weight_norm(conv(8, 5))),
        {"a": each(8), "c": each(5), "b": each(6)},
    ),
    "weights flattened and put back": Case(
        between(
            lambda m, x: F.conv2d(x, F.softmax(m.c.flatten(1), 1).view_as(m.c)),
            read=5, c=nn.Parameter(torch.randn(5, 8, 3, 3)),
        ),
        {"a": each(8), "c": each(5), "b": each(6)}, mixed=True,
    ),
    "flattened": Case(
        lambda: Net(
            lambda m, x: m.head(m.b(m.a(x).flatten(1)).relu()), a=conv(3, 4), b=nn.Linear(144, 6),
            head=nn.Linear(6, 2),
        ),
        {"a": each(4), "b": each(6)},
    ),
    "flattened with channels last": Case(
        lambda: Net(
            lambda m, x: m.head(m.b(m.a(x).permute(0, 2, 3, 1).flatten(1)).relu()),
            a=conv(3, 4), b=nn.Linear(144, 6), head=nn.Linear(6, 2),
        ),
        {"a": each(4), "b": each(6)},
    ),
    "zeros of a written-out width": Case(
        between(lambda m, x: x + torch.zeros(2, 8, 1, 1)), {"a": "", "b": each(6)}
    ),
    "zeros of the tensor's width": Case(
        between(lambda m, x: x + torch.zeros(2, x.shape[1], 1, 1)), CHAIN
    ),
    "a constant for each channel": Case(
        between(lambda m, x: x * torch.linspace(1, 2, 8)[:, None, None]), {"a": "", "b": each(6)}
    ),
    "channels padded by what is missing": Case(
        between(
            lambda m, x: m.c(x) + F.pad(x, (0, 0, 0, 0, 0, m.c(x).shape[1] - x.shape[1])),
            read=11, c=conv(8, 11),
        ),
        {"a": each(8), "c": each(3), "b": each(6)},
        fault="places that a padding adds are expected to stay as many",
    ),
    "channels padded by a written-out number": Case(
        between(lambda m, x: m.c(x) + F.pad(x, (0, 0, 0, 0, 0, 3)), read=11, c=conv(8, 11)),
        {"c": each(8), "b": each(6)},
    ),
    "written into a buffer": Case(
        lambda: Net(
            _into_buffer, left=conv(3, 4), right=conv(3, 5), b=conv(9, 6), head=nn.Linear(6, 2)
        ),
        {"left": each(4), "right": each(5), "b": each(6)},
    ),
    "heads normalised to length one": Case(
        tokens(_cosine, **three()),
        {"a": each(8), "q": alike(8, 2), "v": alike(8, 2), "o": each(8)}, TOKENS,
    ),
    "normalised to length one": Case(
        between(lambda m, x: x / x.norm(dim=1, keepdim=True).expand_as(x)), CHAIN, mixed=True,
    ),
    "expanded to many": Case(
        between(lambda m, x: x * m.gate(x).expand(-1, x.shape[1], -1, -1), gate=conv(8, 1)), CHAIN,
    ),
    "softmax over channels": Case(between(lambda m, x: x.softmax(1)), CHAIN, mixed=True),
    "a function of one's own": Case(between(lambda m, x: Swish.apply(x)), CHAIN),
    "asserted": Case(
        between(lambda m, x: _asserted(x)), {"a": "8 channels", "b": each(6)}
    ),
    "deformable convolution": Case(
        between(lambda m, x: m.d(x, m.offset(x)), read=5, offset=conv(8, 18, 3, padding=1),
                d=ops.DeformConv2d(8, 5, 3, padding=1)),
        {"a": each(8), "offset": "positions", "d": each(5), "b": each(6)},
    ),
    "a flow field": Case(
        between(lambda m, x: F.grid_sample(x, m.flow(x).permute(0, 2, 3, 1), align_corners=False),
                flow=conv(8, 2)),
        {"a": each(8), "flow": "positions", "b": each(6)},
    ),
    "the greatest of all channels": Case(
        between(lambda m, x: x.topk(4, 1)[0], read=4), {"a": "topk", "b": each(6)}
    ),
    "an operator of torchvision's": Case(
        between(lambda m, x: ops.ps_roi_pool(x, m.boxes, 2), read=2,
                boxes=torch.tensor([[0.0, 0, 0, 4, 4], [1.0, 1, 1, 5, 5]])),
        {"a": "ps_roi_pool", "b": each(6)},
    ),
    "messages added": Case(
        tokens(lambda m, x: x.new_zeros(2, 3, x.shape[-1]).index_add(1, m.index, x),
               index=torch.tensor([0, 1, 2, 1, 0])),
        {"a": each(8)}, TOKENS,
    ),
    "messages scattered": Case(
        tokens(
            lambda m, x: x.new_zeros(2, 3, x.shape[-1]).scatter_add(
                1, m.index[None, :, None].expand_as(x), x),
            index=torch.tensor([0, 1, 2, 1, 0]),
        ),
        {"a": each(8)}, TOKENS,
    ),
    "rows that a mask of tokens takes in turn": Case(
        tokens(
            lambda m, x: x.masked_scatter(m.mask[None, :, None].expand_as(x), 2 * x),
            mask=torch.tensor([False, True, False, True, True]),
        ),
        {"a": each(8)}, TOKENS,
    ),
    "elements that a mask of channels takes in turn": Case(
        tokens(lambda m, x: x.masked_scatter(x > 1, 2 * x)), {"a": "positions"}, TOKENS,
    ),
    "a convolution over channels": Case(
        between(lambda m, x: x * m.e(x.mean((2, 3))[:, None]).sigmoid().squeeze(1)[..., None, None],
                e=nn.Conv1d(1, 1, 3, padding=1, bias=False)),
        {"a": "positions", "b": each(6)},
    ),
    "spectral norm": Case(
        between(lambda m, x: m.c(x), read=5, c=parametrizations.spectral_norm(conv(8, 5))),
        {"a": "as spectral norm does", "c": "as spectral norm does", "b": each(6)},
    ),
    "repeated": Case(between(lambda m, x: x.repeat(1, 2, 1, 1), read=16), CHAIN),
    "repeated one by one": Case(
        between(lambda m, x: x.repeat_interleave(2, 1), read=16), CHAIN
    ),
    "joined with itself": Case(
        between(lambda m, x: torch.cat([x, x], 1), read=16), CHAIN
    ),
}  # fmt: skip


def _asserted(x: Tensor) -> Tensor:
    assert x.shape[1] == 8, "expected 8 channels"
    return x


def make(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return randomised(CASES[name].make(), seed)


def images(size: Sequence[int], seed: int = 1) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@cache
def inspected(name: str) -> tuple[nn.Module, Tensor, tuple[Group, ...]]:
    """A case's network, which no test changes, images for it, and all of its groups."""
    model, inputs = make(name), images(CASES[name].size)
    with in_double():
        return model, inputs, inspect_groups(model, inputs)


def groups_of(model: nn.Module, inputs: Any) -> dict[str, Group]:
    """Those whose channels do not leave the model, by name."""
    with in_double():
        groups = inspect_groups(model, inputs)
    return {group.name: group for group in groups if not group.is_output}


def cases(attribute: str) -> list[Any]:
    """Their names; those that fail are marked with the reason."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=why) if why else (), id=name)
        for name, why in ((name, getattr(case, attribute)) for name, case in CASES.items())
    ]


@pytest.mark.parametrize("name", cases("fault"))
def test_the_groups_are_those_worked_out_by_hand(name: str) -> None:
    _, _, groups = inspected(name)
    found = {group.name: group for group in groups if not group.is_output}
    assert sorted(found) == sorted(CASES[name].groups)
    for layer, expected in CASES[name].groups.items():
        group = found[layer]
        if isinstance(expected, str):
            assert not group.together
            assert expected in group.held
        else:
            assert group.together == expected, group.held
            assert group.held == ""
            # Channels that are in no set are held, one by one.
            assert group.width >= sum(map(len, expected))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.mixed])
def test_a_network_that_mixes_channels_still_runs_when_cut(name: str) -> None:
    model, inputs, groups = inspected(name)
    with in_double():
        small = cut(model, gone_of(groups, drawn(groups)))
        assert small(inputs).shape == model(inputs).shape


@pytest.mark.parametrize(
    "name", [each for each in cases("broken") if not CASES[each.values[0]].mixed]
)
def test_the_cut_network_is_the_dense_one_without_the_channels(name: str) -> None:
    model, inputs, groups = inspected(name)
    for seed in range(3):
        chosen = drawn(groups, seed)
        small = cut(model, gone_of(groups, chosen), numbers_of(groups, chosen))
        assert distance(masked(model, groups, chosen), small, inputs) < 1e-9


def test_the_mask_and_the_cut_can_disagree() -> None:
    """A cut by a wrong map is seen."""
    model, inputs = make("concatenation"), images(IMAGE)
    with in_double():
        groups = inspect_groups(model, inputs)
    chosen = drawn(groups)
    gone = gone_of(groups, chosen)
    places = gone["b.weight", 1]
    gone["b.weight", 1] = {(place + 1) % 9 for place in places}
    assert distance(masked(model, groups, chosen), cut(model, gone), inputs) > 1e-3


@pytest.mark.parametrize(
    ("name", "layer", "why", "operator"),
    [
        ("residual addition", "a", "addition", "add"),
        ("squeeze-excite", "a", "multiplication", "mul"),
        ("depthwise", "a", "depthwise", "convolution"),
        ("sequence", "a", "sequence", "convolution"),
        ("batch norm, PReLU", "a", "normalisation", "_native_batch_norm_legit_no_training"),
        ("concatenation", "l", "concatenation", ""),
        ("a written-out number of heads", "q", "product", "bmm"),
        ("a layer called twice", "a", "shared", ""),
        ("flattened", "a", "flattening", "addmm"),
    ],
)
def test_why_channels_go_together(name: str, layer: str, why: str, operator: str) -> None:
    group = groups_of(make(name), images(CASES[name].size))[layer]
    coupling = next(each for each in group.couplings if each.why == why)
    if operator:
        assert coupling.operator in {operator, "native_batch_norm", "_batch_norm_no_update"}
        assert coupling.line.startswith(("test_inspecting.py:", ""))


def test_nothing_is_said_to_be_added_where_nothing_is() -> None:
    for name in ("sequence", "squeeze-excite", "concatenation", "flattened"):
        for group in groups_of(make(name), images(CASES[name].size)).values():
            assert "addition" not in {each.why for each in group.couplings}


def test_an_addition_is_named_after_the_module_whose_forward_adds() -> None:
    block = Net(lambda m, x: x + m.c(x), c=conv(8, 8))
    model = Net(
        lambda m, x: m.head(mean(m.block(m.a(x)))), a=conv(3, 8), block=block, head=nn.Linear(8, 2)
    )
    group = groups_of(randomised(model), images(IMAGE))["a"]
    assert group.additions == ("block",)
    assert set(group.layers) == {"a", "block.c"}


def positions(group: Group, tensor: str, dim: int) -> tuple[tuple[int, ...], ...]:
    (found,) = (each for each in group.members if (each.tensor, each.dim) == (tensor, dim))
    return found.positions


def test_positions_are_those_of_the_tensors() -> None:
    flat = groups_of(make("flattened"), images(IMAGE))["a"]
    assert positions(flat, "b.weight", 1) == tuple(
        tuple(range(36 * channel, 36 * (channel + 1))) for channel in range(4)
    )
    last = groups_of(make("flattened with channels last"), images(IMAGE))["a"]
    assert positions(last, "b.weight", 1) == tuple(
        tuple(range(channel, 144, 4)) for channel in range(4)
    )
    beside = groups_of(make("concatenation"), images(IMAGE))
    assert positions(beside["l"], "b.weight", 1) == each(4)
    assert positions(beside["r"], "b.weight", 1) == tuple((4 + c,) for c in range(5))
    turned = groups_of(make("flip"), images(IMAGE))["a"]
    assert positions(turned, "b.weight", 1) == tuple((7 - c,) for c in range(8))
    many = groups_of(make("depthwise with a multiplier"), images(IMAGE))["a"]
    assert positions(many, "c.weight", 0) == positions(many, "b.weight", 1) == blocks(16, 2)


def test_every_axis_that_goes_with_a_channel_is_a_member() -> None:
    found = groups_of(make("batch norm, PReLU"), images(IMAGE))["a"]
    axes = {(each.tensor, each.dim, each.axis) for each in found.members}
    assert axes == {
        ("a.weight", 0, "out"), ("a.bias", 0, "out"), ("n.weight", 0, "out"), ("n.bias", 0, "out"),
        ("n.running_mean", 0, "out"), ("n.running_var", 0, "out"), ("p.weight", 0, "out"),
        ("b.weight", 1, "in"),
    }  # fmt: skip
    assert (found.members[0].tensor, found.members[0].dim) == ("a.weight", 0)
    kinds = {each.layer: each.kind for each in found.members}
    assert kinds == {"a": "Conv2d", "n": "BatchNorm2d", "p": "PReLU", "b": "Conv2d"}


def test_costs_are_those_that_go_with_the_channels() -> None:
    """3 -> 8 -> 6 channels on 6 x 6 positions, then two classes; two images."""
    found = groups_of(make("sequence"), images(IMAGE))
    assert found["a"].params == 8 * 3 + 8 + 6 * 8
    assert found["a"].macs == 2 * 36 * (8 * 3 + 6 * 8)
    assert found["b"].params == 6 * 8 + 6 + 2 * 6
    assert found["b"].macs == 2 * (36 * 6 * 8 + 2 * 6)


def test_what_leaves_the_model_stays() -> None:
    with in_double():
        (*_, last) = inspect_groups(make("sequence"), images(IMAGE))
    assert (last.name, last.is_output, last.together) == ("head", True, ())
    assert last.held == "the model's output"


@pytest.mark.parametrize(
    ("wrap", "count"),
    [
        (lambda a, b: {"a": a, "b": b}, 2),
        (lambda a, b: [a, None, (b, "text", 3)], 2),
        (lambda a, b: (None, a), 1),
    ],
)
def test_outputs_may_be_anything_that_holds_tensors(wrap: Any, count: int) -> None:
    model = Net(
        lambda m, x: wrap(m.a(m.stem(x)), m.b(m.stem(x))),
        stem=conv(3, 8), a=conv(8, 4), b=conv(8, 5),
    )  # fmt: skip
    with in_double():
        found = {group.name: group for group in inspect_groups(randomised(model), images(IMAGE))}
    assert found["stem"].together == each(8)
    assert sum(found[name].is_output for name in "ab") == count


def test_an_output_that_is_an_object_is_looked_into() -> None:
    """Whether or not what it holds is seen, its channels must not be offered in silence."""
    model = Net(lambda m, x: SimpleNamespace(y=m.a(m.stem(x))), stem=conv(3, 8), a=conv(8, 4))
    with in_double():
        found = {group.name: group for group in inspect_groups(randomised(model), images(IMAGE))}
    assert found["stem"].together == each(8)
    assert found["a"].together == ()


def test_half_precision_is_followed_as_any_other() -> None:
    model = CASES["batch norm, PReLU"].make().eval().to(torch.bfloat16)
    found = inspect_groups(model, images(IMAGE).to(torch.bfloat16))
    assert {g.name: g.together for g in found if not g.is_output} == CHAIN


def test_embeddings_and_a_head_that_shares_their_table() -> None:
    table = nn.Embedding(10, 8)
    head = nn.Linear(8, 10, bias=False)
    head.weight = table.weight
    model = Net(lambda m, x: m.head(m.table(x) + m.c(m.table(x))), table=table, head=head,
                c=nn.Linear(8, 8))  # fmt: skip
    tokens_in = torch.tensor([[1, 4, 9], [0, 3, 3]])
    model = randomised(model)
    with in_double():
        groups = inspect_groups(model, tokens_in)
    (stream,) = (g for g in groups if g.together)
    (rows,) = (g for g in groups if not g.together)
    assert (stream.name, stream.width, stream.together) == ("table", 8, each(8))
    assert {each.tensor for each in stream.members} == {"table.weight", "c.weight", "c.bias"}
    assert rows.is_output
    assert rows.width == 10
    chosen = drawn(groups)
    small = cut(model, gone_of(groups, chosen))
    assert small.head.weight is small.table.weight
    assert distance(masked(model, groups, chosen), small, tokens_in) < 1e-9


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="no parameters"):
        inspect_groups(Net(lambda m, x: x.relu()), images(IMAGE))


def test_a_network_with_nothing_to_prune_says_so() -> None:
    model = Net(lambda m, x: m.n(x), n=nn.BatchNorm2d(3))
    assert not any(group.together for group in inspect_groups(model.eval(), images(IMAGE).float()))


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x * (x.argmax(1, keepdim=True) > 2),
        lambda m, x: x[(x > -100).nonzero(as_tuple=True)].view(x.shape),
        lambda m, x: x.sort(1)[0],
        lambda m, x: torch.fft.fft2(x).real,
        lambda m, x: x.cumsum(1),
        lambda m, x: x.masked_fill(x > 1, 0.0),
        lambda m, x: x.unfold(1, 8, 1).squeeze(1).movedim(-1, 1),
        lambda m, x: torch.stack(sorted(x.unbind(1), key=lambda one: float(one.sum())), 1),
        lambda m, x: x if bool(x.sum() > -1e9) else -x,
    ],
    ids=["argmax", "nonzero", "sort", "fft", "cumsum", "masked", "unfold", "sorted", "branch"],
)
def test_what_uses_values_never_stops_the_rest(function: Any) -> None:
    found = groups_of(randomised(between(function)()), images(IMAGE))
    assert found["b"].together == each(6)
    assert found["a"].width == 8


def test_a_model_that_keeps_tensors_between_calls_is_followed_anew() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        if not hasattr(m, "grid") or m.grid.shape != x.shape:
            m.grid = torch.zeros_like(x)
        return m.head(mean(m.b(x + m.grid)))

    model = randomised(Net(function, a=conv(3, 8), b=conv(8, 6), head=nn.Linear(6, 2)))
    inputs = images(IMAGE)
    first = groups_of(model, inputs)
    assert {name: group.together for name, group in first.items()} == CHAIN
    assert not hasattr(model, "grid")
    with in_double(), torch.no_grad():
        model(inputs)
    kept = model.grid
    second = groups_of(model, inputs)
    assert second["b"].together == each(6)
    # What a tensor of a former call would do without channels is not known.
    assert second["a"].together == each(8) or "keeps its size" in second["a"].held
    assert model.grid is kept


def test_ignored_layers_keep_their_groups() -> None:
    model, inputs = make("residual addition"), images(IMAGE)
    with in_double():
        found = {g.name: g for g in inspect_groups(model, inputs, ignored_layers=["c"])}
    assert found["a"].ignored
    assert not found["a"].prunable
    assert found["b"].prunable


def snapshot(model: nn.Module) -> Any:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [(name, module.training) for name, module in model.named_modules()]
    grads = [(name, p.requires_grad, p.grad) for name, p in model.named_parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    extra = [sorted(vars(module)) for module in model.modules()]
    marks = [sorted(vars(tensor)) for tensor in (*model.parameters(), *model.buffers())]
    identities = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    return state, (flags, grads, hooks, extra, marks, identities)


@pytest.mark.parametrize(
    "name",
    ["batch norm, PReLU", "batch norm without statistics", "LSTM", "asserted",
     "multi-head attention of torch's", "weight norm", "spectral norm"],
)  # fmt: skip
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(name: str, fails: bool) -> None:
    model, inputs = make(name).train(), images(CASES[name].size)
    next(model.parameters()).requires_grad_(False)
    before, others = snapshot(model)
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    with in_double():
        if fails:
            with pytest.raises(InputError):
                inspect_groups(model, inputs[:, :2, :2])
        else:
            inspect_groups(model, inputs)
    assert torch.equal(torch.rand(3), wanted)
    after, others_after = snapshot(model)
    assert others == others_after
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.get_default_dtype() == torch.float32


def test_the_answer_is_the_same_each_time_and_for_a_copy() -> None:
    model, inputs = make("squeeze-excite"), images(IMAGE)
    with in_double():
        one = inspect_groups(model, inputs)
        assert inspect_groups(model, inputs) == inspect_groups(copy.deepcopy(model), inputs) == one


def test_an_unknown_operator_is_named_with_its_place() -> None:
    found = groups_of(make("an operator of torchvision's"), images(IMAGE))["a"]
    assert "ps_roi_pool.py:" in found.held
