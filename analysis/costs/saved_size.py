"""The size of a network's saved weights."""

import io
from typing import Any

import torch
from torch import nn

from analysis.network.inference import copy_of

__all__ = ["saved_bytes"]


def saved_bytes(model: nn.Module) -> int:
    """Size of ``torch.save(model.state_dict())``, in bytes, of the network on the CPU.

    A file names the device of each tensor, so that one from a GPU has other bytes.
    """
    counted = _Counted()
    elsewhere = any(each.device.type != "cpu" for each in model.state_dict().values())
    torch.save((copy_of(model).cpu() if elsewhere else model).state_dict(), counted)
    return counted.size


class _Counted(io.BytesIO):
    """A file that keeps nothing of what is written but its size."""

    size = 0

    def write(self, data: Any) -> int:
        count = memoryview(data).nbytes
        self.size += count
        return count
