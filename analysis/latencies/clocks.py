"""The clock of a device, and a process that is held still while it is read."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch import nn

from analysis.errors import InputError
from analysis.network.inference import Inputs, collector_paused, random_state_kept, walk
from analysis.processes import budgets

__all__ = ["Clock", "device_of", "held_still"]


class Clock:
    """Seconds by the wall, once a device has done all that it was asked to.

    Args:
        device: a CPU, or a GPU, whose stream is waited for by an event.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._event = torch.cuda.Event() if device.type == "cuda" else None

    def __call__(self) -> float:
        """The time now."""
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(self._device))
            self._event.synchronize()
        return perf_counter()


def device_of(model: nn.Module, inputs: Inputs) -> torch.device:
    """The one device of a network and its inputs.

    Raises:
        InputError: there are several, or it is one whose end of work cannot be awaited.
    """
    tensors = [*model.parameters(), *model.buffers(), *walk(inputs)]
    # A number may stay on the CPU.
    devices = {each.device for each in tensors if each.dim()}
    if len(devices) > 1:
        named = " and ".join(sorted(map(str, devices)))
        raise InputError(f"network and inputs are on {named}; expected one device to measure")
    (device,) = devices
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"the network is on {device}; latency is measured on a CPU or CUDA")
    return device


@contextmanager
def held_still(threads: int | None) -> Iterator[int]:
    """The number of threads of each operator, which nothing changes inside the block.

    On the way out it is as before. Inside, nothing collects garbage or records gradients.
    """
    before = torch.get_num_threads()
    with (
        random_state_kept(),
        collector_paused(),
        torch.no_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            torch.set_num_threads(threads or before)
            yield torch.get_num_threads()
        finally:
            with budgets.undisturbed():
                torch.set_num_threads(before)
