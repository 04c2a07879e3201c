"""Build a pruned network from the tensors in a file: cut the dense one to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.comparing.compared import Reference, check_fits
from analysis.comparing.recovering import Recovered
from analysis.errors import InputError, OptionError
from analysis.groups.coupling import partition
from analysis.groups.inspecting import Labelled, labelled
from analysis.network.cutting import cut_labels
from analysis.network.inference import Inputs, aliased, named_tensors
from analysis.network.outputs import count_outputs, counted_outputs
from analysis.network.programs import Program, program_in
from analysis.network.states import state_in, with_ties
from analysis.network.subjects import build, subject_of
from analysis.records import HEADS, Comparison, Network

__all__ = ["Cut", "compare_with", "fitted", "network_of"]


def compare_with(dense: nn.Module, inputs: Inputs, pruned: Network | str) -> Comparison:
    """Like `analysis.compare`, for a network or a file of its tensors.

    Args:
        dense: the dense network.
        inputs: example inputs.
        pruned: a function that builds the pruned network; or the path of its state dict, to which
            the dense network is cut. No pickle is run. Two archives of torch.export are both run.

    Raises:
        InputError: as `analysis.compare`; or the file cannot be read, or does not fit.
    """
    reference = Reference.of(dense, inputs)
    if isinstance(pruned, str) and not (isinstance(dense, Program) and pruned.endswith(".pt2")):
        return fitted(reference, pruned).comparison
    model = program_in(pruned) if isinstance(pruned, str) else _built(pruned)
    count_outputs(model, counted_outputs(dense))
    return reference.compared(model.to(next(dense.parameters()).device).eval())


def _built(pruned: Network) -> nn.Module:
    return build(subject_of(pruned), pruned.weights, pruned.seed)


def _read(path: str, dense: nn.Module) -> Mapping[str, Tensor]:
    if not Path(path).is_file():
        raise InputError(
            f"{path!r}: no such file; expected a state dict, an ONNX file or an archive of "
            "torch.export"
        )
    try:
        state = state_in(path, dense)
    except OptionError as error:
        raise InputError(error.detail) from error
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise InputError(f"{path!r} holds more than weights; expected a state dict alone")
    return state


Cut = Callable[[nn.Module], None]
"""Gives a copy of the dense network the structure of a pruned one."""


@dataclass(frozen=True)
class Fitted:
    """The network whose tensors a file holds.

    Attributes:
        network: the pruned network.
        cut: cuts another copy of the dense network in the same way.
        comparison: of both networks.
    """

    network: nn.Module
    cut: Cut
    comparison: Comparison


def fitted(reference: Reference, path: str) -> Fitted:
    """The dense network, cut to the tensors in a file, and both compared.

    Raises:
        InputError: the file cannot be read, or does not fit.
    """
    state = _read(path, reference.model)
    fitting, norms = reference.fitting(state)
    network, cut, found = network_of(fitting, state, path)
    return Fitted(network, cut, reference.against(network, fitting, norms, found))


def network_of(
    reference: Reference, state: Mapping[str, Tensor], name: str
) -> tuple[nn.Module, Cut, Recovered | None]:
    """The dense network, cut to the tensors of a pruned one, with these loaded.

    Attributes of modules that hold sizes follow, as in a pruning by groups. Returns the network,
    its cut, and the channels that are left of each tensor if these are all that it has.

    Args:
        reference: the dense network.
        state: tensors of the pruned one by name.
        name: their source, for errors.

    Raises:
        InputError: they cannot be parts of the dense network's.
    """
    model = reference.model
    state = with_ties(state, model)
    tensors = named_tensors(model)
    lacking = model.state_dict().keys() - state.keys()
    held = {key: tensors[key] for key in tensors if key in state or key in lacking}
    try:
        check_fits(held, state)
    except InputError as error:
        raise InputError(f"{name!r} does not fit: {error}") from error
    found = reference.recovered(state)
    network, gone = aliased(model, requires_grad=True), _gone(reference, state, found)
    followed = _cut_so(reference, gone)

    def cut(other: nn.Module) -> None:
        cut_labels(other, followed.trace, gone, followed.repeated)

    cut(network)
    _untie(network, state)
    others = named_tensors(network)
    for key, value in state.items():
        others[key].data = value.to(others[key].device)
    return network, cut, found if others.keys() == state.keys() else None


def _untie(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give each layer a tensor of its own where a file has two for what is one in the network."""
    held: dict[int, int] = {}
    for name, tensor in named_tensors(network).items():
        if isinstance(tensor, nn.Parameter) and name in state:
            place = state[name].data_ptr()
            if held.setdefault(id(tensor), place) != place:
                owner, _, part = name.rpartition(".")
                setattr(network.get_submodule(owner), part, nn.Parameter(tensor.detach()))


def _cut_so(reference: Reference, gone: NDArray[np.bool_]) -> Labelled:
    """The labelled pass of the network, for the kind of cut by which whole sets were removed.

    If attention can lose whole heads or channels of each head, this decides which attribute
    follows.
    """
    yet = (labelled(reference.model, reference.inputs, heads) for heads in HEADS)
    for followed in chain([reference.followed], yet):
        of = followed.classes.of[1 : followed.trace.base]
        went = gone[1 : followed.trace.base]
        if not np.intersect1d(of[went], of[~went]).size:
            return followed
    return reference.followed


def _gone(reference: Reference, state: Mapping[str, Tensor], found: Recovered) -> NDArray[np.bool_]:
    """What has gone of the dense network: of tensors that are in no state dict, what meets it."""
    trace = reference.followed.trace
    gone = reference.gone(found)
    of = partition(trace, [])
    met = np.isin(of, np.setdiff1d(of[gone], 0))
    given = {reference.first[name] for name in state}
    for name, dim in trace.starts:
        if name not in given:
            labels = trace.labels(name, dim)
            gone[labels] = met[labels]
    return gone
