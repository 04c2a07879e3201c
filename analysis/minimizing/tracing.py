"""Trace a network to a graph of its operators, with sizes computed from inputs.

torch.fx cannot trace a network that depends on values. Here each operator also runs on the example
inputs, so that values are known.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from analysis.minimizing.remade import maker_of
from analysis.network.inference import Inputs, as_arguments
from analysis.network.outputs import counted

__all__ = ["Tracer", "called"]


def called(root: nn.Module, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The value of a graph node, computed from values."""
    target: Any = node.target
    if node.op == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    if node.op == "call_module":
        return root.get_submodule(target)(*args, **kwargs)
    if node.op == "call_function":
        return target(*args, **kwargs)
    owner, _, name = target.rpartition(".")
    return getattr(root.get_submodule(owner), name)


class _Valued(fx.Proxy):
    """A proxy whose value on the example inputs is known."""

    value: Any = None

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # A forward may ask whether it was given a tensor.
        return Tensor if isinstance(self.value, Tensor) else _Valued

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.value, name)
        if callable(found) and not isinstance(found, Tensor):
            return fx.proxy.Attribute(self, name)
        if isinstance(found, Tensor | torch.Size):
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return found

    def __len__(self) -> int:
        return len(self.value)

    def __index__(self) -> int:
        return int(self.value.__index__())

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)


class Tracer(fx.Tracer):
    """Traces a network on given inputs, by name.

    A module that cannot be traced stays one node.
    """

    proxy_buffer_attributes = True

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        args, kwargs = as_arguments(inputs)
        self._given = inspect.signature(model.forward).bind(*args, **kwargs)
        tensors = {
            name: value
            for name, value in self._given.arguments.items()
            if isinstance(value, Tensor)
        }
        self.inputs: dict[str, Tensor] = tensors
        self._runs = False

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Trace the tensors among the inputs, keep other inputs, and select the outputs."""
        del is_module, concrete_args
        for name in self.inputs:
            self._given.arguments[name] = self.create_proxy("placeholder", name, (), {})

        def what_counts(root: nn.Module, *args: Any) -> Any:
            found = counted(root, root_fn(root, *args, **self._given.kwargs))
            return found[0] if isinstance(found, list) and len(found) == 1 else found

        return what_counts, [self.root, *self._given.args]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether it can be built by one constructor call."""
        return maker_of(m) is not None

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A parameter is a node, but where an operator is run."""
        if self._runs:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace into modules, down to layers that can be built again."""
        if self._runs:
            return forward(*args, **kwargs)
        if self.is_leaf_module(m, ""):
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)

    def proxy(self, node: fx.Node) -> _Valued:
        """With a value."""
        return _Valued(node, self)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any
    ) -> Any:
        """The operator, which is run as well."""
        proxy: Any = super().create_proxy(kind, target, args, kwargs, *rest, **named)
        if kind == "placeholder":
            proxy.value = self.inputs[target]
        elif kind != "output":
            values = fx.node.map_aggregate((args, kwargs), _value)
            proxy.value = self._run(proxy.node, *values)
        return proxy

    @torch.no_grad()
    def _run(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """The value of a node; operators inside of modules are not in the graph."""
        self._runs = True
        try:
            return called(self.root, node, args, kwargs)
        finally:
            self._runs = False

    def create_arg(self, a: Any) -> Any:
        """A proxy that claims to be a tensor is still a proxy."""
        return a.node if issubclass(type(a), fx.Proxy) else super().create_arg(a)

    def to_bool(self, obj: Any) -> bool:
        """As it is for the example inputs."""
        return bool(obj.value)

    def iter(self, obj: Any) -> Iterator[Any]:
        """Each part is a node."""
        return iter([obj[place] for place in range(len(obj.value))])

    def keys(self, obj: Any) -> Any:
        """As they are for the example inputs."""
        return obj.value.keys()


def _value(proxy: Any) -> Any:
    return proxy.value if issubclass(type(proxy), _Valued) else proxy
