"""Which operator of the model's code made a result, so that errors name its line."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from analysis.network.computed_weights import computed
from analysis.network.inference import FunctionMode, Inputs, forward, module_scope, walk
from analysis.network.lines import frames_of, line_of_user, said
from analysis.network.modules import named_modules

__all__ = ["Operator", "Operators", "watched"]

_ADDITIONS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
_PRODUCTS = frozenset({"mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"})


@dataclass(frozen=True)
class Operator:
    """One call of an operator: its name, the module whose forward calls it, and the line.

    ``adds`` says that it adds two activations of one shape, ``multiplies`` that it multiplies two
    with as many channels, as a gate does.
    """

    name: str
    module: str
    file: str
    line: int
    adds: bool
    multiplies: bool = False

    def __str__(self) -> str:
        where = f"`{self.module}`" if self.module else "the model's own forward"
        if not self.file:
            return f"operator {self.name} in {where}"
        return f"operator {self.name} in {where}, {said(self.file, self.line)}"


class Operators(FunctionMode):
    """Notes each operator by the autograd node of its result while the model runs.

    Args:
        model: the network.
        scope: the modules whose forward is running, see `analysis.network.inference.module_scope`.
        inputs: for another run of the model, if a node belongs to a graph that was built before.
    """

    def __init__(self, model: nn.Module, scope: list[str], inputs: Inputs | None = None) -> None:
        super().__init__()
        self._model = model
        self._inputs = inputs
        self._names = {module: name for name, module in named_modules(model).items()}
        self._scope = scope
        self._made: dict[Any, Operator] = {}
        self._alike: dict[Any, Operator] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        two = len(args) == 2 and all(
            isinstance(arg, Tensor) and arg.grad_fn is not None for arg in args
        )
        adds = two and name in _ADDITIONS and args[0].shape == args[1].shape
        multiplies = two and name in _PRODUCTS and args[0].shape[:2] == args[1].shape[:2]
        result = func(*args, **(kwargs or {}))
        nodes = [tensor.grad_fn for tensor in walk(result) if tensor.grad_fn is not None]
        if nodes and self._scope:
            place = line_of_user(sys._getframe(1))
            operator = Operator(name.strip("_"), self._scope[-1], *place, adds, multiplies)
            for node in nodes:
                self._made[node] = operator
        return result

    def additions(self) -> dict[Any, str]:
        """By autograd node of a sum, the module whose forward adds."""
        return {node: operator.module for node, operator in self._made.items() if operator.adds}

    def products(self) -> dict[Any, str]:
        """By autograd node of a product of activations, the module whose forward multiplies."""
        return {
            node: operator.module for node, operator in self._made.items() if operator.multiplies
        }

    def of(self, node: Any) -> str:
        """The operator of a node of torch-pruning's graph, in words; empty if it is not known."""
        name = self._names.get(node.module)
        if name is not None:
            return _layer(name, node.module)
        made = self._maker(node.grad_fn)
        if made is not None:
            return str(made)
        called = getattr(node.grad_fn, "name", None)
        return f"operator {_function(called())}" if called else ""

    def _maker(self, node: Any) -> Operator | None:
        """The operator that made an autograd node, or one just like it."""
        if node is None:
            return None
        if node in self._made or not hasattr(node, "next_functions"):
            return self._made.get(node)
        if self._alike is None:
            self._alike = dict(self._by_origin())
        return self._alike.get(_origin(node, {}))

    def _by_origin(self) -> Iterator[tuple[Any, Operator]]:
        """Operators by what their autograd nodes are computed from, those between two included."""
        if not self._made and self._inputs is not None:
            with suppress(Exception), torch.enable_grad(), watched(self._model, self):
                forward(self._model, self._inputs)
        known: dict[Any, Any] = {}
        seen = set(self._made)
        for made, operator in self._made.items():
            pending = [made]
            for node in pending:
                yield _origin(node, known), operator
                inner = {each for each, _ in node.next_functions if each is not None} - seen
                seen |= inner
                pending += inner

    def blamed(self, error: BaseException) -> str:
        """What torch-pruning was processing when it raised, in words; empty if it is not known."""
        for frame in _looking(frames_of(error.__traceback__)):
            for value in frame.f_locals.values():
                node = getattr(value, "target", value)
                if hasattr(node, "grad_fn") and hasattr(node, "dependencies"):
                    words = self.of(node)
                elif isinstance(value, nn.Module) and self._names.get(value):
                    words = _layer(self._names[value], value)
                else:
                    words = ""
                if words:
                    return words
        return ""


def _looking(frames: Sequence[FrameType]) -> Iterator[FrameType]:
    """Those of torch-pruning's, and what it has called; the innermost first.

    A pruner's constructor goes through its arguments, which does not count as using them.
    """
    own = [frame.f_globals.get("__name__", "").startswith("torch_pruning.") for frame in frames]
    last = max((place for place, is_own in enumerate(own) if is_own), default=-1)
    for frame, is_own in zip(frames[: last + 1], own, strict=False):
        if not (is_own and frame.f_code.co_name == "__init__"):
            yield frame


@contextmanager
def watched(
    model: nn.Module, operators: Operators | None = None, inputs: Inputs | None = None
) -> Iterator[Operators]:
    """Note every operator that ``model`` calls inside the block, and none that others call.

    ``inputs`` as `Operators`.
    """
    with module_scope(model) as scope:
        noting = operators or Operators(model, scope, inputs)
        noting._scope = scope
        hooks = [
            model.register_forward_pre_hook(lambda *_: noting.__enter__() and None),
            model.register_forward_hook(
                lambda *_: noting.__exit__(None, None, None), always_call=True
            ),
        ]
        try:
            yield noting
        finally:
            for hook in hooks:
                hook.remove()


def _origin(node: Any, known: dict[Any, Any]) -> int:
    """The key of an autograd node by its inputs: equal in two passes of one network.

    ``known`` caches keys; a graph is as deep as its network.
    """
    pending = [node]
    while pending:
        last = pending[-1]
        before = [each for each, _ in last.next_functions if each is not None]
        missing = [each for each in before if each not in known]
        if missing:
            pending += missing
            continue
        pending.pop()
        places = tuple((known.get(each), place) for each, place in last.next_functions)
        known[last] = hash((last.name(), places, id(getattr(last, "variable", None))))
    found: int = known[node]
    return found


def _layer(name: str, module: nn.Module) -> str:
    """A layer in words, with what torch-pruning cannot cut of it."""
    tensor, call = computed(module)
    if tensor:
        return (
            f"layer `{name}`, whose `{tensor}` is computed in each call and no parameter to cut "
            f"(end that first: {call})"
        )
    return f"layer `{name}`" if name else "the model's own forward"


def _function(node: str) -> str:
    """PyTorch's function of an autograd node: ``split`` of ``UnsafeSplitBackward0``."""
    stem = re.sub(r"Backward\d*$", "", node).removeprefix("Unsafe")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem).lower()
