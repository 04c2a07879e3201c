"""Which operator of the model's code made what, so that trouble can be traced to its line."""

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from torch import Tensor, nn

from analysis.network.inference import FunctionMode, is_users, module_scope, walk

__all__ = ["Operator", "Operators", "watched"]

_ADDITIONS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})


@dataclass(frozen=True)
class Operator:
    """One call of an operator: its name, the module whose forward calls it, and the line.

    ``adds`` says that it adds two activations of one shape.
    """

    name: str
    module: str
    file: str
    line: int
    adds: bool

    def __str__(self) -> str:
        where = f"`{self.module}`" if self.module else "the model's own forward"
        if not self.file:
            return f"operator {self.name} in {where}"
        text = linecache.getline(self.file, self.line).strip()
        place = f"{_short(Path(self.file))}:{self.line}"
        return f"operator {self.name} in {where}, {place}" + (f": {text}" if text else "")


class Operators(FunctionMode):
    """Notes each operator by the autograd node of its result while the model runs."""

    def __init__(self, model: nn.Module, scope: list[str]) -> None:
        super().__init__()
        self._names = {module: name for name, module in model.named_modules()}
        self._scope = scope
        self._made: dict[Any, Operator] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        adds = (
            name in _ADDITIONS
            and len(args) == 2
            and all(isinstance(arg, Tensor) and arg.grad_fn is not None for arg in args)
            and args[0].shape == args[1].shape
        )
        result = func(*args, **(kwargs or {}))
        nodes = [tensor.grad_fn for tensor in walk(result) if tensor.grad_fn is not None]
        if nodes and self._scope:
            place = _line_of_user(sys._getframe(1))
            operator = Operator(name.strip("_"), self._scope[-1], *place, adds)
            for node in nodes:
                self._made[node] = operator
        return result

    def additions(self) -> dict[Any, str]:
        """By autograd node of a sum, the module whose forward adds."""
        return {node: operator.module for node, operator in self._made.items() if operator.adds}

    def of(self, node: Any) -> str:
        """What a node of torch-pruning's graph stands for, in words; empty if it is not known."""
        name = self._names.get(node.module)
        if name is not None:
            return f"layer `{name}`"
        made = self._made.get(node.grad_fn)
        if made is not None:
            return str(made)
        called = getattr(node.grad_fn, "name", None)
        return f"operator {called()}" if called else ""

    def blamed(self, error: BaseException) -> str:
        """What torch-pruning was looking at when it raised, in words; empty if it is not known."""
        for frame in _frames(error.__traceback__):
            for value in frame.f_locals.values():
                node = getattr(value, "target", value)
                if hasattr(node, "grad_fn") and hasattr(node, "dependencies"):
                    words = self.of(node)
                elif isinstance(value, nn.Module) and value in self._names:
                    words = f"layer `{self._names[value]}`" if self._names[value] else ""
                else:
                    words = ""
                if words:
                    return words
        return ""


@contextmanager
def watched(model: nn.Module) -> Iterator[Operators]:
    """Note every operator that ``model`` calls inside the block, and none that others call."""
    with module_scope(model) as scope:
        operators = Operators(model, scope)
        hooks = [
            model.register_forward_pre_hook(lambda *_: operators.__enter__() and None),
            model.register_forward_hook(
                lambda *_: operators.__exit__(None, None, None), always_call=True
            ),
        ]
        try:
            yield operators
        finally:
            for hook in hooks:
                hook.remove()


def _frames(trace: TracebackType | None) -> list[FrameType]:
    """The frames of a traceback, the innermost first."""
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames[::-1]


def _line_of_user(frame: FrameType | None) -> tuple[str, int]:
    """The file and line of the innermost frame that is neither torch's nor ours."""
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _short(path: Path) -> str:
    """A path from the working directory, or from where packages are installed."""
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    parts = path.parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    return str(path)
