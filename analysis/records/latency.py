"""How long a network takes before and after pruning, and what explains it layer by layer.

Times are seconds of wall-clock time of one forward pass over the example inputs, as they are: of
their batch size, in the dtype and on the device of the network.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis.errors import InputError, did_you_mean
from analysis.records.targets import share_beside

__all__ = [
    "BACKENDS",
    "EXPLANATIONS",
    "FEWEST_PAIRS",
    "Latency",
    "LayerLatency",
    "Machine",
    "NetworkLatency",
    "Spread",
    "Timing",
    "Work",
    "latency_of",
]

BACKENDS = ("eager", "compile", "onnxruntime")
"""What runs a network: PyTorch as it is, `torch.compile`, or an ONNX file."""

FEWEST_PAIRS = 6
"""The extremes of fewer pairs hold the median with less than 95 %."""

EXPLANATIONS: Mapping[str, str] = {
    "fell": "fell with its MACs",
    "same-work": "no work was removed",
    "small": "the overhead of a call",
    "memory-bound": "memory-bound: fell with its bytes",
    "width": "width no multiple of the vector's",
    "unclear": "spread too wide to tell",
    "not-explained": "not explained",
}
"""Whether the time of a layer fell with its MACs and, if not, why; in a few words."""


@dataclass(frozen=True)
class Timing:
    """How latency is measured.

    Attributes:
        backends: of `BACKENDS`.
        threads: of each operator on the CPU; None is PyTorch's present number.
        pairs: how often the dense and the pruned network are timed in turn.
        layers: whether each layer is timed, too, and explained.
    """

    backends: tuple[str, ...] = BACKENDS[:1]
    threads: int | None = None
    pairs: int = 30
    layers: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            InputError: names the value and what is expected.
        """
        if not isinstance(self.backends, tuple) or not self.backends:
            raise InputError(f"backends {self.backends!r}; expected a tuple of names")
        for name in self.backends:
            if name not in BACKENDS:
                hint = did_you_mean(str(name), BACKENDS, "expected")
                raise InputError(f"backend {name!r}; {hint} {', '.join(BACKENDS)}")
        if self.threads is not None and (type(self.threads) is not int or self.threads < 1):
            raise InputError(f"threads {self.threads!r}; expected a whole number of at least 1")
        if type(self.pairs) is not int or self.pairs < FEWEST_PAIRS:
            raise InputError(
                f"pairs {self.pairs!r}; expected a whole number of at least {FEWEST_PAIRS}, of "
                "which the median has an interval"
            )


@dataclass(frozen=True)
class Spread:
    """The median of paired ratios, pruned over dense, with its interval.

    Attributes:
        median: below 1 where the pruned network is faster.
        low: the lower end of the interval.
        high: the upper end.
        coverage: the probability with which such an interval holds the true median.
    """

    median: float
    low: float
    high: float
    coverage: float

    def __str__(self) -> str:
        """In per cent, with the interval."""
        return f"{self.median:.1%} ({self.low:.1%} to {self.high:.1%})"

    def beside(self, limit: float) -> str:
        """The same, with as many digits as tell each from a limit."""
        median, low, high = (
            share_beside(each, limit) for each in (self.median, self.low, self.high)
        )
        return f"{median} ({low} to {high})"

    def is_at_most(self, limit: float) -> bool | None:
        """Whether the true median is; None where the interval holds both answers."""
        if self.high <= limit:
            return True
        return None if self.low <= limit else False


@dataclass(frozen=True)
class NetworkLatency:
    """A whole network in one backend.

    Attributes:
        backend: of `BACKENDS`.
        dense: median seconds of the dense network; None where it was not measured.
        pruned: median seconds of the pruned one.
        ratio: of the pairs, pruned over dense.
        why_not: why it was not measured; empty if it was.
    """

    backend: str
    dense: float | None = None
    pruned: float | None = None
    ratio: Spread | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Work:
    """What one layer does in one forward pass, without its children.

    Attributes:
        seconds: median of its own time; all calls together.
        macs: multiply-accumulates, see `analysis.count_macs`; None where they are not counted.
        bytes: read and written by its operators as they run: inputs, parameters and outputs.
        widths: channels of its weight, shape (outputs, inputs of one group); empty without one.
    """

    seconds: float
    macs: int | None
    bytes: int
    widths: tuple[int, ...] = ()

    @property
    def intensity(self) -> float | None:
        """MACs a byte; None where either is not known."""
        return None if self.macs is None or not self.bytes else self.macs / self.bytes


@dataclass(frozen=True)
class LayerLatency:
    """One layer, timed in both networks in turn.

    Attributes:
        layer: module name; empty for what the model's own forward does.
        kind: class name of the module.
        calls: how often it is called in one pass.
        dense: its work in the dense network.
        pruned: its work in the pruned network.
        ratio: of the pairs of its own times, pruned over dense.
        why: of `EXPLANATIONS`.
    """

    layer: str
    kind: str
    calls: int
    dense: Work
    pruned: Work
    ratio: Spread
    why: str

    @property
    def works(self) -> bool:
        """Whether it does more than call others."""
        return bool(self.dense.bytes or self.dense.macs)


@dataclass(frozen=True)
class Machine:
    """Where latency was measured, and the most that it was seen to do.

    Attributes:
        device: ``cpu`` or ``cuda``.
        name: of the processor or the GPU.
        threads: of each operator on the CPU.
        torch: its version.
        dtype: of the parameters.
        vector: numbers of that dtype that one instruction, or one aligned load, takes.
        macs_per_second: of the fastest matrix product.
        bytes_per_second: read and written by a copy that is larger than the caches.
        overheads: seconds of a call that computes one number, by kind of layer.
        cudnn_benchmark: whether cuDNN tries its algorithms out; None on the CPU.
        load: processes that wanted to run beside this one, by the system's average of a minute;
            None where it does not tell.
    """

    device: str
    name: str
    threads: int
    torch: str
    dtype: str
    vector: int
    macs_per_second: float
    bytes_per_second: float
    overheads: tuple[tuple[str, float], ...]
    cudnn_benchmark: bool | None
    load: float | None

    @property
    def ridge(self) -> float:
        """MACs a byte below which memory is the limit."""
        return self.macs_per_second / self.bytes_per_second

    def is_memory_bound(self, work: Work) -> bool | None:
        """On which side of the ridge a layer is; None where its MACs are not known."""
        return None if work.intensity is None else work.intensity < self.ridge

    def roof(self, work: Work) -> float:
        """Seconds that its MACs and bytes take at the least, at the measured peaks."""
        return max((work.macs or 0) / self.macs_per_second, work.bytes / self.bytes_per_second)

    def overhead(self, kind: str) -> float:
        """Seconds of a call of a layer of this kind, or of the cheapest kind."""
        known = dict(self.overheads)
        return known.get(kind, min(known.values(), default=0.0))


@dataclass(frozen=True)
class Latency:
    """A pruned network beside the dense one.

    Attributes:
        timing: how it was measured.
        networks: the whole networks, one for each backend.
        layers: in eager mode, in model order; in each pass their times add up to that of the
            network. Empty if they were not asked for.
        hooked: median seconds of the dense and of the pruned network while its layers are timed,
            shape (2,); empty without layers. What it exceeds ``networks`` by is the cost of timing.
        sums: the same of the layers that work, together; the others only call them.
        unmatched: modules that one of the two networks calls alone, which have no ratio.
        uncounted: why no MACs are known; empty if they are.
        machine: with its measured peaks; None without layers.
    """

    timing: Timing
    networks: tuple[NetworkLatency, ...]
    layers: tuple[LayerLatency, ...] = ()
    hooked: tuple[float, ...] = ()
    sums: tuple[float, ...] = ()
    unmatched: tuple[str, ...] = ()
    uncounted: str = ""
    machine: Machine | None = None

    @property
    def ratio(self) -> Spread | None:
        """Of the whole network in the first backend that was measured."""
        return next((each.ratio for each in self.networks if each.ratio), None)

    def as_data(self) -> dict[str, Any]:
        """As JSON has it; `latency_of` reads it back."""
        return asdict(self)


def latency_of(data: Mapping[str, Any]) -> Latency:
    """The record that `Latency.as_data` wrote, also by way of JSON."""
    machine = data["machine"]
    return Latency(
        timing=Timing(**{**data["timing"], "backends": tuple(data["timing"]["backends"])}),
        networks=tuple(
            NetworkLatency(**{**each, "ratio": _spread(each["ratio"])}) for each in data["networks"]
        ),
        layers=tuple(map(_layer, data["layers"])),
        hooked=tuple(data["hooked"]),
        sums=tuple(data["sums"]),
        unmatched=tuple(data["unmatched"]),
        uncounted=data["uncounted"],
        machine=machine
        and Machine(**{**machine, "overheads": tuple(map(tuple, machine["overheads"]))}),
    )


def _spread(data: Mapping[str, Any] | None) -> Spread | None:
    return None if data is None else Spread(**data)


def _layer(data: Mapping[str, Any]) -> LayerLatency:
    works = {
        name: Work(**{**data[name], "widths": tuple(data[name]["widths"])})
        for name in ("dense", "pruned")
    }
    return LayerLatency(**{**data, **works, "ratio": Spread(**data["ratio"])})
