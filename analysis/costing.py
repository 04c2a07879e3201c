"""Where the MACs and parameters are, counted by fvcore. The only module that imports it.

Convention: one multiply-accumulate (MAC) is one fused multiply and add, which fvcore calls a
flop. Convolutions, products with weights and products of activations (attention) cost one for each
element of the result and each element summed over; these three agree with other counters. By
fvcore's rules a batch norm costs two an element with scale and shift, other norms five, adaptive
average pooling one. What has no rule (residual additions, activations, bias) is listed beside the
total; what has none and multiplies matrices is an error.
"""

import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from analysis import handles
from analysis.errors import InputError
from analysis.inference import (
    Inputs,
    aliased,
    as_arguments,
    check_usable,
    left_as_found,
    locate_failure,
    one_line,
    walk,
)
from analysis.records import COLUMNS, CostTable, Extent, LayerCost, Term
from analysis.sizes import Extents, Sizes, is_transposed, parameter_extents, place_of

with warnings.catch_warnings():
    # fvcore applies torch.jit.script while it is imported, which torch deprecates.
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.flop_count import _DEFAULT_SUPPORTED_OPS

__all__ = ["count_macs", "saved_bytes"]


def count_macs(model: nn.Module, example_inputs: Inputs) -> CostTable:
    """MACs and parameters of each module of ``model``, without its children's.

    A module is charged for what is done with its weights, wherever they are called from, and for
    what its own forward calls besides. The model is not changed: a copy is traced, in eval mode.

    Args:
        model: the network.
        example_inputs: a tensor, a tuple or a dict; the count is for exactly these.

    Raises:
        InputError: the model does not run on the inputs, fvcore cannot trace it, or it multiplies
            matrices in an operator that has no rule.
    """
    check_usable(model)
    traced = aliased(model, requires_grad=False)
    count = _Count(traced)
    analysis = FlopCountAnalysis(traced, _positional(traced, example_inputs))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    for operator, handle in {**_DEFAULT_SUPPORTED_OPS, **handles.ADDED}.items():
        analysis.set_op_handle(operator, count.counting(operator, handle))
    try:
        with torch.enable_grad(), left_as_found(model), _written_out(), count.calls():
            analysis.by_operator()
            uncounted = analysis.unsupported_ops()
    except InputError:
        raise
    except Exception as error:
        failure = locate_failure(traced, example_inputs)
        why = f"fvcore cannot trace it ({one_line(error)[:300]})"
        raise InputError(
            f"the MACs of {type(model).__name__} cannot be counted: {failure or why}"
        ) from error
    return count.table(uncounted)


def _positional(model: nn.Module, example_inputs: Inputs) -> tuple[Any, ...]:
    """Inputs as fvcore takes them: tensors by position; ``model`` is made to take them so."""
    args, kwargs = as_arguments(example_inputs)
    if not kwargs:
        return args
    given = {name: value for name, value in kwargs.items() if list(walk(value))}
    by_name = model.forward

    def forward(*tensors: Any) -> Any:
        return by_name(**{**kwargs, **dict(zip(given, tensors, strict=True))})

    model.forward = forward
    return tuple(given.values())


@contextmanager
def _written_out() -> Iterator[None]:
    """Keep transformers from their fused path, whose operators have no rule."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Count:
    """Collects what the handles see of one trace."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._extents = parameter_extents(model)
        self._terms: list[Term] = []
        self._column: dict[tuple[str, str], str] = {}
        self._shape: dict[str, tuple[int, ...]] = {}
        self._times: Counter[str] = Counter()
        self._operators: Counter[tuple[str, str]] = Counter()
        self._names: dict[str, str] = {}
        self._sizes = Sizes({})

    def counting(self, operator: str, handle: Any) -> Any:
        """The handle, its answer noted with the layer and the sizes that it is a product of."""

        def count(inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
            if not self._names:
                self._enter(outputs[0].node().owningBlock())
            answer = handle(inputs, outputs)
            macs = sum(answer.values()) if isinstance(answer, Counter) else answer
            name = next(iter(answer)) if isinstance(answer, Counter) else operator.split("::")[1]
            self._note(operator, name, round(macs), inputs, outputs)
            return answer

        return count

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Count how often each module is called."""
        hooks = [
            module.register_forward_pre_hook(
                lambda _module, _inputs, name=name: self._times.update([name])
            )
            for name, module in self._model.named_modules()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, block: Any) -> None:
        """Learn which values of the trace are the model's own tensors; refuse what hides work."""
        values = list(block.paramNode().outputs())
        names = _unique_names(self._model)
        held = zip(values[len(values) - len(names) :], names, strict=True)
        self._names = {value.debugName(): name for value, name in held}
        self._sizes = Sizes({value: self._extents[name] for value, name in self._names.items()})
        for node in block.nodes():
            kind = node.kind()
            opaque = not kind.startswith("aten::") and (
                not kind.startswith("prim::") or kind in ("prim::PythonOp", "prim::CallFunction")
            )
            if kind in handles.MATRIX_LIKE or (
                opaque and kind not in handles.ADDED and self._reads_matrix(node)
            ):
                raise InputError(
                    f"the MACs of {type(self._model).__name__} cannot be counted: "
                    f"{place_of(node)} multiplies matrices and has no rule"
                )

    def _reads_matrix(self, node: Any) -> bool:
        return any(
            value.debugName() in self._names and len(handles.shape_of(value) or ()) > 1
            for value in node.inputs()
        )

    def _note(
        self,
        operator: str,
        name: str,
        macs: int,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
    ) -> None:
        scope = outputs[0].node().scopeName().split("/")[-1]
        weight = next(
            (
                self._names[each.debugName()]
                for value in inputs
                for each in (value, *handles.list_of(value))
                if each.debugName() in self._names
            ),
            None,
        )
        layer = scope if weight is None else weight.rpartition(".")[0]
        for share, factors in _factors(self._sizes, operator, inputs, outputs):
            count = round(macs * share)
            varying = tuple(factor for factor in factors if factor.varies)
            self._terms.append(Term(layer, name, count, varying))
        _compare(self._sizes, operator, inputs, outputs)
        self._column[layer, name] = _column(operator, weight is not None)
        self._operators[layer, name] += 1
        self._shape[layer] = handles.shape_of(outputs[0]) or ()

    def table(self, uncounted: Counter[str]) -> CostTable:
        """What was noted, by layer, with the parameters of those that do nothing."""
        params = _params_terms(self._model, self._extents)
        rows = list(self._rows(params))
        return CostTable(
            layers=tuple(rows),
            macs=sum(row.macs for row in rows),
            params=sum(row.params for row in rows),
            uncounted=tuple(sorted(uncounted.items())),
            uncalled=tuple(row.layer for row in rows if row.params and not row.calls),
            modules=tuple(name for name, _ in self._model.named_modules()),
            macs_terms=tuple(self._terms),
            params_terms=params,
            meetings=self._sizes.meetings,
            splits=self._sizes.splits,
        )

    def _rows(self, params: Sequence[Term]) -> Iterator[LayerCost]:
        """Rows for the modules that own MACs or parameters."""
        macs: dict[str, Counter[str]] = defaultdict(Counter)
        for term in self._terms:
            macs[term.layer][term.name] += term.count
        elements = Counter[str]()
        for term in params:
            elements[term.layer] += term.count
        for name, module in self._model.named_modules():
            operators = tuple(sorted((op, count) for op, count in macs[name].items() if count))
            if not operators and not elements[name]:
                continue
            columns = Counter[str]()
            for operator, count in operators:
                columns[self._column[name, operator]] += count
            # What is called by its weights alone is called as often as they are used.
            uses = max((self._operators[name, operator] for operator, _ in operators), default=0)
            yield LayerCost(
                layer=name,
                kind=type(module).__name__,
                macs=columns.total(),
                params=elements[name],
                operators=operators,
                columns=tuple(columns[column] for column in COLUMNS),
                shape=self._shape.get(name, ()),
                calls=self._times[name] or uses,
            )


def _unique_names(model: nn.Module) -> list[str]:
    """Names of the tensors that a trace takes as inputs, each once, in its order."""
    seen: set[int] = set()
    names = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            names.append(name)
    return names


def _params_terms(model: nn.Module, extents: dict[str, Extents]) -> tuple[Term, ...]:
    """The elements of each parameter; one that two layers share belongs to the first."""
    return tuple(
        Term(
            *name.rpartition(".")[::2],
            tensor.numel(),
            tuple(extent for extent in extents[name] if extent.varies),
        )
        for name, tensor in model.named_parameters()
    )


def _column(operator: str, has_weight: bool) -> str:
    if operator in handles.CONVOLUTIONS:
        return "convolution"
    if operator in handles.NORMALIZATIONS:
        return "normalization"
    if operator in handles.ADDED or operator == "aten::linear":
        return "linear" if has_weight else "attention"
    return "elementwise"


Shares = list[tuple[Fraction, Sequence[Extent]]]


def _factors(sizes: Sizes, operator: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Shares:
    """The sizes that an operator's MACs are a product of; attention's are a sum of two."""
    of = sizes.of
    if operator in handles.CONVOLUTIONS:
        (images, weight), out = map(of, inputs[:2]), of(outputs[0])
        return [(Fraction(1), (*weight, images[0], *out[2:]))]
    if operator == "aten::linear":
        return [(Fraction(1), (*of(inputs[0])[:-1], *of(inputs[1])))]
    if operator == "aten::scaled_dot_product_attention":
        query, key, value = map(of, inputs[:3])
        share = Fraction(query[-1].size, query[-1].size + value[-1].size)
        common = (*query[:-1], key[-2])
        return [(share, (*common, query[-1])), (1 - share, (*common, value[-1]))]
    if operator in handles.PRODUCTS:
        product = handles.PRODUCTS[operator]
        return [(Fraction(1), (*of(outputs[0]), of(inputs[product.first])[-1]))]
    if operator == "aten::einsum":
        operands, _ = handles.einsum_letters(inputs)
        values = map(of, handles.list_of(inputs[1]))
        letters = dict(
            pair
            for names, extents in zip(operands, values, strict=True)
            for pair in zip(names, extents, strict=True)
        )
        return [(Fraction(1), tuple(letters.values()))]
    if operator in handles.NORMALIZATIONS or operator == "aten::adaptive_avg_pool2d":
        return [(Fraction(1), of(inputs[0]))]
    return [(Fraction(1), of(outputs[0]))]


def _compare(sizes: Sizes, operator: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Note what must stay equal or whole for an operator to run: what arrives, what is read."""
    of, where = sizes.of, place_of(outputs[0].node())
    if operator in handles.CONVOLUTIONS:
        arrives, weight = of(inputs[0])[1], of(inputs[1])
        if is_transposed(inputs):
            read = weight[0]
        elif weight[1].varies:
            read = weight[1].times(Fraction(arrives.size, weight[1].size))
        else:
            read = weight[0]  # depthwise: what it makes is what it reads
        if read.size == arrives.size:
            sizes.meet(where, arrives, read)
        made = of(outputs[0])[1]
        blocks = (made if is_transposed(inputs) else arrives).size // weight[1].size
        if weight[1].varies and blocks > 1:
            sizes.split(where, read.times(Fraction(1, blocks)))
            sizes.split(where, made.times(Fraction(1, blocks)))
    elif operator == "aten::linear":
        sizes.meet(where, of(inputs[0])[-1], of(inputs[1])[-1])
    elif operator == "aten::batch_norm":
        for held in inputs[1:5]:
            if of(held):
                sizes.meet(where, of(inputs[0])[1], of(held)[0])
    elif operator == "aten::group_norm":
        blocks = inputs[1].toIValue()
        sizes.split(where, of(inputs[0])[1].times(Fraction(1, blocks)))


def saved_bytes(model: nn.Module) -> int:
    """Size of ``torch.save(model.state_dict())``, in bytes."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes
