"""Other counters, each called as its documentation does to get MACs."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import nn

__all__ = ["COUNTERS", "LEFT_OUT", "Counter", "count"]


@dataclass(frozen=True)
class Counter:
    """A counter of another package.

    Attributes:
        name: of the counter.
        package: that holds it.
        call: what is called, as text.
        ask: calls it.
    """

    name: str
    package: str
    call: str
    ask: Callable[[nn.Module, torch.Tensor], float]

    @property
    def version(self) -> str:
        """Of the installed package.

        Raises:
            PackageNotFoundError: it is not installed.
        """
        return metadata.version(self.package)


def count(counter: Counter, model: nn.Module, image: torch.Tensor) -> int:
    """What the counter says, for a copy of the model: they leave hooks and buffers behind.

    Raises:
        ValueError: the counter gives no whole number.
    """
    answer = counter.ask(deepcopy(model), image)
    if answer is None or answer != int(answer):
        raise ValueError(f"{counter.name} answers {answer!r}")
    return int(answer)


def _torch_pruning(model: nn.Module, image: torch.Tensor) -> float:
    from torch_pruning.utils import count_ops_and_params

    return count_ops_and_params(model, image)[0]


def _thop(model: nn.Module, image: torch.Tensor) -> float:
    from thop import profile

    return profile(model, inputs=(image,), verbose=False)[0]


def _ptflops(backend: str) -> Callable[[nn.Module, torch.Tensor], float]:
    def ask(model: nn.Module, image: torch.Tensor) -> float:
        from ptflops import get_model_complexity_info

        return get_model_complexity_info(
            model,
            tuple(image.shape[1:]),
            as_strings=False,
            backend=backend,
            print_per_layer_stat=False,
        )[0]

    return ask


def _torchinfo(model: nn.Module, image: torch.Tensor) -> float:
    from torchinfo import summary

    return summary(model, input_data=image, verbose=0).total_mult_adds


COUNTERS = (
    Counter(
        "torch-pruning",
        "torch-pruning",
        "torch_pruning.utils.count_ops_and_params(model, x)[0]",
        _torch_pruning,
    ),
    Counter("thop", "thop", "thop.profile(model, inputs=(x,))[0]", _thop),
    Counter(
        "ptflops (pytorch)",
        "ptflops",
        "ptflops.get_model_complexity_info(model, size, as_strings=False, backend='pytorch')[0]",
        _ptflops("pytorch"),
    ),
    Counter(
        "ptflops (aten)",
        "ptflops",
        "ptflops.get_model_complexity_info(model, size, as_strings=False, backend='aten')[0]",
        _ptflops("aten"),
    ),
    Counter(
        "torchinfo",
        "torchinfo",
        "torchinfo.summary(model, input_data=x).total_mult_adds",
        _torchinfo,
    ),
)
"""All of them call what they count MACs or multiply-adds; nothing is halved."""

LEFT_OUT = {
    "calflops": "release 0.3.2 cannot be imported without transformers, which it does not declare",
}
"""Counters that are not asked, and why."""
