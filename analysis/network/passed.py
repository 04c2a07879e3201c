"""One pass over a network, and the products and parameters that its costs are made of."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.errors import InputError
from analysis.network.failures import check_runs
from analysis.network.inference import Inputs, aliased, collector_paused, left_as_found, one_line
from analysis.network.labels.planes import Labels
from analysis.network.labels.records import Step, Trace
from analysis.network.labels.tracing import labelled_pass
from analysis.network.owners import charged
from analysis.network.sizes import sized

__all__ = ["Passed", "Term", "followed", "passed"]


def passed(model: nn.Module, example_inputs: Inputs) -> "Passed":
    """Run a copy of a model once, of which no channel is followed; the model is not changed.

    Raises:
        InputError: the model does not run on the inputs, or its operators cannot be noted.
    """
    with left_as_found(model), collector_paused():
        trace = followed(model, example_inputs, {})
    return Passed(trace, dict(model.named_modules()), dict(model.named_parameters()))


def followed(
    model: nn.Module, inputs: Inputs, labels: Mapping[tuple[str, int], Labels] | None = None
) -> Trace:
    """A labelled pass of a copy; what an operator makes of channels shows by sizes alone.

    Args:
        model: in any mode; not changed.
        inputs: example inputs.
        labels: see `analysis.network.labels.tracing.labelled_pass`.

    Raises:
        InputError: the model does not run on the inputs, or its operators cannot be noted.
    """
    try:
        return sized(
            lambda sizes: labelled_pass(
                aliased(model, requires_grad=False), inputs, labels, sizes=sizes
            )
        )
    except InputError:
        raise
    except Exception as error:
        check_runs(aliased(model, requires_grad=False), inputs)
        raise InputError(
            f"the channels of the {type(model).__name__} cannot be followed: {one_line(error)}"
        ) from error


@dataclass(frozen=True, eq=False)
class Term:
    """A number that is a product: ``constant`` times the labels of each plane that stay.

    Attributes:
        layer: the module that it is charged to.
        name: the operator, or the parameter.
        planes: the labels of what varies.
        constant: the number of all else.
    """

    layer: str
    name: str
    planes: tuple[Labels, ...]
    constant: int

    @property
    def size(self) -> int:
        """The number in the dense network."""
        return self.constant * prod(plane.size for plane in self.planes)

    def left(self, gone: NDArray[np.bool_]) -> int:
        """The number when labels have gone."""
        return self.constant * prod(int(np.count_nonzero(~gone[p])) for p in self.planes)


@dataclass(frozen=True, eq=False)
class Passed:
    """A network that was run once.

    Attributes:
        trace: the pass; without labels where no channel was followed.
        modules: the network's modules by name.
        parameters: its parameters by name; one that is shared has one.
    """

    trace: Trace
    modules: Mapping[str, nn.Module]
    parameters: Mapping[str, Tensor]

    def charged(self, step: Step) -> str:
        """The module that a product is charged to, see `analysis.network.owners.charged`."""
        return charged(self.modules, step.place.module, step.weights)

    @cached_property
    def elements(self) -> tuple[Term, ...]:
        """What the numbers of elements of the parameters are products of."""
        axes: dict[str, list[Labels]] = defaultdict(list)
        for axis in self.trace.starts:
            axes[axis[0]].append(self.trace.labels(*axis))
        return tuple(
            Term(
                name.rpartition(".")[0],
                name,
                tuple(axes[name]),
                1 if axes[name] else tensor.numel(),
            )
            for name, tensor in self.parameters.items()
        )

    @cached_property
    def copies(self) -> tuple[Term, ...]:
        """The elements of tied parameters, once more for each further layer that has them."""
        return tuple(
            replace(term, layer=layer) for term in self.elements for layer in self.tied[term.name]
        )

    @cached_property
    def tied(self) -> Mapping[str, Sequence[str]]:
        """By parameter the layers that have it beside the one that it is named after."""
        names = {id(tensor): name for name, tensor in self.parameters.items()}
        found: dict[str, list[str]] = {name: [] for name in self.parameters}
        for layer, module in self.modules.items():
            for own, tensor in module._parameters.items():
                name = names.get(id(tensor))
                if name is not None and name != f"{layer}.{own}".removeprefix("."):
                    found[name].append(layer)
        return found
