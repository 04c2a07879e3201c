"""The costs of a network, by the rules of a convention, from one pass over it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from analysis.costs.columns import Charged, elements_in, products_in
from analysis.network.inference import Inputs, left_as_found, outputs_of
from analysis.network.labels import operators
from analysis.network.labels.records import Step
from analysis.network.outputs import only_outputs
from analysis.network.owners import owner_of
from analysis.network.passed import Passed, passed
from analysis.network.restoring import restored
from analysis.network.usable import check_usable
from analysis.records import (
    COLUMNS,
    FVCORE,
    PRODUCTS,
    Convention,
    CostTable,
    LayerCost,
    check_convention,
)

__all__ = ["count_macs", "counted"]


def count_macs(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    outputs: Sequence[str] = (),
    convention: str = "fvcore",
) -> CostTable:
    """MACs and parameters of each module of ``model``, without its children's.

    The operators of one forward pass in eval mode are counted by the rules of a convention, by
    default fvcore's with what fvcore leaves out of attention. A module is charged for all operators
    on its weights, wherever they are called, and for the other operators of its own forward. The
    model is not changed.

    Args:
        model: the network.
        example_inputs: a tensor, a tuple or a dict; the count is for exactly these.
        outputs: the outputs that are used, as in `analysis.verify`; the work for others is counted
            too.
        convention: a name of `analysis.records.CONVENTIONS`; ``unit`` of the result says whether
            the numbers are MACs or FLOPs.

    Raises:
        InputError: the model cannot be analysed as it is, does not run on the inputs, or has no
            output at one of ``outputs``; or there is no such convention.
    """
    check_convention(convention)
    check_usable(model)
    with restored(model), only_outputs(model, outputs):
        table = counted(passed(model, example_inputs), convention)
        if outputs:
            with left_as_found(model):
                outputs_of(model.eval(), example_inputs)  # a wrong path is refused
    return table


def counted(network: Passed, convention: str = "fvcore") -> CostTable:
    """The count of `count_macs`, from a pass over a network.

    Args:
        network: the network.
        convention: what counts.
    """
    rules = check_convention(convention)
    charged = list(products_in(network, rules))
    rows = list(_rows(network, charged, rules))
    return CostTable(
        layers=tuple(rows),
        macs=sum(row.macs for row in rows),
        params=sum(row.params for row in rows),
        uncounted=_uncounted(network.trace.calls, {id(each.step) for each in charged}),
        uncalled=tuple(row.layer for row in rows if row.params and not row.calls),
        modules=tuple(network.modules),
        convention=convention,
    )


def _uncounted(calls: Sequence[Step], costing: set[int]) -> tuple[tuple[str, int], ...]:
    """Operators that compute something and cost nothing by the convention, with how often."""
    names = (step.place.operator for step in calls if id(step) not in costing)
    found = Counter(f"aten::{name}" for name in names if name not in _FREE)
    return tuple(sorted(found.items()))


_FREE = operators.MOVED | operators.FACTORIES | operators.LIKE | operators.BESIDE
"""Operators that compute nothing: they make tensors, or put elements in other places."""


def _rows(network: Passed, charged: Sequence[Charged], rules: Convention) -> Iterator[LayerCost]:
    named: dict[str, Counter[str]] = defaultdict(Counter)
    columns: dict[str, Counter[str]] = defaultdict(Counter)
    uses: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    shapes: dict[str, tuple[int, ...]] = {}
    for each in charged:
        layer, macs = each.term.layer, each.term.size
        column, name = _column(each), _name(each)
        named[layer][name] += macs
        columns[layer][column] += macs
        uses[layer][name].add(id(each.step))
        shapes[layer] = each.step.shapes[0]
    params = Counter[str]()
    for term in elements_in(network, network.elements, rules):
        params[owner_of(term.name)] += term.size
    used = {owner_of(name) for name in network.trace.used}
    for name, module in network.modules.items():
        if named[name] or params[name]:
            called = network.trace.returned.get(name, [])
            # One that is used by its weights alone has a call for each operator of a kind.
            uses_of_one = max(map(len, uses[name].values()), default=int(name in used))
            is_leaf = called and not module._modules
            yield LayerCost(
                layer=name,
                kind=type(module).__name__,
                macs=columns[name].total(),
                params=params[name],
                operators=tuple(sorted(named[name].items())),
                columns=tuple(columns[name][column] for column in COLUMNS),
                shape=called[-1] if is_leaf else shapes.get(name, ()),
                calls=len(called) or uses_of_one,
            )


def _column(each: Charged) -> str:
    """The one of `COLUMNS` in which a column of a convention is shown."""
    if each.column in PRODUCTS:
        return _SHOWN.get(each.column, "linear")
    return "normalization" if "norm" in each.column else "elementwise"


_SHOWN = {
    "convolution": "convolution",
    "attention": "attention",
    "free attention": "attention",
    "einsum": "attention",
}


def _name(each: Charged) -> str:
    """What fvcore calls an operator, of which PyTorch runs others."""
    operator, within = each.step.place.operator, each.step.within
    if each.column in PRODUCTS and operator != "convolution":
        return within or ("linear" if _column(each) == "linear" else "matmul")
    return _NAMES.get(operator) or (each.column if each.column in FVCORE else operator)


_NAMES: Mapping[str, str] = {
    "convolution": "conv",
    **dict.fromkeys(operators.PER_CHANNEL, "batch_norm"),
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
}
