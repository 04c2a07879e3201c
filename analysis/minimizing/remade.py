"""Modules of torch.nn as constructor calls, so that they can be built in another size."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from analysis.network.inference import copy_of

__all__ = ["WIDTHS", "Kept", "Maker", "Remade", "maker_of"]

WIDTHS = ("out_channels", "out_features", "hidden_size")
"""Arguments with the number of output channels."""

_READ = {
    "in_channels": 1,
    "in_features": -1,
    "num_features": 1,
    "num_channels": 1,
    "embed_dim": -1,
    "input_size": -1,
}
"""Arguments with the number of input channels, and the axis of the input."""

_PLAIN = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
"""The simplest convolution."""


@dataclass(frozen=True)
class Remade:
    """A call of a class of torch.nn.

    Attributes:
        kind: the class.
        options: its arguments by name, without those that are the default.
    """

    kind: type[nn.Module]
    options: Mapping[str, Any]

    def build(self) -> nn.Module:
        """A fresh module."""
        return self.kind(**self.options).eval()

    @property
    def text(self) -> str:
        """The call as Python code; required arguments without names."""
        required = _signature(self.kind)
        words = [
            repr(value) if required[name] is inspect.Parameter.empty else f"{name}={value!r}"
            for name, value in self.options.items()
        ]
        return f"torch.nn.{self.kind.__name__}({', '.join(words)})"

    def fitted(self, given: Any) -> "Remade":
        """The same for an input of another size."""
        if not isinstance(given, Tensor):
            return self
        found: dict[str, Any] = {
            name: given.shape[axis]
            for name, axis in _READ.items()
            if name in self.options and given.dim() > axis
        }
        if "normalized_shape" in self.options:
            found["normalized_shape"] = tuple(given.shape[-len(self.options["normalized_shape"]) :])
        if self.is_depthwise and "in_channels" in found:
            into = found["in_channels"]
            multiplier = self.options["out_channels"] // self.options["in_channels"]
            found |= {"groups": into, "out_channels": into * multiplier}
        return self.having(found)

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is convolved alone."""
        groups = self.options.get("groups", 1)
        return bool(groups > 1 and groups == self.options.get("in_channels"))

    def having(self, changed: Mapping[str, Any]) -> "Remade":
        """The same call with other values of some arguments."""
        options = {
            name: changed.get(name, self.options.get(name, default))
            for name, default in _signature(self.kind).items()
            if name in changed or name in self.options
        }
        return replace(self, options=_told(self.kind, options))

    @property
    def plainer(self) -> list["Remade"]:
        """Simpler ones: the simplest convolution first, then one argument at a time."""
        plain = {name: value for name, value in _PLAIN.items() if name in _signature(self.kind)}
        if "out_channels" not in self.options:
            return []
        tries = [plain, *({name: value} for name, value in plain.items())]
        return [other for each in tries if (other := self.having(each)) != self]


@dataclass(frozen=True, eq=False)
class Kept:
    """A user's module that cannot be traced: kept as it is, and never written to a script."""

    module: nn.Module

    @property
    def text(self) -> str:
        """The call is not known."""
        return ""

    @property
    def plainer(self) -> list[Remade]:
        """Nothing is."""
        return []

    def build(self) -> nn.Module:
        """A copy."""
        return copy_of(self.module).eval()

    def fitted(self, _: Any) -> "Kept":
        """It takes what it takes."""
        return self


Maker = Remade | Kept


def maker_of(module: nn.Module) -> Remade | None:
    """The call that builds a module; None if its attributes do not show it.

    torch.nn keeps most arguments of a constructor as attributes of the same name.
    """
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.") or getattr(nn, kind.__name__, None) is not kind:
        return None
    try:
        found = Remade(kind, _told(kind, _arguments(module)))
        same = repr(found.build()) == repr(module)
    except Exception:  # an argument that no attribute keeps
        return None
    return found if same else None


def _arguments(module: nn.Module) -> dict[str, Any]:
    options = {}
    for name, default in _signature(type(module)).items():
        value = getattr(module, name, default)
        if isinstance(value, Tensor) or (name == "bias" and value is None):
            value = value is not None
        options[name] = value
    return options


def _told(kind: type[nn.Module], options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in their shortest form: no defaults, one number for equal ones."""
    short = {}
    for name, default in _signature(kind).items():
        if name in options:
            value = _short(options[name], name)
            if default is inspect.Parameter.empty or value != _short(default, name):
                short[name] = value
    return short


def _short(value: Any, name: str) -> Any:
    if isinstance(value, tuple) and name in _PLAIN and len(set(value)) == 1:
        return value[0]
    return tuple(value) if name == "normalized_shape" else value


def _signature(kind: Any) -> dict[str, Any]:
    """Arguments of a constructor with their defaults."""
    parameters = inspect.signature(kind).parameters.values()
    if issubclass(kind, nn.RNNBase):  # which passes on what it is given
        base = inspect.signature(nn.RNNBase).parameters.values()
        own = {"nonlinearity": "tanh"} if issubclass(kind, nn.RNN) else {}
        return {e.name: e.default for e in base if e.name not in ("mode", "device", "dtype")} | own
    if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
        raise TypeError(f"{kind.__name__} takes any arguments")
    return {each.name: each.default for each in parameters if each.name not in ("device", "dtype")}
