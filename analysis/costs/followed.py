"""The costs of a network, by fvcore or, if fvcore cannot count it, from the labelled pass."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from torch import nn

from analysis.costs import counting
from analysis.costs.columns import elements_in, products_in
from analysis.errors import InputError
from analysis.groups.inspecting import Labelled, labelled
from analysis.network.inference import Inputs, left_as_found, outputs_of
from analysis.network.labels.reasons import UNKNOWN
from analysis.network.outputs import only_outputs
from analysis.network.owners import owner_of
from analysis.network.usable import check_usable
from analysis.records import COLUMNS, PRODUCTS, CostTable, LayerCost, check_convention

__all__ = ["count_macs", "counted"]


def count_macs(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    outputs: Sequence[str] = (),
    convention: str = "fvcore",
) -> CostTable:
    """MACs and parameters of each module of ``model``, without its children's.

    fvcore counts, see `analysis.costs.counting`. If it cannot, ``not_traced`` says why, and its
    rules are applied to the labelled pass. Other conventions are always applied to that pass. The
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
    with only_outputs(model, outputs):
        table = (
            _counted_by_any(model, example_inputs)
            if convention == "fvcore"
            else counted(labelled(model, example_inputs), "", convention)
        )
        if outputs:
            with left_as_found(model):
                outputs_of(model.eval(), example_inputs)  # a wrong path is refused
    return table


def _counted_by_any(model: nn.Module, example_inputs: Inputs) -> CostTable:
    try:
        return counting.by_fvcore(model, example_inputs)
    except InputError as error:
        try:
            return counted(labelled(model, example_inputs), str(error))
        except InputError:
            raise error from None  # it does not run, and the first says where


def counted(followed: Labelled, why: str, convention: str = "fvcore") -> CostTable:
    """The count of `count_macs`, from the labelled pass of a network.

    Args:
        followed: the network.
        why: why fvcore cannot count it.
        convention: what counts.
    """
    rows = list(_rows(followed, convention))
    unknown = {hold.step for hold in followed.trace.holds if hold.why == UNKNOWN}
    operators = Counter(followed.trace.steps[step].place.operator for step in unknown)
    return CostTable(
        layers=tuple(rows),
        macs=sum(row.macs for row in rows),
        params=sum(row.params for row in rows),
        uncounted=tuple(sorted(operators.items())),
        uncalled=tuple(row.layer for row in rows if row.params and not row.calls),
        modules=tuple(followed.modules),
        not_traced=why,
        convention=convention,
    )


def _rows(followed: Labelled, convention: str) -> Iterator[LayerCost]:
    operators: dict[str, Counter[str]] = defaultdict(Counter)
    columns: dict[str, Counter[str]] = defaultdict(Counter)
    uses: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    shapes: dict[str, tuple[int, ...]] = {}
    rules = check_convention(convention)
    for each in products_in(followed, rules):
        layer, macs = each.term.layer, each.term.size
        operators[layer][each.term.name] += macs
        columns[layer][_column(each.column)] += macs
        uses[layer][each.term.name].add(id(each.step))
        shapes[layer] = each.step.shapes[0]
    params = Counter[str]()
    for term in elements_in(followed, followed.elements, rules):
        params[owner_of(term.name)] += term.size
    used = {owner_of(name) for name in followed.trace.used}
    for name, module in followed.modules.items():
        if operators[name] or params[name]:
            yield LayerCost(
                layer=name,
                kind=type(module).__name__,
                macs=columns[name].total(),
                params=params[name],
                operators=tuple(sorted(operators[name].items())),
                columns=tuple(columns[name][column] for column in COLUMNS),
                shape=shapes.get(name, ()),
                calls=max(map(len, uses[name].values()), default=int(name in used)),
            )


def _column(column: str) -> str:
    """The one of `COLUMNS` in which a column of a convention is shown."""
    if column in PRODUCTS:
        return _SHOWN.get(column, "linear")
    return "normalization" if "norm" in column else "elementwise"


_SHOWN = {
    "convolution": "convolution",
    "attention": "attention",
    "free attention": "attention",
    "einsum": "attention",
}
