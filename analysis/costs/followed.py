"""The costs of a network: by fvcore or, where it cannot, from the pass that follows channels."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from torch import nn

from analysis.costs import counting
from analysis.errors import InputError
from analysis.groups.inspecting import Labelled, labelled
from analysis.network.inference import Inputs, left_as_found, outputs_of
from analysis.network.labels.records import Step
from analysis.network.outputs import only_outputs
from analysis.network.owners import owner_of
from analysis.network.usable import check_usable
from analysis.records import COLUMNS, FVCORE, CostTable, LayerCost

__all__ = ["count_macs", "counted"]


def count_macs(
    model: nn.Module, example_inputs: Inputs, *, outputs: Sequence[str] = ()
) -> CostTable:
    """MACs and parameters of each module of ``model``, without its children's.

    fvcore counts, see `analysis.costs.counting`. Where it cannot, ``not_traced`` says why, and the
    pass that follows channels counts by its rules. The model is not changed.

    Args:
        model: the network.
        example_inputs: a tensor, a tuple or a dict; the count is for exactly these.
        outputs: which outputs count, as in `analysis.verify`; what makes the others is counted too.

    Raises:
        InputError: the model cannot be analysed as it is, does not run on the inputs, or puts out
            nothing at one of ``outputs``.
    """
    check_usable(model)
    with only_outputs(model, outputs):
        table = _counted_by_any(model, example_inputs)
        if outputs:
            with left_as_found(model):
                outputs_of(model.eval(), example_inputs)  # a wrong path is told of
    return table


def _counted_by_any(model: nn.Module, example_inputs: Inputs) -> CostTable:
    try:
        return counting.by_fvcore(model, example_inputs)
    except InputError as error:
        try:
            return counted(labelled(model, example_inputs), str(error))
        except InputError:
            raise error from None  # it does not run, and the first says where


def counted(followed: Labelled, why: str) -> CostTable:
    """What `count_macs` would count, of a network whose channels were followed.

    Args:
        followed: the network.
        why: why fvcore cannot count it.
    """
    rows = list(_rows(followed))
    unknown = {hold.step for hold in followed.trace.holds if hold.why == "unknown operator"}
    operators = Counter(followed.trace.steps[step].place.operator for step in unknown)
    return CostTable(
        layers=tuple(rows),
        macs=sum(row.macs for row in rows),
        params=sum(row.params for row in rows),
        uncounted=tuple(sorted(operators.items())),
        uncalled=tuple(row.layer for row in rows if row.params and not row.calls),
        modules=tuple(followed.modules),
        not_traced=why,
    )


def _rows(followed: Labelled) -> Iterator[LayerCost]:
    operators: dict[str, Counter[str]] = defaultdict(Counter)
    columns: dict[str, Counter[str]] = defaultdict(Counter)
    uses: dict[str, Counter[str]] = defaultdict(Counter)
    shapes: dict[str, tuple[int, ...]] = {}
    for step in followed.trace.steps:
        for space in step.spaces:
            if space.kind in FVCORE:
                layer, name = followed.charged(step), step.place.operator
                macs = FVCORE[space.kind] * space.size
                operators[layer][name] += macs
                columns[layer][_column(step, space.kind)] += macs
                uses[layer][name] += 1
                shapes[layer] = step.shapes[0]
    params = Counter[str]()
    for name, tensor in followed.parameters.items():
        params[owner_of(name)] += tensor.numel()
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
                calls=max(uses[name].values(), default=int(name in used)),
            )


def _column(step: Step, kind: str) -> str:
    if kind == "product":
        if step.place.operator == "convolution":
            return "convolution"
        return "linear" if step.weights else "attention"
    return "normalization" if "norm" in kind else "elementwise"
