"""What each layer does in one forward pass, without its children: its time, and its work."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.costs.followed import count_macs
from analysis.errors import InputError
from analysis.latencies.clocks import Clock
from analysis.network.inference import Inputs, forward, hookable, module_scope, run_hooked, walk
from analysis.processes import budgets
from analysis.records import COLUMNS, LayerCost

__all__ = ["Worked", "own_times", "work_of"]


@contextmanager
def own_times(
    model: nn.Module, inputs: Inputs, device: torch.device
) -> Iterator[Callable[[], dict[str, float]]]:
    """What runs a model once and returns the seconds of each module that is called.

    A module's time is that of its forward and of its hooks, less that of modules that it calls, and
    on a GPU waits for what it has started. The times add up to that of the model; what starting
    and ending a clock takes is counted for the module that calls.
    """
    watch = _Watch(Clock(device))
    handles = []
    try:
        for name, module in hookable(model):
            handles.append(module.register_forward_pre_hook(watch.entering(name), prepend=True))
            handles.append(module.register_forward_hook(watch.leave))
        yield lambda: watch.run(model, inputs)
    finally:
        with budgets.undisturbed():
            for handle in handles:
                handle.remove()


class _Watch:
    """The modules that are running, with when each began and what those inside it took."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: list[tuple[str, float]] = []
        self._inside: list[float] = [0.0]
        self._own: defaultdict[str, float] = defaultdict(float)

    def run(self, model: nn.Module, inputs: Inputs) -> dict[str, float]:
        self._own, self._running, self._inside = defaultdict(float), [], [0.0]
        forward(model, inputs)
        return dict(self._own)

    def entering(self, name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self._inside.append(0.0)
            self._running.append((name, self._clock()))

        return enter

    def leave(self, *_: Any) -> None:
        now = self._clock()
        name, start = self._running.pop()
        self._own[name] += now - start - self._inside.pop()
        self._inside[-1] += now - start


@dataclass(frozen=True)
class Worked:
    """The work of one layer, without its children.

    Attributes:
        kind: class name of the module.
        column: of `COLUMNS`, where most of its MACs are; elementwise without any.
        calls: in one pass.
        macs: None where they are not counted.
        bytes: that its operators read and write.
        widths: the first two sizes of its weight.
    """

    kind: str
    column: str
    calls: int
    macs: int | None
    bytes: int
    widths: tuple[int, ...]


def work_of(model: nn.Module, inputs: Inputs) -> tuple[dict[str, Worked], str]:
    """The work of each module that is called, in model order, and why its MACs are not known."""
    calls, moved = _run_once(model, inputs)
    try:
        columns, uncounted = _columns(count_macs(model, inputs).layers, calls), ""
    except InputError as error:
        columns, uncounted = {}, str(error)
    found = {
        name: Worked(
            type(module).__name__,
            _most(columns.get(name, Counter())),
            calls[name],
            None if uncounted else columns.get(name, Counter()).total(),
            moved[name],
            _widths(module),
        )
        for name, module in model.named_modules()
        if name in calls
    }
    return found, uncounted


def _run_once(model: nn.Module, inputs: Inputs) -> tuple[Counter[str], Counter[str]]:
    """How often each module is called, and the bytes of its operators."""
    calls = Counter[str]()
    with module_scope(model) as scope, _Moved(scope) as moved:
        run_hooked(model, inputs, lambda name, *_: calls.update([name]))
    return calls, moved.bytes


class _Moved(TorchDispatchMode):
    """Counts what operators read and write, by the module whose forward is running."""

    def __init__(self, scope: list[str]) -> None:
        super().__init__()
        self._scope = scope
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read, written = _in_memory([args, kwargs or {}]), _in_memory(result)
        # Without a scope it is none of the model's, as what keeps a copy of its buffers.
        if self._scope and (func._schema.is_mutable or not _shares(read, written)):
            self.bytes[self._scope[-1]] += sum(each.nbytes for each in [*read, *written])
        return result


def _in_memory(value: Any) -> list[Tensor]:
    """The tensors in a value; those of other layouts, as sparse ones, tell no size."""
    return [each for each in walk(value) if each.layout is torch.strided]


def _shares(read: Iterable[Tensor], written: Iterable[Tensor]) -> bool:
    """Whether a result is another look at an operand, which moves nothing."""
    held = {each.untyped_storage()._cdata for each in read}
    return any(each.untyped_storage()._cdata in held for each in written)


def _columns(rows: Iterable[LayerCost], called: Collection[str]) -> dict[str, Counter[str]]:
    """MACs by column of each module that is called.

    A layer that is not is computed by the module around it, from its weights alone.
    """
    found: dict[str, Counter[str]] = {}
    for row in rows:
        name = row.layer
        while name not in called:
            name = name.rpartition(".")[0]
        macs = dict(zip(COLUMNS, row.columns, strict=True))
        found.setdefault(name, Counter()).update(macs)
    return found


def _most(macs: Counter[str]) -> str:
    return macs.most_common(1)[0][0] if macs.total() else COLUMNS[-1]


def _widths(module: nn.Module) -> tuple[int, ...]:
    weight = getattr(module, "weight", None)
    return tuple(weight.shape[:2]) if isinstance(weight, Tensor) and weight.dim() > 1 else ()
