"""One forward pass with labelled channels."""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.network.inference import (
    Inputs,
    OperatorMode,
    forward,
    left_as_found,
    module_scope,
    named_tensors,
    one_line,
    tensors_of,
)
from analysis.network.labels import operators, reasons
from analysis.network.labels.aliases import Aliases
from analysis.network.labels.arguments import constants_of
from analysis.network.labels.calls import (
    Call,
    StoppedError,
    follows_inputs,
    is_fresh,
    is_own,
    is_uniform,
    planes_of,
)
from analysis.network.labels.meeting import Meeting
from analysis.network.labels.numbered import follow_numbers, numbers_of
from analysis.network.labels.planes import Labels, Planes, axis_plane, labels_of
from analysis.network.labels.records import Inner, Numbered, Place, Source, Step, Trace
from analysis.network.labels.rules import COUNTED, follow
from analysis.network.labels.scaled import note_scaled
from analysis.network.labels.written_out import Functions, plain_operators
from analysis.network.operands import tensors_in
from analysis.network.sizes import Run, SizesOnly, computed

__all__ = ["labelled_pass", "plain_pass", "state_of"]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model that hold channels, by name; one that is shared has one name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in named_tensors(model).items():
        if tensor.is_floating_point() or tensor.is_complex():
            found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def labelled_pass(
    model: nn.Module,
    inputs: Inputs,
    labels: Mapping[tuple[str, int], Labels] | None = None,
    watch: Callable[[Step], None] | None = None,
    count: int = 1,
    calls: list[Step] | None = None,
    sizes: SizesOnly | None = None,
    run: Run | None = None,
) -> Trace:
    """Run a model once and follow its channels.

    Args:
        model: in eval mode.
        inputs: example inputs.
        labels: by tensor and dimension the labels of its positions; None numbers all of them.
        watch: called with each operator, also if no channel arrives; ends it by `StoppedError`.
        count: the first label that is free, where labels are given.
        calls: gets every operator before it runs, so that the last is the one that raises.
        sizes: runs the operators, see `analysis.network.sizes`; None computes everything.
        run: runs the operators in place of that.

    Raises:
        Exception: whatever the model's forward raises.
    """
    returned: dict[str, list[tuple[int, ...]]] = defaultdict(list)

    def left(module: str, output: Any) -> None:
        with torch._C.DisableTorchFunction():  # a mode would look at each function of these
            returned[module].append(tuple(next(map(Tensor.size, tensors_of(output)), ())))

    with _running(model, left) as (state, scope):
        trace = _numbered(state) if labels is None else Trace({}, {}, count=count)
        trace.returned = returned
        trace.calls = trace.calls if calls is None else calls
        if labels is None:
            every = np.arange(trace.count, dtype=np.int32)
            labels = {axis: every[n : n + trace.sizes[axis]] for axis, n in trace.starts.items()}
        for name, tensor in state.items():
            tensor._planes = _planes_of(name, tensor, labels)  # type: ignore[attr-defined]
        try:
            with (
                _as_inputs(inputs),
                plain_operators(sizes) as functions,
                _Tracer(trace, scope, watch, functions, run or _run_by(sizes)) as tracer,
            ):
                output = forward(model, inputs)
                tracer.arrive(tensors_of(output))
            trace.asks_sizes = functions.asks_sizes
            _note_output(trace, output)
            # Outside of the mode, which would follow what reads the labels as well.
            for tensor in tensors_of(output):
                tracer.leave(tensor)
            note_scaled(trace)
        except StoppedError:
            return trace
        finally:
            for tensor in state.values():
                del tensor._planes  # type: ignore[attr-defined]
    return trace


@contextmanager
def _as_inputs(inputs: Inputs) -> Iterator[None]:
    """The tensors are known as inputs in the block, so that a single number is no constant."""
    given = [*dict.fromkeys(tensors_of(inputs))]
    for tensor in given:
        tensor._is_input, tensor._fresh = True, False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for tensor in given:
            vars(tensor).pop("_is_input", None)
            vars(tensor).pop("_fresh", None)


def plain_pass(
    model: nn.Module,
    inputs: Inputs,
    watch: Callable[[Step], None] | None = None,
    sizes: SizesOnly | None = None,
    calls: list[Step] | None = None,
    run: Run | None = None,
) -> Trace:
    """Run a model once and note which operators it calls where and with what, following nothing.

    Args:
        model: in eval mode.
        inputs: example inputs.
        watch: called with each operator.
        sizes: as `labelled_pass`.
        calls: as `labelled_pass`.
        run: as `labelled_pass`.

    Raises:
        Exception: whatever the model's forward raises.
    """
    with (
        _running(model) as (_, scope),
        plain_operators(sizes) as functions,
        _Noting(
            [] if calls is None else calls, scope, watch, functions, run or _run_by(sizes)
        ) as noting,
    ):
        output = forward(model, inputs)
        noting.arrive(tensors_of(output))
    trace = Trace({}, {}, calls=noting.calls, asks_sizes=functions.asks_sizes)
    _note_output(trace, output)
    return trace


def _run_by(sizes: SizesOnly | None) -> Run:
    return computed if sizes is None else sizes.run


@contextmanager
def _running(
    model: nn.Module, left: Callable[[str, Any], None] | None = None
) -> Iterator[tuple[dict[str, Tensor], list[str]]]:
    """The tensors of a model, known by name in the block, and whose forward is running.

    ``left`` is as `module_scope` takes it.
    """
    state = state_of(model)
    for name, tensor in state.items():
        tensor._own, tensor._source = True, name  # type: ignore[attr-defined]
        tensor._weight = name  # type: ignore[attr-defined]
    try:
        with left_as_found(model), module_scope(model, left) as scope, torch.no_grad():
            yield state, scope
    finally:
        for tensor in state.values():
            del tensor._own, tensor._source, tensor._weight  # type: ignore[attr-defined]
            vars(tensor).pop("_pass", None)  # of one that forward writes to


def _note_output(trace: Trace, output: Any) -> None:
    trace.output = _kinds_of(output)
    trace.left = tuple(map(_source, tensors_of(output)))


def _kinds_of(value: Any) -> Any:
    """What an output is made of: types, keys, dtypes and words, as far as they can be compared."""
    if isinstance(value, Tensor):
        return str(value.dtype), value.dim()
    if isinstance(value, Mapping):
        return type(value).__name__, {key: _kinds_of(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value).__name__, [_kinds_of(inner) for inner in value]
    return repr(value) if isinstance(value, str | bool | None) else type(value).__name__


def _numbered(state: Mapping[str, Tensor]) -> Trace:
    starts, sizes, count = {}, {}, 1
    for name, tensor in state.items():
        for dim, size in enumerate(tensor.shape):
            if size > 1:
                starts[name, dim], sizes[name, dim] = count, size
                count += size
    return Trace(starts, sizes, count=count)


def _planes_of(name: str, tensor: Tensor, labels: Mapping[tuple[str, int], Labels]) -> Planes:
    dims = tensor.dim()
    found = ((dim, labels.get((name, dim))) for dim in range(dims))
    return tuple(axis_plane(row, dims, dim) for dim, row in found if row is not None)


_OWN = tuple(
    os.path.dirname(path) + os.sep
    for path in (torch.__file__, os.path.dirname(os.path.dirname(__file__)))
)


def _source(value: Tensor) -> Source:
    return getattr(value, "_source", None)


def _weights(operands: Sequence[Any]) -> tuple[str, ...]:
    """Names of the model's tensors among operands, those of most dimensions first."""
    held = [value for value in operands if getattr(value, "_weight", "")]
    if len(held) > 1:
        held.sort(key=lambda value: -value.dim())
    return tuple([value._weight for value in held])


def _moved(step: Step, operands: Sequence[Tensor]) -> str:
    """Name of the model's tensor whose elements an operator moves; empty for none."""
    is_moved = step.place.operator in operators.MOVED
    return getattr(operands[0], "_weight", "") if is_moved else ""


def _shapes(values: Iterable[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple([tuple(value.shape) for value in values])


def _line() -> tuple[str, Inner]:
    """The line of the user's code that is running, and the calls from there on.

    A line may call several layers.
    """
    frame = sys._getframe(3)
    inner: list[tuple[CodeType, int]] = []
    while frame is not None and frame.f_code is not forward.__code__:
        inner.append((frame.f_code, frame.f_lasti))
        name = _users(frame.f_code.co_filename)
        if name:
            return f"{name}:{frame.f_lineno}", tuple(inner)
        frame = frame.f_back  # type: ignore[assignment]
    return "", tuple(inner)


@cache
def _users(path: str) -> str:
    """The name of a file of the user's; empty for PyTorch's and our own."""
    return "" if path.startswith((*_OWN, "<")) else os.path.basename(path)


_NOTED = frozenset(
    {
        "_fresh", "_is_input", "_numbers", "_own", "_pass", "_planes", "_source", "_weight",
    }
)  # fmt: skip
"""What a pass notes of the tensors that it makes."""


class _Noting(OperatorMode):
    """Notes every operator of one pass, where it is called, with what, and what made that."""

    def __init__(
        self,
        calls: list[Step],
        scope: list[str],
        watch: Callable[[Step], None] | None,
        functions: Functions,
        run: Run,
    ) -> None:
        super().__init__()
        self.calls = calls
        self._functions = functions
        self._run = run
        self._scope = scope
        self._watch = watch
        self._turns: dict[tuple[str, str, str], int] = {}
        self._token = object()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operands = tensors_in((*args, *kwargs.values()))
        step = self._opened(func, args, kwargs, operands)
        result = self._run(func, args, kwargs)
        for value in self._closed(step, operands, result):
            value._own = False  # type: ignore[attr-defined]
        if self._watch:
            self._watch(step)
        return result

    def arrive(self, values: Iterable[Tensor]) -> None:
        """Forget what another pass has noted of tensors, which a cache may hold since then."""
        for value in values:
            if getattr(value, "_pass", self._token) is not self._token:
                for noted in vars(value).keys() & _NOTED:
                    delattr(value, noted)

    def _opened(self, func: Any, args: Any, kwargs: Any, operands: Sequence[Tensor]) -> Step:
        """An operator that is about to run."""
        self._functions.note_operator()
        self.arrive(operands)
        line, inner = _line()
        site = operators.name_of(func), self._scope[-1] if self._scope else "", line
        turn = self._turns[site] = self._turns.get(site, 0) + 1
        step = Step(Place(*site), turn, inner)
        step.sources = tuple(map(_source, operands))
        step.given = _shapes(operands)  # what an operator works on in place has others behind it
        step.by_values = self._by_values(func, step, operands)
        step.weights = _weights(operands)
        step.constants = constants_of(func, args, kwargs)
        self.calls.append(step)
        return step

    def _by_values(self, func: Any, step: Step, operands: Sequence[Tensor]) -> bool:
        """Whether values decide its sizes; of an index only a mask does."""
        operator = step.place.operator
        is_masked = operator == "index" and any(each.dtype is torch.bool for each in operands)
        if is_masked or operators.sizes_by_values(func, operator):
            return True
        made_by = (each[0] for each in step.sources if isinstance(each, tuple))
        return any(self.calls[place].by_values for place in made_by)

    def _closed(self, step: Step, operands: Sequence[Tensor], result: Any) -> list[Tensor]:
        """What an operator has made."""
        made = tensors_in((result,))
        step.shapes = _shapes(made)
        is_copy = step.place.operator in operators.COPIES and step.sources
        moved = _moved(step, operands)
        for number, value in enumerate(made):
            value._pass = self._token  # type: ignore[attr-defined]
            value._weight = moved  # type: ignore[attr-defined]
            made_by = step.sources[0] if is_copy else (len(self.calls) - 1, number)
            value._source = made_by  # type: ignore[attr-defined]
        return made


class _Tracer(_Noting):
    """Follows every operator of one pass."""

    def __init__(
        self,
        trace: Trace,
        scope: list[str],
        watch: Callable[[Step], None] | None,
        functions: Functions,
        run: Run,
    ) -> None:
        super().__init__(trace.calls, scope, watch, functions, run)
        self.trace = trace
        self.meeting = Meeting(trace)
        self._aliases = Aliases()

    def leave(self, output: Tensor) -> None:
        """Channels that leave the model stay."""
        for plane in planes_of(output):
            self.meeting.hold(labels_of(plane), reasons.OUTPUT)
        # As the class that is largest, or those that are; a router's are read inside.
        numbers = numbers_of(output)
        for rows in numbers.rows if numbers is not None else ():
            self.meeting.hold(rows, reasons.OUTPUT)
            self.trace.numbered.append(Numbered(len(self.trace.calls) - 1, rows))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operands = tensors_in((*args, *kwargs.values()))
        step = self._opened(func, args, kwargs, operands)
        name, step.within = step.place.operator, self._functions.product
        step.of_inputs = any(follows_inputs(value, self.calls) for value in operands)
        self.trace.used.update(each for each in step.sources if isinstance(each, str))
        arriving = [plane for value in operands for plane in planes_of(value)]
        # What an operator writes to in place is read before.
        given: dict[int, tuple[Planes, bool | None]] = {
            id(value): (planes_of(value), None) for value in operands
        }
        if operands and func._schema.is_mutable and is_fresh(operands[0]):
            given[id(operands[0])] = planes_of(operands[0]), is_uniform(operands[0])
        result = self._run(func, args, kwargs)
        made = self._closed(step, operands, result)
        self._pass_on(step, operands, made)
        follows = bool(arriving) and name not in operators.FACTORIES
        are_numbers = any(numbers_of(value) is not None for value in operands)
        are_numbers &= name not in operators.FACTORIES
        if follows or name in COUNTED or are_numbers:
            bound = dict(zip(operators.arguments_of(func), args, strict=False))
            call = Call(
                meeting=self.meeting,
                step=step,
                within=self._functions.within,
                func=func,
                name=name,
                bound=bound | kwargs,
                args=args,
                kwargs=kwargs,
                operands=operands,
                given=given,
                made=made,
                aliases=self._aliases,
            )
            try:
                if follows or name in COUNTED:
                    follow(call)
                for use in follow_numbers(call):
                    self._note_use(use)
            except Exception as error:  # what cannot be followed is held, the rest goes on
                call.hold(call.arriving, f"{reasons.UNFOLLOWED} ({one_line(error)})")
        if follows or are_numbers:
            self._follow(step, arriving, made)
        else:
            fresh = name in operators.FACTORIES or (operands and all(map(is_fresh, operands)))
            for value in made:
                value._fresh = bool(fresh)  # type: ignore[attr-defined]
        if self._watch:
            self._watch(step)
        own = bool(operands) and all(is_own(value) or is_fresh(value) for value in operands)
        for value in made:
            value._own = own  # type: ignore[attr-defined]
            self._aliases.note(value)
        return result

    def _note_use(self, use: Numbered) -> None:
        """Positions of channels that are used so, for which these must stay.

        Of positions inside each of several rows, as of heads, whole rows may go.
        """
        self.trace.numbered.append(use)
        if use.is_used and len(use.rows) == 1:
            self.meeting.hold(use.rows, reasons.NUMBERED)

    def _pass_on(self, step: Step, operands: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        """A copy of an input is one."""
        if step.of_inputs and step.place.operator in operators.COPIES:
            for value in made:
                value._is_input = getattr(operands[0], "_is_input", False)  # type: ignore[attr-defined]

    def _follow(self, step: Step, arriving: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        """Channels arrive at this operator."""
        for value in made:
            value._fresh = False  # type: ignore[attr-defined]
        step.planes = tuple(tuple(planes_of(value)) for value in made)
        step.arriving = tuple(labels_of(plane).ravel() for plane in arriving)
        self.trace.steps.append(step)
