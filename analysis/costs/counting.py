"""Count MACs and parameters with fvcore. The only module that imports it.

Convention: one multiply-accumulate (MAC) is one fused multiply and add, which fvcore calls a
flop. Convolutions, products with weights and products of activations (attention) cost one for each
element of the result and each element summed over; these three agree with other counters. By
fvcore's rules a batch norm costs two an element with scale and shift, other norms five, adaptive
average pooling one. Operators without a rule (residual additions, activations, bias) are listed
beside the total; one that multiplies matrices is an error.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from analysis.costs import op_handles
from analysis.errors import InputError
from analysis.network.failures import locate_failure
from analysis.network.inference import (
    Inputs,
    aliased,
    as_arguments,
    left_as_found,
    one_line,
    tensors_of,
    walk,
)
from analysis.network.owners import charged
from analysis.network.usable import check_usable
from analysis.records import COLUMNS, CostTable, LayerCost

with warnings.catch_warnings():
    # fvcore applies torch.jit.script while it is imported, which torch deprecates.
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.flop_count import _DEFAULT_SUPPORTED_OPS

__all__ = ["Count", "by_fvcore"]

_HANDLES = {**_DEFAULT_SUPPORTED_OPS, **op_handles.ADDED}


def by_fvcore(model: nn.Module, example_inputs: Inputs) -> CostTable:
    """MACs and parameters of each module of ``model``, without its children's, or an error.

    A module is charged for all operators on its weights, wherever they are called, and for the
    other operators of its own forward. The model is not changed: a copy is traced, in eval mode.

    Args:
        model: the network.
        example_inputs: a tensor, a tuple or a dict; the count is for exactly these.

    Raises:
        InputError: the model does not run on the inputs, fvcore cannot trace it, or it multiplies
            matrices in an operator that has no rule.
    """
    check_usable(model)
    count = Count(aliased(model, requires_grad=False))
    count.run(example_inputs)
    return count.table()


def _traced(
    model: nn.Module,
    inputs: tuple[Any, ...],
    handle_for: Callable[[str, Any], Any],
    rules: Mapping[str, Any],
) -> Counter[str]:
    """Trace the model, show every operator that has a rule to its handle; return the others."""
    analysis = FlopCountAnalysis(model, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    # The layer of an operator is found by its weights, not by fvcore.
    analysis.tracer_warnings("none").ancestor_mode("caller").clear_op_handles()
    analysis.set_op_handle(**{kind: handle_for(kind, rule) for kind, rule in rules.items()})
    analysis.by_operator()
    return analysis.unsupported_ops()


def _may_hide_work(kind: str) -> bool:
    """Whether an operator without a rule multiplies matrices, or may do so."""
    return kind in op_handles.MATRIX_LIKE or not kind.startswith("aten::")


@contextmanager
def _of_tensors_alone(model: nn.Module, example_inputs: Inputs) -> Iterator[tuple[Any, ...]]:
    """Inputs as fvcore takes them, tensors by position; ``model`` returns its tensors alone.

    Other outputs, such as a cache, cannot be traced.
    """
    args, kwargs = as_arguments(example_inputs)
    given = {name: value for name, value in kwargs.items() if list(walk(value))}
    own = model.forward

    def forward(*tensors: Any) -> Any:
        named = dict(zip(given, tensors[len(args) :], strict=True))
        output = own(*tensors[: len(args)], **{**kwargs, **named})
        return output if isinstance(output, Tensor) else tuple(tensors_of(output))

    model.forward = forward
    try:
        yield (*args, *given.values())
    finally:
        model.forward = own


@contextmanager
def _written_out() -> Iterator[None]:
    """Keep transformers from their fused path, whose operators have no rule."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class Count:
    """A count of one run of the model, from what the handles see of its trace.

    Args:
        model: a copy in eval mode, which is run once, by `run`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = dict(model.named_modules())
        # By layer: MACs by operator and by column, uses of each operator, the last output's shape.
        self._macs: dict[str, Counter[str]] = defaultdict(Counter)
        self._columns: dict[str, Counter[str]] = defaultdict(Counter)
        self._uses: dict[str, Counter[str]] = defaultdict(Counter)
        self._shape: dict[str, tuple[int, ...]] = {}
        self._calls: Counter[str] = Counter()
        self._uncounted: Counter[str] = Counter()
        # By the name that the trace gives a tensor of the model's own: the model's name for it.
        self._names: dict[str, str] = {}

    def run(self, example_inputs: Inputs) -> None:
        """Run the model and count.

        Raises:
            InputError: see `by_fvcore`.
        """
        model = self._model
        try:
            with (
                torch.enable_grad(),
                left_as_found(model),
                _written_out(),
                _of_tensors_alone(model, example_inputs) as inputs,
            ):
                with self._calls_counted():
                    self._uncounted = _traced(model, inputs, self._counting, _HANDLES)
                hidden = dict.fromkeys(filter(_may_hide_work, self._uncounted))
                if hidden:
                    _traced(model, inputs, lambda kind, _: self._refusing(kind), hidden)
                self._check_complete()
        except InputError:
            raise
        except Exception as error:
            with left_as_found(model):
                failure = locate_failure(model, example_inputs)
            if failure is not None:
                raise InputError(
                    f"the model does not run on the example inputs: {failure}"
                ) from error
            raise InputError(
                f"the MACs of {type(model).__name__} cannot be counted: fvcore cannot trace it "
                f"({one_line(error)[:300]})"
            ) from error

    def _counting(self, operator: str, handle: Any) -> Any:
        """The handle, with its result recorded by layer and as a product of sizes."""

        def count(inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
            if not self._names:
                self._enter(outputs[0].node().owningBlock())
            try:
                answer = handle(inputs, outputs)
            except ValueError as error:
                raise InputError(
                    f"the MACs of {type(self._model).__name__} cannot be counted: "
                    f"{place_of(outputs[0].node())}: {error}"
                ) from error
            macs = sum(answer.values()) if isinstance(answer, Counter) else answer
            name = next(iter(answer)) if isinstance(answer, Counter) else operator.split("::")[1]
            self._note(operator, name, round(macs), inputs, outputs)
            return answer

        return count

    def _check_complete(self) -> None:
        """Refuse a trace without what a layer computes: torch leaves out what reaches no output.

        Such as an exit that values of the example inputs do not take.
        """
        for name, module in self._modules.items():
            multiplies = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
            if multiplies and self._calls[name] and not self._uses[name]:
                raise InputError(
                    f"the MACs of {type(self._model).__name__} cannot be counted: nothing of "
                    f"`{name}` reaches an output, and a trace leaves it out"
                )

    @contextmanager
    def _calls_counted(self) -> Iterator[None]:
        """Count how often each module is called."""
        hooks = [
            module.register_forward_pre_hook(
                lambda _module, _inputs, name=name: self._calls.update([name])
            )
            for name, module in self._modules.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, block: Any) -> None:
        """Find which values of the trace are tensors of the model."""
        values = list(block.paramNode().outputs())
        names = _unique_names(self._model)
        held = zip(values[len(values) - len(names) :], names, strict=True)
        self._names = {value.debugName(): name for value, name in held}

    def _refusing(self, operator: str) -> Any:
        """A handle for an operator without a rule: refuses it if it multiplies matrices."""

        def refuse(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
            node = outputs[0].node()
            self._enter(node.owningBlock())
            if operator in op_handles.MATRIX_LIKE or any(
                value.debugName() in self._names and len(op_handles.shape_of(value) or ()) > 1
                for value in inputs
            ):
                raise InputError(
                    f"the MACs of {type(self._model).__name__} cannot be counted: "
                    f"{place_of(node)} multiplies matrices and has no rule"
                )
            return 0

        return refuse

    def _note(
        self,
        operator: str,
        name: str,
        macs: int,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
    ) -> None:
        weights = self._weights(inputs)
        scope = outputs[0].node().scopeName().split("/")[-1]
        layer = charged(self._modules, scope, weights)
        self._macs[layer][name] += macs
        self._columns[layer][_column(operator, has_weight=bool(weights))] += macs
        self._uses[layer][name] += 1
        self._shape[layer] = op_handles.shape_of(outputs[0]) or ()

    def _weights(self, inputs: Sequence[Any]) -> list[str]:
        """Names of the model's tensors among the operands, by number of dimensions."""
        held = {value: self._weight(value) for value in op_handles.operands(inputs)}
        found = sorted(held, key=lambda value: -len(op_handles.shape_of(value) or ()))
        return [name for value in found for name in [held[value]] if name]

    def _weight(self, value: Any) -> str:
        """Name of the model's tensor that a value is or is a view of; empty for others."""
        while value.debugName() not in self._names:
            moved = op_handles.moved(value)
            if moved is None:
                return ""
            value = moved
        return self._names[value.debugName()]

    def table(self) -> CostTable:
        """The counts by layer, with the parameters of layers that count nothing."""
        rows = list(self._rows())
        return CostTable(
            layers=tuple(rows),
            macs=sum(row.macs for row in rows),
            params=sum(row.params for row in rows),
            uncounted=tuple(sorted(self._uncounted.items())),
            uncalled=tuple(row.layer for row in rows if row.params and not row.calls),
            modules=tuple(self._modules),
        )

    def _rows(self) -> Iterator[LayerCost]:
        """Rows for the modules that own MACs or parameters."""
        elements = Counter[str]()
        for name, tensor in self._model.named_parameters():
            elements[name.rpartition(".")[0]] += tensor.numel()
        for name, module in self._modules.items():
            operators = tuple(
                sorted((op, count) for op, count in self._macs[name].items() if count)
            )
            if not operators and not elements[name]:
                continue
            columns = self._columns[name]
            # One that is used by its weights alone has a call for each operator.
            uses = max(self._uses[name].values(), default=0)
            yield LayerCost(
                layer=name,
                kind=type(module).__name__,
                macs=columns.total(),
                params=elements[name],
                operators=operators,
                columns=tuple(columns[column] for column in COLUMNS),
                shape=self._shape.get(name, ()),
                calls=self._calls[name] or uses,
            )


def place_of(node: Any) -> str:
    """An operator of a trace and the module that calls it, in words."""
    module = node.scopeName().split("/")[-1]
    operator = node.kind().split("::")[-1]
    return f"operator {operator} in " + (f"`{module}`" if module else "the model's own forward")


def _unique_names(model: nn.Module) -> list[str]:
    """Names of the tensors that are inputs of a trace, each once, in order."""
    seen: set[int] = set()
    names = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            names.append(name)
    return names


def _column(operator: str, *, has_weight: bool) -> str:
    if operator in op_handles.CONVOLUTIONS:
        return "convolution"
    if operator in op_handles.NORMALIZATIONS:
        return "normalization"
    if operator == "aten::linear":
        return "linear"
    if operator in op_handles.ADDED:
        return "linear" if has_weight else "attention"
    return "elementwise"
