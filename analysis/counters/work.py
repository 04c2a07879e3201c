"""What one forward pass calls: modules, and the functions that their forwards call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.network.inference import walk
from analysis.records import CostTable

__all__ = ["Call", "Work", "observe"]


@dataclass(frozen=True)
class Call:
    """A call of a module, or of a function.

    Attributes:
        callee: the module, or the function of torch.
        caller: the class of the module whose forward calls it.
        read: shapes of the tensors that it is given.
        made: shape of the first tensor that it returns.
    """

    callee: Any
    caller: type
    read: tuple[torch.Size, ...]
    made: torch.Size

    @property
    def elements_read(self) -> int:
        """Elements of its first input."""
        return prod(self.read[0])

    @property
    def elements_made(self) -> int:
        """Elements of its output."""
        return prod(self.made)


@dataclass(frozen=True)
class Work:
    """One forward pass: its MACs, and what was called for them.

    Attributes:
        table: where the MACs are.
        calls: calls of modules and of functions, each in order.
        names: the names of the modules called.
    """

    table: CostTable
    calls: tuple[Call, ...]
    names: frozenset[str]

    def modules(self, *kinds: type[nn.Module]) -> Iterator[Call]:
        """Calls of modules of exactly these classes, as counters look their rules up by class."""
        return (call for call in self.calls if type(call.callee) in kinds)

    def instances(self, *kinds: type[nn.Module]) -> Iterator[Call]:
        """Calls of modules of these classes and of those made from them."""
        return (call for call in self.calls if isinstance(call.callee, kinds))

    def functions(self, *functions: Callable[..., Any]) -> Iterator[Call]:
        """Calls of these functions that a forward makes itself."""
        return (call for call in self.calls if call.callee in functions)


class _Observer(TorchFunctionMode):
    """Notes every module called and every function of torch that a forward calls itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.names: set[str] = set()
        self._running: list[type] = [object]
        self._hooks = [
            hook
            for name, module in model.named_modules()
            for hook in (
                module.register_forward_pre_hook(partial(self._enter, name)),
                module.register_forward_hook(self._leave),
            )
        ]

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        self._note(func, (args, kwargs), answer)
        return answer

    def _enter(self, name: str, module: nn.Module, given: Any) -> None:
        self.names.add(name)
        self._running.append(type(module))

    def _leave(self, module: nn.Module, given: Any, answer: Any) -> None:
        self._running.pop()
        self._note(module, given, answer)

    def _note(self, callee: Any, given: Any, answer: Any) -> None:
        read = tuple(tensor.shape for tensor in walk(given))
        made = next((tensor.shape for tensor in walk(answer)), None)
        if read and made is not None:
            self.calls.append(Call(callee, self._running[-1], read, made))


def observe(model: nn.Module, image: Tensor, table: CostTable) -> Work:
    """Run the model once and note what is called.

    Args:
        model: the network, which is left as it was.
        image: its input.
        table: where the MACs of this pass are.
    """
    observer = _Observer(model)
    try:
        # With gradients, nn.MultiheadAttention does not take its fused path.
        with torch.enable_grad(), observer:
            model(image)
    finally:
        observer.close()
    return Work(table, tuple(observer.calls), frozenset(observer.names))
