"""What runs a network: PyTorch as it is, `torch.compile` and onnxruntime."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from analysis.errors import InputError
from analysis.latencies.clocks import Clock
from analysis.network.attributes import as_before
from analysis.network.inference import Inputs, as_arguments
from analysis.proof.round_trips import fed_to, onnx_session

__all__ = ["Network", "runners"]

Network = tuple[nn.Module, Inputs]
Run = Callable[[], float]
"""Runs a network once and returns the seconds that it took."""


@contextmanager
def runners(backend: str, networks: tuple[Network, ...], device: torch.device) -> Iterator[Any]:
    """For each network what runs it once in a backend and returns seconds.

    Raises:
        Exception: whatever the backend says of what it cannot run, here or in the first run.
    """
    with _KINDS[backend](networks, device) as found:
        yield found


@contextmanager
def _eager(networks: tuple[Network, ...], device: torch.device) -> Iterator[list[Run]]:
    yield [_timed(model, model, inputs, device) for model, inputs in networks]


@contextmanager
def _compiled(networks: tuple[Network, ...], device: torch.device) -> Iterator[list[Run]]:
    import torch._dynamo

    # What was compiled before counts for the limit after which networks run as they are.
    torch._dynamo.reset()
    try:
        yield [_timed(model, _compile(model), inputs, device) for model, inputs in networks]
    finally:
        torch._dynamo.reset()


def _compile(model: nn.Module) -> Any:
    return torch.compile(model, dynamic=False, options={"triton.cudagraphs": False})


def _timed(model: nn.Module, called: Any, inputs: Inputs, device: torch.device) -> Run:
    clock = Clock(device)

    def run() -> float:
        args, kwargs = as_arguments(inputs)
        with as_before(model):
            start = clock()
            output = called(*args, **kwargs)
            seconds = clock() - start
        del output  # whose memory is not given back in the time
        return seconds

    return run


@contextmanager
def _by_onnxruntime(networks: tuple[Network, ...], device: torch.device) -> Iterator[list[Run]]:
    if device.type != "cpu":
        raise InputError(f"onnxruntime is measured on a CPU, and the network is on {device}")
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise InputError("not installed: pip install 'pruning-analysis[onnx]'") from error
    yield [_session_run(*network, device) for network in networks]


def _session_run(model: nn.Module, inputs: Inputs, device: torch.device) -> Run:
    session = onnx_session(model, inputs, threads=torch.get_num_threads())
    fed, clock = fed_to(session, inputs), Clock(device)

    def run() -> float:
        start = clock()
        session.run(None, fed)
        return clock() - start

    return run


_KINDS: Mapping[str, Callable[..., Any]] = {
    "eager": _eager,
    "compile": _compiled,
    "onnxruntime": _by_onnxruntime,
}
