"""Networks that make, tie and move channels in every way that affects a cost."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from blocks import PROVED, build
from nets import Chain, Concat, Flattened, Grouped, Residual, make
from torch import Tensor, nn

from analysis import inspect_groups
from analysis.groups.inspecting import labelled
from analysis.pipeline import audit_groups
from analysis.records import Audited, Group


def conv(into: int, out: int, taps: int = 3, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(into, out, taps, padding=taps // 2, groups=groups)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


class Joined(nn.Module):
    """A forward in a function of the module and the input; its parts are the module's."""

    def __init__(
        self, forward: Callable[["Joined", Tensor], Tensor], size: tuple[int, ...] = (3, 8, 8),
        **parts: nn.Module,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.function = size, forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        x = self.function(self, x)
        return self.head(x.mean((2, 3)) if x.dim() == 4 else x)


class ClassToken(nn.Module):
    """Tokens with one more in front, positions added, a residual feed-forward."""

    size = (6, 8)

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 7, 16))
        self.norm = nn.LayerNorm(16)
        self.wide, self.narrow = nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), self.embed(x)], 1) + self.position
        return self.head((x + self.narrow(self.wide(self.norm(x)).relu())).mean(1))


def _halves(m: Joined, x: Tensor) -> Tensor:
    left, right = m.a(x).chunk(2, 1)
    return m.c(torch.cat([left, m.b(right)], 1))


def _half_by_size(m: Joined, x: Tensor) -> Tensor:
    x = m.a(x)
    left, right = x.split(x.shape[1] // 2, 1)
    return m.c(torch.cat([left, m.b(right)], 1))


def _spatial_gate(m: Joined, x: Tensor) -> Tensor:
    x = m.a(x)
    seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return m.b(x * m.gate(seen).sigmoid())


def _channel_gate(m: Joined, x: Tensor) -> Tensor:
    """A convolution along the channels, whose positions are channels."""
    x = m.a(x)
    pooled = nn.functional.adaptive_avg_pool2d(x, 1)
    gate = m.along(pooled.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
    return m.b(x * gate.sigmoid())


def _gated(m: Joined, x: Tensor) -> Tensor:
    left, right = m.a(x).chunk(2, 1)
    return m.c(left * right.sigmoid())


REAL: dict[str, Callable[[], nn.Module]] = {
    "halves": lambda: Joined(
        _halves, a=conv(3, 16), b=conv(8, 8), c=conv(16, 12), head=nn.Linear(12, 2)
    ),
    "halves by their size": lambda: Joined(
        _half_by_size, a=conv(3, 16), b=conv(8, 8), c=conv(16, 12), head=nn.Linear(12, 2)
    ),
    "a slice with numbers": lambda: Joined(
        lambda m, x: torch.cat([m.b(m.a(x)[:, :8]), m.a(x)[:, 8:]], 1),
        a=conv(3, 16), b=conv(8, 8), head=nn.Linear(16, 2),
    ),
    "numbers of channels": lambda: Joined(
        lambda m, x: m.a(x)[:, torch.arange(15, -1, -1)], a=conv(3, 16), head=nn.Linear(16, 2)
    ),
    "space to channels": lambda: Joined(
        lambda m, x: m.c(nn.functional.pixel_unshuffle(m.a(x), 2)),
        a=nn.Conv2d(3, 8, 3, padding=1), c=nn.Conv2d(32, 4, 1), head=nn.Linear(4, 2),
    ),
    "a frozen branch": lambda: Joined(
        lambda m, x: m.a(x) + m.b(x),
        a=conv(3, 16).requires_grad_(False), b=conv(3, 16), head=nn.Linear(16, 2),
    ),
    "a spatial gate": lambda: Joined(
        _spatial_gate, a=conv(3, 16), b=conv(16, 12), gate=nn.Conv2d(2, 1, 7, padding=3),
        head=nn.Linear(12, 2),
    ),
    "a channel gate": lambda: Joined(
        _channel_gate, a=conv(3, 16), b=conv(16, 12), along=nn.Conv1d(1, 1, 3, padding=1),
        head=nn.Linear(12, 2),
    ),
    "a class token": ClassToken,
    "flattened with numbers": lambda: Joined(
        lambda m, x: m.a(x).view(2, 1024), a=conv(3, 16), head=nn.Linear(1024, 2)
    ),
    "a gate of halves": lambda: Joined(
        _gated, a=conv(3, 16), c=conv(8, 12), head=nn.Linear(12, 2)
    ),
    "groups behind a concatenation": lambda: Joined(
        lambda m, x: m.g(torch.cat([m.a(x), m.b(x)], 1)),
        a=conv(3, 8), b=conv(3, 8), g=conv(16, 16, groups=2), head=nn.Linear(16, 2),
    ),
    "instance norm with statistics": lambda: Joined(
        lambda m, x: m.b(m.n(m.a(x))), a=conv(3, 16), b=conv(16, 12), head=nn.Linear(12, 2),
        n=nn.InstanceNorm2d(16, affine=True, track_running_stats=True),
    ),
    "root mean square norm": lambda: Joined(
        lambda m, x: m.b(m.n(m.a(x).movedim(1, -1)).movedim(-1, 1)), a=conv(3, 16), b=conv(16, 12),
        n=nn.RMSNorm(16), head=nn.Linear(12, 2),
    ),
}  # fmt: skip

KINDS = {kind.__name__: (lambda kind=kind: make(kind)) for kind in (
    Chain, Residual, Concat, Grouped, Flattened,
)}  # fmt: skip
KINDS |= {name: (lambda name=name: build(name)) for name in PROVED}
KINDS |= REAL


@dataclass(frozen=True, eq=False)
class Network:
    """A network that no test changes, and what those that look at it ask of it."""

    model: nn.Module
    inputs: Tensor

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        return inspect_groups(self.model, self.inputs)

    @cached_property
    def audited(self) -> tuple[Audited, ...]:
        return audit_groups(labelled(self.model, self.inputs), self.model, self.inputs)


@cache
def network_of(name: str) -> Network:
    """A network of this kind with the weights of seed 0, made once a process."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = KINDS[name]().eval()
    inputs = torch.randn(2, *model.size, generator=torch.Generator().manual_seed(0))
    return Network(model, inputs)
