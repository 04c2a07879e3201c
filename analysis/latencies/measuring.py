"""The latency of a dense and a pruned network, measured in turn in one process."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import nn

from analysis.errors import AnalysisError
from analysis.latencies.backends import Network, runners
from analysis.latencies.clocks import device_of, held_still
from analysis.latencies.explaining import explained
from analysis.latencies.layers import Worked, own_times, work_of
from analysis.latencies.machine import machine
from analysis.latencies.medians import paired
from analysis.latencies.timing import in_turn
from analysis.network.failures import check_runs
from analysis.network.inference import Inputs, aliased, one_line
from analysis.network.restoring import restored
from analysis.network.usable import check_usable
from analysis.processes import budgets
from analysis.records import (
    Latency,
    LayerLatency,
    Machine,
    NetworkLatency,
    Spread,
    Target,
    Timing,
    Work,
)

__all__ = ["decided", "latency", "measured"]


def latency(
    dense: nn.Module,
    pruned: nn.Module,
    example_inputs: Inputs,
    *,
    backends: Sequence[str] = ("eager",),
    threads: int | None = None,
    pairs: int = 30,
    layers: bool = True,
) -> Latency:
    """How long a pruned network takes beside the dense one, and why, layer by layer.

    Both run in turn in this process, in eval mode and without gradients, on the device that they
    are on. The answer is the median of paired ratios, never a time alone: machines are slowed down
    by what else they do. The models are not changed.

    Args:
        dense: the network before pruning.
        pruned: the network after it.
        example_inputs: a tensor, a tuple or a dict, of the batch size that is of interest.
        backends: of `analysis.records.BACKENDS`; one that cannot run a network says so in
            ``why_not``.
        threads: of each operator on the CPU, for the time of the measurement; None is PyTorch's
            present number.
        pairs: how often both are timed.
        layers: whether each layer is timed as well, and explained.

    Raises:
        InputError: what cannot be measured so; a model does not run on the inputs, or cannot be
            analysed as it is; or they are on several devices.
    """
    given: Any = tuple(backends) if isinstance(backends, list) else backends
    return measured(dense, pruned, example_inputs, Timing(given, threads, pairs, layers))


def measured(dense: nn.Module, pruned: nn.Module, inputs: Inputs, timing: Timing) -> Latency:
    """As `latency`, with what is asked in a record."""
    networks = tuple((_copy(model), inputs) for model in (dense, pruned))
    device = device_of(dense, inputs)
    device_of(pruned, inputs)  # refuses another than that of the inputs
    with restored(dense), restored(pruned), held_still(timing.threads) as threads:
        for model, _ in networks:
            check_runs(model, inputs)
        with budgets.step("measuring latency"):
            found = tuple(_network(each, networks, device, timing) for each in timing.backends)
        if not timing.layers:
            return Latency(timing, found)
        with budgets.step("measuring the machine"):
            at = machine(device, _dtype_of(dense), threads)
        with budgets.step("measuring the latency of layers"):
            return _by_layer(Latency(timing, found, machine=at), networks, device, at)


_LONGER = 4


def decided(
    dense: nn.Module, pruned: nn.Module, inputs: Inputs, timing: Timing, targets: Iterable[Target]
) -> Latency:
    """As `measured`; where that leaves open whether a target is met, once more and for longer."""
    limits = [target.limit for target in targets if target.is_measured]
    found = measured(dense, pruned, inputs, timing)
    if found.ratio is None or all(found.ratio.is_at_most(limit) is not None for limit in limits):
        return found
    return measured(dense, pruned, inputs, replace(timing, pairs=_LONGER * timing.pairs))


def _copy(model: nn.Module) -> nn.Module:
    check_usable(model)
    return aliased(model, requires_grad=False)


def _dtype_of(model: nn.Module) -> torch.dtype:
    floating = (each.dtype for each in model.parameters() if each.is_floating_point())
    return next(floating, torch.float32)


def _network(
    backend: str, networks: tuple[Network, ...], device: torch.device, timing: Timing
) -> NetworkLatency:
    try:
        with runners(backend, networks, device) as (dense, pruned):
            pairs = in_turn(dense, pruned, timing.pairs)
    except Exception as error:  # of a package that is missing, or of a compiler
        return NetworkLatency(backend, why_not=_short(error))
    return NetworkLatency(backend, *_medians(pairs), paired(pairs))


def _short(error: Exception) -> str:
    """What a backend says, in a line that can be read."""
    said, kind = one_line(error), type(error).__name__
    if said != kind and not isinstance(error, AnalysisError):
        said = f"{kind}: {said}"
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


_LONGEST = 200


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    dense, pruned = zip(*pairs, strict=True)
    return median(dense), median(pruned)


def _by_layer(
    found: Latency, networks: tuple[Network, ...], device: torch.device, at: Machine
) -> Latency:
    """The same with every layer, timed in both networks in turn."""
    (dense, uncounted), (pruned, _) = (work_of(*network) for network in networks)
    with (
        own_times(*networks[0], device) as run_dense,
        own_times(*networks[1], device) as run_pruned,
    ):
        pairs = in_turn(run_dense, run_pruned, found.timing.pairs)
    layers = tuple(
        _layer(name, work, pruned[name], [(was[name], now[name]) for was, now in pairs], at)
        for name, work in dense.items()
        if name in pruned
    )
    working = [each.layer for each in layers if each.works]
    return replace(
        found,
        layers=layers,
        hooked=_medians([(sum(was.values()), sum(now.values())) for was, now in pairs]),
        sums=_medians([(_sum(was, working), _sum(now, working)) for was, now in pairs]),
        unmatched=tuple(sorted(dense.keys() ^ pruned.keys())),
        uncounted=uncounted,
    )


def _sum(times: Mapping[str, float], layers: Iterable[str]) -> float:
    return sum(times[name] for name in layers)


def _layer(
    name: str, dense: Worked, pruned: Worked, pairs: list[tuple[float, float]], at: Machine
) -> LayerLatency:
    ratio: Spread = paired(pairs)
    works = [
        Work(seconds, each.macs, each.bytes, each.widths)
        for seconds, each in zip(_medians(pairs), (dense, pruned), strict=True)
    ]
    overhead = pruned.calls * at.overhead(pruned.column)
    why = explained(ratio, works[0], works[1], overhead, at)
    return LayerLatency(name, dense.kind, dense.calls, works[0], works[1], ratio, why)
