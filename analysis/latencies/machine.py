"""What a machine does at its best: products, copies, and calls that compute one number."""

import os
import platform
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.nn.functional import conv2d

from analysis.latencies.clocks import Clock
from analysis.latencies.layers import own_times
from analysis.records import Machine

__all__ = ["machine"]


def machine(device: torch.device, dtype: torch.dtype, threads: int) -> Machine:
    """The machine of this process, with its peaks, measured once for each of these.

    Args:
        device: where networks run.
        dtype: of their parameters.
        threads: to which PyTorch is held now.
    """
    is_gpu = device.type == "cuda"
    return Machine(
        device=device.type,
        name=torch.cuda.get_device_name(device) if is_gpu else _processor(),
        threads=threads,
        torch=torch.__version__,
        dtype=str(dtype).removeprefix("torch."),
        vector=_vector_bytes(device) // dtype.itemsize,
        macs_per_second=_macs_per_second(device, dtype, threads),
        bytes_per_second=_bytes_per_second(device, threads),
        overheads=_overheads(device, dtype, threads),
        cudnn_benchmark=torch.backends.cudnn.benchmark if is_gpu else None,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _processor() -> str:
    """The processor's name, which Python knows of few systems."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def _vector_bytes(device: torch.device) -> int:
    """Of an instruction on the CPU; of an aligned load on a GPU.

    NVIDIA's guide to matrix multiplication asks for sizes that are multiples of 16 bytes.
    """
    if device.type == "cuda":
        return 16
    return _INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), 16)


_INSTRUCTIONS = {"AVX512": 64, "AVX2": 32, "SVE256": 32}

_TRIES = 5
_COPIES = 20
"""There is one kind of copy, and several of products, of which the fastest counts."""
_LONG = 5e-3
"""Seconds of a product in which starting it is no part to speak of."""
_SIZES = (256, 512, 1024, 2048, 4096, 8192)
_COPIED = {"cpu": 2**27, "cuda": 2**30}
"""Bytes of a copy that is larger than most caches, and takes far longer than starting it."""


def _fastest(clock: Clock, work: Callable[[], object], tries: int = _TRIES) -> float:
    work()
    seconds = []
    for _ in range(tries):
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds)


@cache
def _macs_per_second(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Of a matrix product and of the same as a convolution, which may be held to other precision.

    TensorFloat32, for one, is allowed to each by a switch of its own.
    """
    clock, best = Clock(device), 0.0
    for size in _SIZES:
        left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
        image, kernel = left.view(1, size, size, 1), right.view(size, size, 1, 1)
        products = partial(torch.matmul, left, right), partial(conv2d, image, kernel)
        seconds = min(_fastest(clock, product) for product in products)
        best = max(best, size**3 / seconds)
        if seconds > _LONG:
            break
    return best


@cache
def _bytes_per_second(device: torch.device, threads: int) -> float:
    """Read and written by a copy."""
    size = _COPIED[device.type]
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / _fastest(Clock(device), lambda: target.copy_(source), _COPIES)


@cache
def _overheads(
    device: torch.device, dtype: torch.dtype, threads: int
) -> tuple[tuple[str, float], ...]:
    """Seconds of a call of the smallest layer of each kind, timed as layers are."""
    one, pixel = (torch.ones(shape, dtype=dtype, device=device) for shape in ((1, 1), (1, 1, 1, 1)))
    smallest = {
        "convolution": (nn.Conv2d(1, 1, 1), pixel),
        "linear": (nn.Linear(1, 1), one),
        "normalization": (nn.BatchNorm2d(1), pixel),
        "elementwise": (nn.ReLU(), one),
    }
    found = []
    for kind, (layer, given) in smallest.items():
        with own_times(layer.to(device, dtype).eval(), given, device) as run:
            found.append((kind, median([run()[""] for _ in range(_CALLS)][_CALLS // 2 :])))
    return tuple(found)


_CALLS = 40
"""The second half of which is counted."""
